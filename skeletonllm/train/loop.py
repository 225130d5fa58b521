"""The training loop: batch, loss, step; then log and save when due. Knows no engine, no file format, no stage."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from skeletonllm.train.ahead import made_ahead
from skeletonllm.train.config import StageConfig
from skeletonllm.train.data import Batch, StageData
from skeletonllm.train.engine import Engine, learning_rate_factor
from skeletonllm.train.guards import Guard, Stopped, nothing_if_not_finite
from skeletonllm.train.meter import Meter
from skeletonllm.train.ranks import Ranks

# Steps between looks at what takes a little time to measure.
_LOOK_EVERY = 50


@dataclass(frozen=True)
class Position:
    """Where a run stands."""

    step: int
    num_steps: int
    rank: int
    seed: int
    device: torch.device

    def is_looked_at(self, step: int) -> bool:
        """Whether gradients of parts and the renderer are measured in the step with this number, counted from 1."""
        return step == 1 or step % _LOOK_EVERY == 0 or step == self.num_steps


def train(
    stage: StageConfig,
    data: StageData,
    engine: Engine,
    collate: Callable[[Batch, Sequence[torch.Generator]], tuple[Any, ...]],
    position: Position,
    accumulation: int,
    log: Callable[[Mapping[str, int | float]], None],
    save: Callable[[int], None],
    save_every: int,
    guard: Guard,
    meter: Meter,
    stop: Callable[[], bool],
) -> None:
    """Train from `position.step` to `position.num_steps`.

    Args:
        stage: learning rates and warm-up.
        data: gives each step's batches, the same after any restart.
        engine: moves the weights.
        collate: a batch as the inputs of the student's loss, on the CPU; an example's random choices come from its
            generator. Is called on another thread, for the next batch.
        position: where to start, where to end, and who this process is.
        accumulation: micro-batches of one optimiser step.
        log: takes one step's numbers.
        save: saves the state after so many steps.
        save_every: steps between saves; the last step is always saved.
        guard: judges each step.
        meter: tells where the time goes.
        stop: whether this process was asked to stop; when one was, all save and stop.

    Raises:
        GoBack: the run should go on from its last checkpoint.
        Stopped: it was asked to, and is saved.
    """
    peaks, due = vars(stage.learning_rates), False
    ranks = Ranks(position.rank, engine.world_size)
    with made_ahead(_micro_batches(data, collate, position, engine.world_size, accumulation)) as made:
        for step in range(position.step, position.num_steps):
            factor = learning_rate_factor(step, position.num_steps, stage.warmup)
            rates = {part: peak * factor for part, peak in peaks.items()}
            losses, norm, norms = list[torch.Tensor](), math.nan, dict[str, float]()
            meter.begin(position.is_looked_at(step + 1))
            for micro in range(accumulation):
                with meter.part("data"):
                    batch, inputs = next(made)
                    inputs = [
                        part.to(position.device, non_blocking=True) if hasattr(part, "to") else part for part in inputs
                    ]
                with meter.part("forward"):
                    loss = engine.loss(*inputs)
                meter.hear(batch.kinds)
                with meter.part("backward"):
                    engine.backward(nothing_if_not_finite(loss))
                if position.is_looked_at(step + 1) and micro + 1 == accumulation:
                    norms = {f"train/gradient_norm/{part}": value for part, value in engine.part_norms().items()}
                with meter.part("optimizer"):
                    norm = engine.step(rates)
                losses.append(loss.detach())
            mean, norm, stopping = ranks.mean([float(torch.stack(losses).mean()), norm, float(stop())])
            judged = guard.look(step + 1, mean, norm)
            numbers = {"train/loss": mean, "train/gradient_norm": norm, **norms, "train/learning_rate_factor": factor}
            log({"step": step + 1, **numbers, **judged, **meter.numbers(stage.batch_size)})
            # Not while steps go wrong, so that going back leads to before the first of them.
            due = due or (step + 1) % save_every == 0
            if (due and not guard.in_a_row) or stopping or step + 1 == position.num_steps:
                with meter.part("save"):
                    save(step + 1)
                due = False
            if stopping and step + 1 < position.num_steps:
                raise Stopped(f"stopped after step {step + 1} of {position.num_steps}")


def _micro_batches(
    data: StageData,
    collate: Callable[[Batch, Sequence[torch.Generator]], tuple[Any, ...]],
    position: Position,
    world_size: int,
    accumulation: int,
) -> Iterator[tuple[Batch, tuple[Any, ...]]]:
    for step in range(position.step, position.num_steps):
        for batch in data.batches(step, position.rank, world_size, accumulation):
            # By the example, so that it looks the same whatever the number of ranks.
            chances = [torch.Generator().manual_seed(_seed_of(position.seed, step, place)) for place in batch.places]
            yield batch, collate(batch, chances)


def _seed_of(seed: int, step: int, place: int) -> int:
    return hash((seed, step, place)) & 0x7FFF_FFFF
