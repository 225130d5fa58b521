"""Numbers that say how good a student is, each with its interval. Numpy only."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Accuracy:
    """A share of right answers.

    Args:
        right: how many.
        total: of how many.
        low: lower end of the 95 % interval.
        high: upper end.
        chance: what guessing evenly among the candidates would give.
    """

    right: int
    total: int
    low: float
    high: float
    chance: float

    @property
    def value(self) -> float:
        """The share; 0 of nothing is 0."""
        return self.right / self.total if self.total else 0.0

    @property
    def times_chance(self) -> float:
        """How often better than guessing."""
        return self.value / self.chance if self.chance else 0.0


def accuracy(actions: Sequence[str], predicted: Sequence[str], num_candidates: int) -> Accuracy:
    """The share of right answers, with Wilson's interval."""
    right = sum(a == b for a, b in zip(actions, predicted, strict=True))
    low, high = wilson_interval(right, len(actions))
    return Accuracy(right, len(actions), low, high, 1 / num_candidates)


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % interval of a share; (0, 1) where nothing was counted.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if total == 0:
        return 0.0, 1.0
    share, z2 = right / total, _Z_95**2
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z_95 / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def confusion_matrix(
    actions: Sequence[str], predicted: Sequence[str], candidates: Sequence[str]
) -> Int64[np.ndarray, "candidates candidates"]:
    """Counts: rows are the true actions, columns the answers."""
    place = {name: number for number, name in enumerate(candidates)}
    matrix = np.zeros((len(candidates), len(candidates)), np.int64)
    for true, answer in zip(actions, predicted, strict=True):
        matrix[place[true], place[answer]] += 1
    return matrix


def recalls(matrix: Int64[np.ndarray, "candidates candidates"]) -> Float[np.ndarray, " candidates"]:
    """Share of each action's clips that were recognised; NaN for an action without clips."""
    totals = matrix.sum(1)
    return np.where(totals > 0, matrix.diagonal() / np.maximum(totals, 1), np.nan)


def majority_share(actions: Sequence[str]) -> float:
    """What always giving the most frequent answer would reach."""
    return max(Counter(actions).values()) / len(actions) if actions else 0.0


def mcnemar_p(right_one: Sequence[bool], right_two: Sequence[bool]) -> float:
    """How likely two systems differ so much on the same clips by chance alone (exact, two-sided).

    Source: McNemar, Note on the sampling error of the difference between correlated proportions (1947).
    """
    only_one = sum(a and not b for a, b in zip(right_one, right_two, strict=True))
    only_two = sum(b and not a for a, b in zip(right_one, right_two, strict=True))
    differing = only_one + only_two
    if differing == 0:
        return 1.0
    tail = sum(math.comb(differing, k) for k in range(min(only_one, only_two) + 1)) / 2**differing
    return min(1.0, 2 * tail)
