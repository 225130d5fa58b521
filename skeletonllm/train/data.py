"""The examples of a stage, in an order that is a pure function of (seed, step): any number of ranks, any restart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.order import Order
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.clip import Clip


@dataclass(frozen=True)
class Batch:
    """What one rank learns from in one micro-step; all fields are as long as the batch."""

    clips: Sequence[Clip]
    prompts: Sequence[str]
    targets: Sequence[str]
    weights: Sequence[float]
    places: Sequence[int]
    """Of the examples among all of the optimiser step, whichever rank has them."""
    kinds: Sequence[str]
    """What each example asks for, as its id says: `kind/clip/number`."""


def num_steps(num_examples: int, batch_size: int, epochs: float, max_steps: int | None = None) -> int:
    """Optimiser steps in `epochs` passes through so many examples, at least one."""
    steps = max(1, round(num_examples * epochs / batch_size))
    return steps if max_steps is None else min(steps, max_steps)


class StageData:
    """Examples and the clips they speak of.

    Args:
        clips: the clip data set.
        examples: the example data set.
        batch_size: examples of one optimiser step, over all ranks.
        seed: of the order.

    Raises:
        DataError: there are no examples.
    """

    def __init__(self, clips: DatasetRef, examples: DatasetRef, batch_size: int, seed: int) -> None:
        self._clips = ShardReader(clips)
        self._examples = ShardReader(examples).table().to_pylist()
        if not self._examples:
            raise DataError(f"{examples.path}: no training examples; check that the training split has labelled clips")
        self._batch_size = batch_size
        self._order = Order(len(self._examples), seed)
        self._skipped: list[int] = []

    def __len__(self) -> int:
        return len(self._examples)

    def texts(self) -> list[str]:
        """Every different prompt and target, sorted."""
        return sorted({row[name] for row in self._examples for name in ("prompt", "target")})

    def num_steps(self, epochs: float, max_steps: int | None = None) -> int:
        """Optimiser steps in `epochs` passes, at least one."""
        return num_steps(len(self), self._batch_size, epochs, max_steps)

    def skip(self, starts: Iterable[int]) -> None:
        """Leave out the steps' worth of examples that begin at these places; all that come after move up."""
        self._skipped = sorted({*self._skipped, *starts})

    def start(self, step: int) -> int:
        """Where a step's examples begin in the order of all examples, counted from the run's start."""
        start = step * self._batch_size
        for skipped in self._skipped:
            if start >= skipped:
                start += self._batch_size
        return start

    def rows(self, step: int) -> list[int]:
        """The examples of an optimiser step, over all ranks; epochs follow one another without a gap."""
        return self._order.rows(self.start(step), self._batch_size).tolist()

    def batches(self, step: int, rank: int = 0, world_size: int = 1, accumulation: int = 1) -> list[Batch]:
        """The micro-batches of one rank in one optimiser step.

        Raises:
            ConfigError: the batch cannot be divided so.
        """
        if self._batch_size % (world_size * accumulation):
            raise ConfigError(
                f"batch_size {self._batch_size} cannot be divided by {world_size} workers x {accumulation} "
                "accumulation steps; choose a multiple"
            )
        rows = self.rows(step)
        places = range(rank, len(rows), world_size)
        size = len(places) // accumulation
        return [self._batch(rows, places[start : start + size]) for start in range(0, len(places), size)]

    def _batch(self, rows: Sequence[int], places: Sequence[int]) -> Batch:
        picked = [self._examples[rows[place]] for place in places]
        return Batch(
            [self._clips.by_id(row["clip_id"]) for row in picked],
            [row["prompt"] for row in picked],
            [row["target"] for row in picked],
            [row["weight"] for row in picked],
            places,
            [row["example_id"].rpartition("/")[0].partition("/")[0] for row in picked],
        )
