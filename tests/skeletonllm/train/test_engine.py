from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from skeletonllm.errors import ConfigError
from skeletonllm.model.student import PARTS
from skeletonllm.train.config import EngineConfig, LearningRates, StageConfig
from skeletonllm.train.engine import init_distributed, learning_rate_factor, make_engine, parameter_groups
from tests.makers import make_clip
from tests.ranks import run_ranks
from tests.students import folder_student, write_internvl

# torch has new names for what DeepSpeed calls.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning")
STAGE = StageConfig("s", ("renderer", "projector"), ("mqa",), learning_rates=LearningRates(1e-2, 1e-3, 1e-3))
ENGINES = pytest.mark.parametrize(
    ("kind", "zero_stage"), [("plain", 1), *(("deepspeed", zero_stage) for zero_stage in range(4))]
)


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


def losses(
    kind: str,
    zero_stage: int = 1,
    accumulation: int = 1,
    start: int = 0,
    stop: int = 6,
    folder=None,
    clipping: float = 1.0,
):
    toy = Toy()
    config = EngineConfig(
        kind=kind, zero_stage=zero_stage, gradient_accumulation=accumulation, gradient_clipping=clipping
    )
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


def state(folder) -> dict[str, torch.Tensor]:
    """What one rank saved: weights and moments, by name."""
    return load_file(folder / "state")


def moments(folder) -> torch.Tensor:
    """All first moments in a row."""
    return torch.cat([values for name, values in sorted(state(folder).items()) if name.startswith("exp_avg:")])


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_deepspeed_gives_the_losses_of_the_plain_loop(zero_stage):
    assert losses("deepspeed", zero_stage) == pytest.approx(losses("plain"), rel=1e-5)


@ENGINES
def test_accumulated_micro_batches_move_the_weights_like_one_batch(kind, zero_stage, tmp_path):
    whole = losses("plain", folder=tmp_path / "whole")
    halves = losses(kind, zero_stage, accumulation=2, folder=tmp_path / "halves")
    assert [sum(halves[i : i + 2]) / 2 for i in range(0, 12, 2)] == pytest.approx(whole, rel=1e-5)
    torch.testing.assert_close(state(tmp_path / "halves"), state(tmp_path / "whole"), rtol=1e-4, atol=1e-7)


@ENGINES
def test_what_moves_the_weights_is_the_gradient_as_it_was_clipped(kind, zero_stage, tmp_path):
    losses("plain", stop=1, folder=tmp_path / "free", clipping=1e9)
    losses(kind, zero_stage, accumulation=2, stop=1, folder=tmp_path / "clipped", clipping=1e-3)
    free, clipped = (moments(tmp_path / name) for name in ("free", "clipped"))
    assert float(free.norm()) > 1e-2
    # AdamW forgets how long gradients are, but its first moment is a tenth of the first.
    torch.testing.assert_close(clipped, free / free.norm() * 1e-3 / 10, rtol=1e-4, atol=0)


@ENGINES
def test_a_resumed_run_has_the_same_losses_to_the_last_bit(kind, zero_stage, tmp_path):
    straight = losses(kind, zero_stage)
    first = losses(kind, zero_stage, stop=3, folder=tmp_path)
    assert first + losses(kind, zero_stage, start=3, folder=tmp_path) == straight
    assert first + losses("plain", start=3, folder=tmp_path) == pytest.approx(straight, rel=1e-5)


@ENGINES
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


