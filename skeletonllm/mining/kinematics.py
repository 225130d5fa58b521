"""Which actions move alike: the distance between their motion statistics, relative to how clips of one action differ."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from skeletonllm.errors import DataError

# Of the correlation between statistics, so much is taken for chance: there are some eighty statistics, and few clips.
_SHRINKAGE = 0.2
# Of a statistic's whole variance, so much is taken as that within an action, at least: what never differs within one (how
# many persons there are) would else decide all.
_LEAST_WITHIN = 0.03
_SAME = 1e-9

Batch = tuple[Sequence[str], Float[np.ndarray, "clips statistics"]]


def kinematic_strengths(
    read: Callable[[], Iterable[Batch]], actions: Sequence[str]
) -> Float[np.ndarray, "actions actions"]:
    """How close each action's (row) mean motion is to each other one's (column): one over the squared distance.

    The distance is Mahalanobis', by the covariance of the statistics within actions: what varies among clips of one action
    tells little, and what several statistics say counts little more than once. One over its square needs no scale to be
    chosen, and came nearest to what trained students take for what (`python -m tests.agreement` measures it). The clips
    are read twice, in batches, so that memory does not grow with them.

    Args:
        read: the clips' actions and their `motion_statistics`, in batches; the same each time.
        actions: to compare.

    Returns:
        Positive strengths; zero on the diagonal, and in row and column of an action without clips.

    Raises:
        DataError: a clip shows another action.
    """
    counts, means, variances = _means(read(), actions)
    known = counts > 0
    within, covariance = _within(read(), actions, means)
    scales = np.sqrt(within + _LEAST_WITHIN * variances)
    useful = scales > _SAME
    scales = np.where(useful, scales, 1.0)
    correlation = covariance / np.outer(scales, scales)
    np.fill_diagonal(correlation, 1.0)
    correlation = ((1 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(scales)))[useful][:, useful]
    # What one of two actions cannot say is no difference between them.
    both = (known[:, None] & known[None])[..., useful]
    standard = (means / scales)[:, useful]
    apart = np.where(both, standard[:, None] - standard[None], 0.0)
    solved = np.linalg.solve(correlation, apart.reshape(len(actions) ** 2, -1).T).T.reshape(apart.shape)
    strengths = 1 / np.maximum((apart * solved).sum(-1), _SAME)
    has_clips = known.any(1)
    return strengths * np.outer(has_clips, has_clips) * ~np.eye(len(actions), dtype=bool)


def _means(batches: Iterable[Batch], actions: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each action and statistic, how many clips say it, and their mean; of each statistic its variance over all."""
    place = {action: number for number, action in enumerate(actions)}
    counts = sums = squares = np.zeros((len(actions), 0))
    for shown, values in batches:
        if unknown := sorted(set(shown) - set(place)):
            raise DataError(f"mining: clips of {unknown[:5]} are not to be compared; there are {len(actions)} actions")
        if counts.size == 0:
            counts, sums, squares = (np.zeros((len(actions), values.shape[1])) for _ in range(3))
        rows = np.array([place[action] for action in shown], np.intp)
        np.add.at(counts, rows, ~np.isnan(values))
        np.add.at(sums, rows, np.nan_to_num(values))
        np.add.at(squares, rows, np.nan_to_num(values) ** 2)
    totals = np.maximum(counts.sum(0), 1)
    variances = np.maximum(squares.sum(0) / totals - (sums.sum(0) / totals) ** 2, 0)
    return counts, sums / np.maximum(counts, 1), variances


def _within(batches: Iterable[Batch], actions: Sequence[str], means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each statistic within actions, and their covariance."""
    place = {action: number for number, action in enumerate(actions)}
    products, counts = np.zeros((means.shape[1], means.shape[1])), np.zeros(means.shape[1])
    for shown, values in batches:
        # A missing one is at its mean: it says nothing, and the covariance stays one.
        away = np.nan_to_num(values - means[[place[action] for action in shown]])
        products += away.T @ away
        counts += (~np.isnan(values)).sum(0)
    covariance = products / np.sqrt(np.outer(np.maximum(counts, 1), np.maximum(counts, 1)))
    return np.diag(covariance).copy(), covariance
