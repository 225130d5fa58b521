"""The training loop: batch, loss, step; then log and save when due. Knows no engine, no file format, no stage."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from skeletonllm.errors import ConfigError
from skeletonllm.train.config import StageConfig
from skeletonllm.train.data import Batch, StageData
from skeletonllm.train.engine import Engine, learning_rate_factor

# Steps between looks at what takes a little time to measure.
_LOOK_EVERY = 50


@dataclass(frozen=True)
class Position:
    """Where a run stands."""

    step: int
    num_steps: int
    rank: int
    seed: int

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
) -> None:
    """Train from `position.step` to `position.num_steps`.

    Args:
        stage: learning rates and warm-up.
        data: gives each step's batches, the same after any restart.
        engine: moves the weights.
        collate: a batch as the inputs of the student's loss; an example's random choices come from its generator.
        position: where to start, where to end, and who this process is.
        accumulation: micro-batches of one optimiser step.
        log: takes one step's numbers.
        save: saves the state after so many steps.
        save_every: steps between saves; the last step is always saved.

    Raises:
        ConfigError: the loss is no longer a number.
    """
    peaks = vars(stage.learning_rates)
    for step in range(position.step, position.num_steps):
        started, waited, losses = time.perf_counter(), 0.0, []
        factor = learning_rate_factor(step, position.num_steps, stage.warmup)
        rates = {part: peak * factor for part, peak in peaks.items()}
        norm, norms = math.nan, dict[str, float]()
        for micro, batch in enumerate(data.batches(step, position.rank, engine.world_size, accumulation)):
            fetched = time.perf_counter()
            # By the example, so that it looks the same whatever the number of ranks.
            chances = [torch.Generator().manual_seed(_seed_of(position.seed, step, place)) for place in batch.places]
            inputs = collate(batch, chances)
            waited += time.perf_counter() - fetched
            loss = engine.loss(*inputs)
            engine.backward(loss)
            if position.is_looked_at(step + 1) and micro + 1 == accumulation:
                norms = {f"train/gradient_norm/{part}": value for part, value in engine.part_norms().items()}
            norm = engine.step(rates)
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise ConfigError(f"stage {stage.name}: the loss is {mean} at step {step}; lower the learning rates")
        numbers = {
            "step": step + 1,
            "train/loss": mean,
            "train/gradient_norm": norm,
            **norms,
            "train/learning_rate_factor": factor,
            "data/wait_s": waited,
            "train/step_s": time.perf_counter() - started,
        }
        log(numbers)
        if (step + 1) % save_every == 0 or step + 1 == position.num_steps:
            save(step + 1)


def _seed_of(seed: int, step: int, place: int) -> int:
    return hash((seed, step, place)) & 0x7FFF_FFFF


class MetricsFile:
    """`metrics.jsonl`: one flat object per step; a restart continues it from its own step on."""

    def __init__(self, path: Path, from_step: int) -> None:
        kept = [row for row in read_metrics(path) if row["step"] <= from_step]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a")

    def __call__(self, numbers: Mapping[str, int | float]) -> None:
        """Add one step's numbers."""
        self._file.write(json.dumps(dict(numbers)) + "\n")
        self._file.flush()


def read_metrics(path: Path) -> list[dict[str, int | float]]:
    """The rows of a `metrics.jsonl`; a line cut by a kill is left out."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                continue
    return rows
