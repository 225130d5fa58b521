"""The examples of a stage, in an order that is a pure function of (seed, step): any number of ranks, any restart."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from skeletonllm.errors import DataError
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.order import Order
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.clip import Clip
from skeletonllm.train.config import StageConfig


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
        stage: how many examples a step has, how many steps there are, and whether examples of like length go together.
        seed: of the order.

    Raises:
        DataError: there are no examples.
    """

    def __init__(self, clips: DatasetRef, examples: DatasetRef, stage: StageConfig, seed: int) -> None:
        self._clips = ShardReader(clips)
        self._examples = ShardReader(examples).table()
        if not len(self):
            raise DataError(f"{examples.path}: no training examples; check that the training split has labelled clips")
        self._stage, self._batch_size, self._group = stage, stage.batch_size, stage.group_by_length
        self._num_steps = num_steps(len(self), stage.batch_size, stage.epochs, stage.max_steps)
        # Characters stand for tokens; the frames are as many for every example.
        lengths = [pc.call_function("utf8_length", [self._examples[name]]) for name in ("prompt", "target")]
        self._lengths = pc.call_function("add", lengths).to_numpy()
        self._order, self._seed = Order(len(self), seed), seed
        self._skipped: list[int] = []

    def __len__(self) -> int:
        return self._examples.num_rows

    @property
    def num_steps(self) -> int:
        """Optimiser steps of the whole stage."""
        return self._num_steps

    def texts(self) -> list[str]:
        """Every different prompt and target, sorted."""
        return sorted({text for name in ("prompt", "target") for text in self._examples[name].unique().to_pylist()})

    def skip(self, starts: Iterable[int]) -> None:
        """Leave out the steps' worth of examples that begin at these places; all that come after move up."""
        self._skipped = sorted({*self._skipped, *starts})

    def start(self, step: int) -> int:
        """Where a step's examples begin in the run's order, counted from its start."""
        start = step * self._batch_size
        for skipped in self._skipped:
            if start >= skipped:
                start += self._batch_size
        return start

    def stands(self, step: int, next_example: int) -> bool:
        """Whether a run that was saved so has left out all that is skipped before there, and nothing else."""
        left_out = sum(start < next_example for start in self._skipped)
        return next_example == (step + left_out) * self._batch_size

    def rows(self, step: int) -> list[int]:
        """The examples of an optimiser step, over all ranks; epochs follow one another without a gap."""
        place = self.start(step)
        first, last = self._group_around(place)
        rows = self._order.rows(first, last - first)
        if self._group > 1:
            rows = rows[np.argsort(self._lengths[rows], kind="stable")]
            # Else every group would go from short to long.
            steps = np.random.default_rng((self._seed, first)).permutation((last - first) // self._batch_size)
            rows = rows.reshape(-1, self._batch_size)[steps].reshape(-1)
        return rows[place - first : place - first + self._batch_size].tolist()

    def _group_around(self, place: int) -> tuple[int, int]:
        """Where the steps that share out their examples by length begin and end; none reaches beyond the run's end."""
        length, end = self._group * self._batch_size, self._num_steps * self._batch_size
        first = place - place % length
        if first < end < first + length:
            return (first, end) if place < end else (end, first + length)
        return first, first + length

    def batches(self, step: int, rank: int = 0, world_size: int = 1, accumulation: int = 1) -> list[Batch]:
        """The micro-batches of one rank in one optimiser step, each of examples of like length.

        Raises:
            ConfigError: the batch cannot be divided so.
        """
        size = self._stage.examples_each(world_size, accumulation) * world_size
        rows = self.rows(step)
        places = list(range(len(rows)))
        if accumulation > 1:
            places.sort(key=lambda place: self._lengths[rows[place]])
        micro = [places[start : start + size] for start in range(0, len(rows), size)]
        return [self._batch(rows, some[rank::world_size]) for some in micro]

    def _batch(self, rows: Sequence[int], places: Sequence[int]) -> Batch:
        picked = self._examples.take([rows[place] for place in places]).to_pylist()
        return Batch(
            [self._clips.by_id(row["clip_id"]) for row in picked],
            [row["prompt"] for row in picked],
            [row["target"] for row in picked],
            [row["weight"] for row in picked],
            places,
            [row["example_id"].rpartition("/")[0].partition("/")[0] for row in picked],
        )
