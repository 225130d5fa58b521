import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from skeletonllm.errors import CheckpointError
from skeletonllm.train.config import EngineConfig, StageConfig
from skeletonllm.train.engine import make_engine, parameter_groups
from skeletonllm.train.optimizer_state import load_stretches, save_stretches, stretches
from tests.makers import make_clip
from tests.students import tiny_student

# torch has new names for what DeepSpeed calls.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning")
RATES = {"renderer": 1e-3, "projector": 1e-3, "language_adapter": 1e-3}


def trained(seed: int = 0):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    return dict(module.named_parameters()), optimizer


def test_what_several_ranks_wrote_is_put_together_whoever_wrote_which_weight(tmp_path):
    weights, optimizer = trained()
    files = [tmp_path / str(rank) for rank in range(3)]
    for rank, file in enumerate(files):
        save_stretches(stretches(weights, optimizer), optimizer, file, rank, 3)
    sizes = [len([key for key in load_file(file) if key.startswith("weight:")]) for file in files]
    assert sorted(sizes) == [1, 1, 2]
    others, other = trained(seed=1)
    load_stretches(stretches(others, other), other, files[::-1])
    for name, weight in weights.items():
        assert torch.equal(others[name], weight)
        for kind in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(other.state[others[name]][kind], optimizer.state[weight][kind])


def test_a_state_saved_before_the_first_step_forgets_what_the_optimiser_knew(tmp_path):
    weights, optimizer = trained()
    optimizer.state.clear()
    save_stretches(stretches(weights, optimizer), optimizer, tmp_path / "state", 0, 1)
    others, other = trained(seed=1)
    load_stretches(stretches(others, other), other, [tmp_path / "state"])
    assert not other.state


def test_a_state_of_other_weights_is_refused(tmp_path):
    weights, optimizer = trained()
    save_stretches(stretches(weights, optimizer), optimizer, tmp_path / "state", 0, 1)
    stored = load_file(tmp_path / "state")
    save_file({key: value for key, value in stored.items() if "1.bias" not in key}, tmp_path / "less")
    with pytest.raises(CheckpointError, match=r"1\.bias: the checkpoint has 0 of its 2 values \(weight\)"):
        load_stretches(stretches(weights, optimizer), optimizer, [tmp_path / "less"])
    (tmp_path / "less").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="its state cannot be read"):
        load_stretches(stretches(weights, optimizer), optimizer, [tmp_path / "less"])


def remembered(kind, zero_stage, trains):
    """How many values the optimiser keeps after a step, and how many weights are trained."""
    student = tiny_student().train()
    student.set_trainable(trains)
    stage = StageConfig("s", trains, ("mqa",))
    groups = parameter_groups(student.named_parts(), stage)
    num_trained = sum(weight.numel() for group in groups for weight in group["params"])
    engine = make_engine(student, groups, EngineConfig(kind=kind, zero_stage=zero_stage), 1)
    engine.backward(engine.loss(student.renderer.collate([make_clip()]), ["which?"], ["wave"]))
    engine.step(RATES)
    state = engine._optimizer.state
    return sum(value.numel() for each in state.values() for value in each.values() if value.ndim), num_trained


@pytest.mark.parametrize(
    ("kind", "zero_stage"), [("plain", 1), *(("deepspeed", zero_stage) for zero_stage in range(4))]
)
def test_frozen_parts_cost_no_optimiser_state(kind, zero_stage):
    kept, num_trained = remembered(kind, zero_stage, ("renderer", "projector"))
    padding = 64  # DeepSpeed rounds its flat tensors up
    assert 2 * num_trained <= kept <= 2 * num_trained + padding


def offloaded(zero_stage, offload, folder, before=None):
    """The losses of three steps, or of the third alone, each saved; and what DeepSpeed has put off the accelerator."""
    student = tiny_student().train()
    student.set_trainable(tuple(RATES))
    groups = parameter_groups(student.named_parts(), StageConfig("s", tuple(RATES), ("mqa",)))
    engine = make_engine(student, groups, EngineConfig(zero_stage=zero_stage, offload=offload), 1)
    if before is not None:
        engine.load_state([before / "2"])
    batch, losses = student.renderer.collate([make_clip()]), []
    for step in range(3) if before is None else [2]:
        loss = engine.loss(batch, ["which?"], ["wave"])
        engine.backward(loss)
        engine.step(RATES)
        engine.save_state(folder / str(step + 1))
        losses.append(float(loss.detach()))
    theirs = vars(engine._engine.optimizer)
    flags = {"optimizer": ("cpu_offload", "offload_optimizer"), "weights": ("offload_param",)}
    return losses, {what for what, names in flags.items() if any(theirs.get(name) for name in names)}


@pytest.mark.parametrize(
    ("zero_stage", "offload", "waiting"),
    [
        (1, "optimizer", {"optimizer"}),
        (2, "optimizer", {"optimizer"}),
        (3, "optimizer", {"optimizer"}),
        (3, "optimizer_and_weights", {"optimizer", "weights"}),
    ],
)
def test_offloading_changes_where_things_wait_and_no_loss_also_when_a_run_is_taken_up(
    zero_stage, offload, waiting, tmp_path
):
    here, nothing = offloaded(zero_stage, "nothing", tmp_path / "here")
    there, found = offloaded(zero_stage, offload, tmp_path / "there")
    assert (nothing, found) == (set(), waiting)
    assert there == pytest.approx(here, rel=1e-6)
    resumed, found = offloaded(zero_stage, offload, tmp_path / "again", before=tmp_path / "there")
    assert (resumed, found) == (there[2:], waiting)
    straight, again = (load_file(tmp_path / name / "3") for name in ("there", "again"))
    torch.testing.assert_close(again, straight, rtol=0, atol=0)
