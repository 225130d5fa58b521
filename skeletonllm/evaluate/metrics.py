"""Numbers that say how good a student is, each with its interval. Numpy only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from skeletonllm.errors import DataError

_Z_95 = 1.959963984540054
_BLOCK = 2_000_000  # resampled answers that the bootstrap holds at once


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

    @property
    def above_chance(self) -> bool:
        """Whether even the lower end of the interval is better than guessing."""
        return self.low > self.chance


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same clips.

    Args:
        difference: accuracy of the first less that of the second.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
        p_value: how likely so large a difference is by chance alone (McNemar, exact, two-sided).
        only_first: clips that only the first answered rightly.
        only_second: clips that only the second did.
        total: clips compared.
    """

    difference: float
    low: float
    high: float
    p_value: float
    only_first: int
    only_second: int
    total: int


def accuracy(actions: Sequence[str], predicted: Sequence[str], num_candidates: int) -> Accuracy:
    """The share of right answers, with Wilson's interval.

    Raises:
        DataError: there are no candidates.
    """
    if num_candidates < 1:
        raise DataError(f"accuracy among {num_candidates} candidates; there must be at least 1")
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
    # Rounding must not push the interval off its own share at 0 and 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def confusion_matrix(
    actions: Sequence[str], predicted: Sequence[str], candidates: Sequence[str]
) -> Int64[np.ndarray, "candidates candidates"]:
    """Counts: rows are the true actions, columns the answers.

    Raises:
        DataError: an action or answer is not among the candidates.
    """
    place = {name: number for number, name in enumerate(candidates)}
    if unknown := sorted({*actions, *predicted} - place.keys()):
        raise DataError(f"confusion matrix: {unknown[:5]} are not among the {len(candidates)} candidates")
    matrix = np.zeros((len(candidates), len(candidates)), np.int64)
    for true, answer in zip(actions, predicted, strict=True):
        matrix[place[true], place[answer]] += 1
    return matrix


def recalls(matrix: Int64[np.ndarray, "candidates candidates"]) -> Float[np.ndarray, " candidates"]:
    """Share of each action's clips that were recognised; NaN for an action without clips."""
    totals = matrix.sum(1)
    return np.where(totals > 0, matrix.diagonal() / np.maximum(totals, 1), np.nan)


def balanced_accuracy(matrix: Int64[np.ndarray, "candidates candidates"]) -> float:
    """Mean recall of the actions that have clips: every action counts the same, however many clips it has."""
    known = recalls(matrix)[matrix.sum(1) > 0]
    return float(known.mean()) if known.size else 0.0


def mcnemar_p(right_one: Sequence[bool], right_two: Sequence[bool]) -> float:
    """How likely two systems differ so much on the same clips by chance alone (exact, two-sided).

    Source: McNemar, Note on the sampling error of the difference between correlated proportions (1947).
    """
    only_one, only_two = _differing(right_one, right_two)
    count = only_one + only_two
    if count == 0:
        return 1.0
    term, tail = 1, 1
    for k in range(1, min(only_one, only_two) + 1):
        term = term * (count - k + 1) // k  # the binomial coefficient "count over k", always whole
        tail += term
    return min(1.0, 2 * tail / 2**count)


def compare(
    right_one: Sequence[bool], right_two: Sequence[bool], seed: int = 0, num_samples: int = 10_000
) -> Comparison:
    """Two systems on the same clips: the difference, its bootstrap interval and McNemar's p.

    Args:
        right_one: whether the first answered each clip rightly.
        right_two: the same of the second, clip by clip.
        seed: of the bootstrap.
        num_samples: of the bootstrap.
    """
    only_one, only_two = _differing(right_one, right_two)
    each = np.asarray(right_one, np.int8) - np.asarray(right_two, np.int8)
    if each.size == 0:
        return Comparison(0.0, -1.0, 1.0, 1.0, 0, 0, 0)
    rng = np.random.default_rng(seed)
    means = np.empty(num_samples)
    step = max(1, _BLOCK // each.size)
    for start in range(0, num_samples, step):
        block = means[start : start + step]
        block[:] = each[rng.integers(0, each.size, (len(block), each.size))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Comparison(
        difference=(only_one - only_two) / each.size,
        low=float(low),
        high=float(high),
        p_value=mcnemar_p(right_one, right_two),
        only_first=only_one,
        only_second=only_two,
        total=each.size,
    )


def _differing(right_one: Sequence[bool], right_two: Sequence[bool]) -> tuple[int, int]:
    """How many only the first, and only the second, answered rightly.

    Raises:
        DataError: they did not answer the same number of clips.
    """
    if len(right_one) != len(right_two):
        raise DataError(f"a paired comparison needs the same clips; there are {len(right_one)} and {len(right_two)}")
    only_one = sum(bool(a and not b) for a, b in zip(right_one, right_two, strict=True))
    only_two = sum(bool(b and not a) for a, b in zip(right_one, right_two, strict=True))
    return only_one, only_two


@dataclass(frozen=True)
class SeedMean:
    """A mean over several trainings and the same clips: an accuracy, or a difference of two.

    Args:
        mean: over seeds and clips.
        low: lower end of the 95 % interval over the clips and the seeds.
        high: upper end.
        each: of each seed.
    """

    mean: float
    low: float
    high: float
    each: tuple[float, ...]


def mean_over_seeds(right: Bool[np.ndarray, "seeds clips"], seed: int = 0, num_samples: int = 4000) -> SeedMean:
    """Accuracy of one system trained with several seeds.

    The interval is a bootstrap that draws clips and seeds anew: other clips and another training might have come.

    Args:
        right: whether each training answered each clip rightly.
        seed: of the bootstrap.
        num_samples: of the bootstrap.
    """
    return _seed_mean(right.astype(np.float64), seed, num_samples)


def compare_seeds(
    one: Bool[np.ndarray, "seeds clips"],
    other: Bool[np.ndarray, "seeds2 clips2"],
    seed: int = 0,
    num_samples: int = 4000,
) -> SeedMean:
    """The accuracy of one system less that of another, paired by clip and by seed.

    Raises:
        DataError: they did not answer the same clips with as many seeds.
    """
    if one.shape != other.shape:
        raise DataError(f"a paired comparison needs the same seeds and clips; there are {one.shape} and {other.shape}")
    return _seed_mean(one.astype(np.float64) - other, seed, num_samples)


def _seed_mean(values: Float[np.ndarray, "seeds clips"], seed: int, num_samples: int) -> SeedMean:
    seeds, clips = values.shape
    each = tuple(values.mean(1).tolist()) if clips else (0.0,) * seeds
    if not values.size:
        return SeedMean(0.0, -1.0, 1.0, each)
    rng = np.random.default_rng(seed)
    means = np.empty(num_samples)
    for sample in range(num_samples):
        drawn = values[rng.integers(0, seeds, seeds)].mean(0)
        means[sample] = drawn[rng.integers(0, clips, clips)].mean()
    low, high = np.quantile(means, (0.025, 0.975))
    return SeedMean(float(values.mean()), float(low), float(high), each)
