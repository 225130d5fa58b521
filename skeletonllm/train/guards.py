"""What keeps a run on its way: steps that are not numbers, spikes of the loss, being asked to stop.

What is judged is the same on every rank, so all ranks do the same. A judgement depends on nothing but the numbers of the
steps before, which `metrics.jsonl` has: a run that was killed and taken up judges as if nothing had happened.
"""

import json
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from skeletonllm.errors import ConfigError
from skeletonllm.plain import from_plain, to_plain, write_whole

NOT_TAKEN = "guard/not_taken"
ROLLBACKS = "guard/rollbacks"
_FILE = "skipped.json"
# Steps in a row that are not taken before a run goes back.
_IN_A_ROW = 3
# A spike is a loss that lies so many deviations above the median of so many steps before it.
_SIGMAS = 6.0
_WINDOW = 128
# The median absolute deviation of normal numbers, times this, is their standard deviation.
_ROBUST = 1.4826
# A loss near 0 hardly deviates; so a deviation is at least this share of the loss that the run began with.
_LEAST_SHARE, _BEGINNING = 0.1, 16


class GoBack(Exception):
    """The run should go on from its last checkpoint, without the examples of the steps `first` to `last`."""

    def __init__(self, first: int, last: int, why: str) -> None:
        super().__init__(first, last, why)
        self.first, self.last, self.why = first, last, why


class Stopped(Exception):
    """The run was asked to stop; it is saved, and goes on from there when it is started again."""


@dataclass(frozen=True)
class Skipped:
    """Examples that a run never learns from again, and why."""

    back_to: int
    """The step of the checkpoint that the run went back to."""
    steps: tuple[int, ...]
    """That had gone wrong, counted from 1."""
    starts: tuple[int, ...]
    """Where the examples of each of these steps begin in the order of all examples, counted from the run's start."""
    why: str


def nothing_if_not_finite(loss: Tensor) -> Tensor:
    """A loss whose gradients are not numbers either where it is none, so that no engine takes the step."""
    return loss * torch.where(torch.isfinite(loss.detach()), 1.0, math.nan)


class Guard:
    """Judges each step.

    Args:
        before: the rows of `metrics.jsonl` of the steps that were taken before, in their order.
        rollbacks: how often the run has gone back.
    """

    def __init__(self, before: Sequence[Mapping[str, int | float]] = (), rollbacks: int = 0) -> None:
        self._rollbacks = rollbacks
        self._losses: deque[float] = deque(maxlen=_WINDOW)
        self._beginning: list[float] = []
        self._not_taken = self.in_a_row = 0
        for row in before:
            self._remember(float(row["train/loss"]), taken=int(row.get(NOT_TAKEN, 0)) == self._not_taken)

    def look(self, step: int, loss: float, norm: float) -> dict[str, int]:
        """Judge a step by its number from 1, its loss, and its gradient's norm; both over all ranks.

        Returns:
            What `metrics.jsonl` says of it.

        Raises:
            GoBack: three steps in a row were not numbers, or this one is a spike.
        """
        taken = math.isfinite(loss) and math.isfinite(norm)
        highest = self._highest()
        if taken and loss > highest:
            # The step before may have done the harm that this one shows.
            raise GoBack(max(1, step - 1), step, f"the loss jumps to {loss:.4g}, over {highest:.4g}")
        self._remember(loss, taken)
        if self.in_a_row >= _IN_A_ROW:
            raise GoBack(step - _IN_A_ROW + 1, step, f"{_IN_A_ROW} steps in a row have no finite loss or gradient")
        return {NOT_TAKEN: self._not_taken, ROLLBACKS: self._rollbacks}

    def _remember(self, loss: float, taken: bool) -> None:
        self.in_a_row = 0 if taken else self.in_a_row + 1
        if not taken:
            self._not_taken += 1
            return
        self._losses.append(loss)
        if len(self._beginning) < _BEGINNING:
            self._beginning.append(loss)

    def _highest(self) -> float:
        """The highest loss that is no spike."""
        if len(self._losses) < _WINDOW:
            return math.inf
        middle = median(self._losses)
        deviation = _ROBUST * median(abs(loss - middle) for loss in self._losses)
        return middle + _SIGMAS * max(deviation, _LEAST_SHARE * median(self._beginning))


def read_skipped(folder: Path) -> list[Skipped]:
    """What the run in this folder skips."""
    path = folder / _FILE
    return [from_plain(Skipped, one, str(path)) for one in json.loads(path.read_text())] if path.exists() else []


def skip(folder: Path, skipped: Skipped, stage: str) -> None:
    """Write down that a run goes back to a checkpoint and skips some examples.

    Raises:
        ConfigError: it went back to this checkpoint before.
    """
    before = read_skipped(folder)
    steps = f"steps {skipped.steps[0]} to {skipped.steps[-1]}"
    if any(one.back_to == skipped.back_to for one in before):
        raise ConfigError(
            f"stage {stage}: {skipped.why} ({steps}), again after going back to step {skipped.back_to} and skipping other "
            f"examples; lower stages.{stage}.learning_rates.renderer, .projector and .language_adapter, or look at the "
            f"examples in {folder / _FILE}"
        )
    write_whole(folder / _FILE, json.dumps([to_plain(one) for one in [*before, skipped]], indent=2) + "\n")
