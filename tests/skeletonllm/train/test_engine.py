from dataclasses import replace

import pytest
import torch
from torch import nn

from skeletonllm.errors import ConfigError
from skeletonllm.model.config import AdapterConfig
from skeletonllm.train import engine as engine_module
from skeletonllm.train.config import EngineConfig, LearningRates, StageConfig
from skeletonllm.train.engine import learning_rate_factor, make_engine, parameter_groups
from tests.makers import make_clip
from tests.students import SMALL, tiny_student

# torch has new names for what DeepSpeed calls.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning")
STAGE = StageConfig("s", ("renderer", "projector"), ("mqa",), learning_rates=LearningRates(1e-2, 1e-3, 1e-3))


class Toy(nn.Module):
    """Two parts and a loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.renderer, self.projector = nn.Linear(3, 4), nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.projector(self.renderer(x).tanh()).square().mean()

    def named_parts(self) -> dict[str, dict[str, nn.Parameter]]:
        return {part: dict(getattr(self, part).named_parameters()) for part in ("renderer", "projector")}


def losses(kind: str, zero_stage: int = 1, accumulation: int = 1, start: int = 0, stop: int = 6, folder=None):
    toy = Toy()
    config = EngineConfig(kind=kind, zero_stage=zero_stage, gradient_accumulation=accumulation)
    engine = make_engine(toy, parameter_groups(toy.named_parts(), STAGE), config, 4)
    if start:
        engine.load_state([folder / "state"])
    seen = []
    for step in range(start, stop):
        for micro in range(accumulation):
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))[micro::accumulation]
            loss = engine.loss(x)
            engine.backward(loss)
            engine.step(vars(STAGE.learning_rates))
            seen.append(float(loss.detach()))
    if folder is not None and not start:
        engine.save_state(folder / "state")
    return seen


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_deepspeed_gives_the_losses_of_the_plain_loop(zero_stage):
    assert losses("deepspeed", zero_stage) == pytest.approx(losses("plain"), rel=1e-5)


def test_accumulated_micro_batches_move_the_weights_like_one_batch():
    whole, halves = losses("plain"), losses("plain", accumulation=2)
    assert [sum(halves[i : i + 2]) / 2 for i in range(0, 12, 2)] == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "zero_stage"), [("plain", 1), *(("deepspeed", zero_stage) for zero_stage in range(4))]
)
def test_a_resumed_run_has_the_same_losses_to_the_last_bit(kind, zero_stage, tmp_path):
    straight = losses(kind, zero_stage)
    first = losses(kind, zero_stage, stop=3, folder=tmp_path)
    assert first + losses(kind, zero_stage, start=3, folder=tmp_path) == straight
    assert first + losses("plain", start=3, folder=tmp_path) == pytest.approx(straight, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "zero_stage"), [("plain", 1), ("deepspeed", 0), ("deepspeed", 1), ("deepspeed", 2), ("deepspeed", 3)]
)
def test_the_gradient_of_each_part_is_measured_before_it_is_clipped(kind, zero_stage):
    toy = Toy()
    config = EngineConfig(kind=kind, zero_stage=zero_stage, gradient_clipping=1e-3)
    engine = make_engine(toy, parameter_groups(toy.named_parts(), STAGE), config, 4)
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for _ in range(2):
        twin = Toy()
        with engine.whole(list(toy.parameters())):
            twin.load_state_dict(toy.state_dict())
        twin(x).backward()
        engine.backward(engine.loss(x))
        expected = {
            part: float(torch.cat([weight.grad.flatten() for weight in weights.values()]).norm())
            for part, weights in twin.named_parts().items()
        }
        assert engine.part_norms() == pytest.approx(expected, rel=1e-5)
        engine.step(vars(STAGE.learning_rates))


def test_vectors_are_not_decayed_and_each_part_has_its_own_rate():
    groups = parameter_groups(Toy().named_parts(), STAGE)
    assert [(g["name"], len(g["params"]), g["weight_decay"]) for g in groups] == [
        ("renderer", 1, 0.01),
        ("renderer", 1, 0.0),
        ("projector", 1, 0.01),
        ("projector", 1, 0.0),
    ]


def test_a_stage_that_trains_nothing_is_refused():
    toy = Toy().requires_grad_(False)
    with pytest.raises(ConfigError, match="nothing to train"):
        parameter_groups(toy.named_parts(), STAGE)


def test_the_learning_rate_rises_then_falls_to_a_tenth():
    factors = [learning_rate_factor(step, 100, 0.1) for step in range(100)]
    assert factors[9] == 1.0
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[-1] == pytest.approx(0.1, abs=0.01)


def test_recomputing_activations_leaves_the_gradient_of_the_renderer_as_it_is():
    def gradients(recompute):
        base = tiny_student().config.backbone
        student = tiny_student(backbone=replace(base, gradient_checkpointing=recompute)).train()
        student.loss(student.renderer.collate([make_clip()]), ["which?"], ["wave"]).backward()
        return {name: weight.grad for name, weight in student.renderer.named_parameters() if weight.grad is not None}

    kept, recomputed = gradients(False), gradients(True)
    assert kept
    assert any(gradient.abs().max() > 0 for gradient in kept.values())
    for name, gradient in kept.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-6, atol=0)


def learned(config: EngineConfig, adapter: AdapterConfig, recompute: bool, trains: tuple[str, ...]):
    """The losses and gradients of three steps of a student whose renderer has few weights; and that student."""
    base = tiny_student().config.backbone
    student = tiny_student(
        backbone=replace(base, gradient_checkpointing=recompute), adapter=adapter, render=replace(SMALL, hidden=4)
    ).train()
    student.set_trainable(trains)
    stage = StageConfig("s", trains, ("mqa",))
    engine = make_engine(student, parameter_groups(student.named_parts(), stage), config, 1)
    batch, seen = student.renderer.collate([make_clip(), make_clip(seed=2)]), []
    for _ in range(3):
        loss = engine.loss(batch, ["which?"] * 2, ["wave", "bow"])
        engine.backward(loss)
        seen.append((float(loss.detach()), engine.step(dict.fromkeys(trains, 1e-2))))
    return seen, student


@pytest.mark.parametrize("trains", [("renderer", "projector", "language_adapter"), ("language_adapter",)])
@pytest.mark.parametrize(
    ("adapter", "recompute"), [(AdapterConfig(kind="full"), False), (AdapterConfig(kind="lora", rank=16), True)]
)
def test_where_zero_3_shares_weights_they_are_gathered_for_their_module_and_let_go_and_no_other_has_hooks(
    adapter, recompute, trains, monkeypatch
):
    monkeypatch.setattr(engine_module, "_KEPT_WHOLE", 100)
    seen, student = learned(EngineConfig(zero_stage=3), adapter, recompute, trains)
    plain, _ = learned(EngineConfig(kind="plain"), adapter, recompute, trains)
    assert seen == [pytest.approx(step, rel=1e-4) for step in plain]
    shared = {id(weight) for weight in student.parameters() if not weight.ds_persist}
    assert len(shared) > 20
    assert {weight.ds_status.name for weight in student.parameters() if id(weight) in shared} == {"NOT_AVAILABLE"}
    for module in student.modules():
        holds = any(id(weight) in shared for weight in module.parameters(recurse=False))
        assert (len(module._forward_pre_hooks) > 0) == (holds or module is student), type(module).__name__