@pytest.mark.parametrize(("kind", "dtype"), [("plain", "float32"), ("deepspeed", "bfloat16")])
def test_activations_are_made_twice_where_they_are_not_kept_and_every_gradient_is_as_it_was(kind, dtype, tmp_path):
    write_internvl(tmp_path / "internvl")

    def one_step(recompute):
        """How often a layer of the tower and one of the language model work; the first moments after a step."""
        student = folder_student(tmp_path / "internvl", dtype=dtype, gradient_checkpointing=recompute).train()
        student.set_trainable(PARTS)
        calls, vision, language = Counter(), student.mllm.model.vision_tower, student.mllm.model.language_model
        for name, layer in (("vision", vision.encoder.layer[0]), ("language", language.layers[0])):
            layer.mlp.register_forward_pre_hook(lambda *_, name=name: calls.update([name]))
        groups = parameter_groups(student.named_parts(), replace(STAGE, trains=PARTS))
        engine = make_engine(student, groups, EngineConfig(kind=kind, gradient_clipping=1e9), 1)
        engine.backward(engine.loss(student.renderer.collate([make_clip()]), ["which?"], ["wave"]))
        engine.step(vars(STAGE.learning_rates))
        folder = tmp_path / str(recompute)
        engine.save_state(folder / "state")
        return calls, {name: values for name, values in state(folder).items() if name.startswith("exp_avg:")}

    (once, kept), (twice, recomputed) = one_step(False), one_step(True)
    assert (once, twice) == ({"vision": 1, "language": 1}, {"vision": 2, "language": 2})
    for part in (
        "exp_avg:renderer.",
        "exp_avg:mllm.model.multi_modal_projector.",
        "exp_avg:mllm.model.language_model.",
    ):
        assert any(values.abs().max() > 0 for name, values in kept.items() if name.startswith(part))
    torch.testing.assert_close(recomputed, kept, rtol=1e-6, atol=0)


def learnt_in_16_bits(internvl: Path, folder: Path) -> dict[str, Any]:
    """What a rank sees of four steps and of two and two under each ZeRO, and rank 0 of the plain loop with all clips."""
    rank, found = init_distributed()[0], {}

    def train(name, seeds, start=0, **how):
        student = folder_student(internvl, dtype="bfloat16", gradient_checkpointing=True).train()
        student.set_trainable(PARTS)
        groups = parameter_groups(student.named_parts(), replace(STAGE, trains=PARTS))
        engine = make_engine(student, groups, EngineConfig(**how), len(seeds))
        files = [folder / f"{name}-{writer}" for writer in range(engine.world_size)]
        if start:
            engine.load_state(files)
        batch = student.renderer.collate([make_clip(f"c{seed}", seed=seed) for seed in seeds])
        losses = []
        for step in range(start, 4):
            loss = engine.loss(batch, ["which?"] * len(seeds), ["wave"] * len(seeds))
            engine.backward(loss)
            engine.step(vars(STAGE.learning_rates))
            losses.append(float(loss.detach()))
            if step == 1:
                engine.save_state(files[rank])
        return losses, {part: {w.dtype for w in some.values()} for part, some in student.named_parts().items()}

    if rank == 0:
        found["plain"] = train("plain", (0, 1), kind="plain")
    for zero_stage in range(4):
        straight, types = train(str(zero_stage), (rank,), zero_stage=zero_stage)
        resumed, _ = train(str(zero_stage), (rank,), start=2, zero_stage=zero_stage)
        found[zero_stage] = straight, types, resumed
    return found


@pytest.mark.slow
def test_on_two_ranks_a_model_of_16_bits_learns_like_in_the_plain_loop_with_its_trained_parts_in_float32(tmp_path):
    first, second = run_ranks(2, learnt_in_16_bits, write_internvl(tmp_path / "internvl"), tmp_path)
    plain, _ = first["plain"]
    assert plain[-1] < plain[0]
    for zero_stage in range(4):
        for losses, types, resumed in (first[zero_stage], second[zero_stage]):
            assert resumed == losses[2:]
            assert types == {part: {torch.float32} for part in PARTS}
        both = torch.tensor([first[zero_stage][0], second[zero_stage][0]]).mean(0)
        # ZeRO 3 adds gradients up in another order, and sums of 16 bits are rounded each time.
        assert both.tolist() == pytest.approx(plain, rel=1e-3), zero_stage
