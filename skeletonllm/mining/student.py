"""What a student takes for what, by its likelihoods."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from skeletonllm.errors import ConfigError, DataError


def student_strengths(
    actions_true: Sequence[str], scores: Float[np.ndarray, "clips candidates"], candidates: Sequence[str]
) -> tuple[Float[np.ndarray, "candidates candidates"], Int[np.ndarray, "candidates candidates"]]:
    """How much a student takes each action (row) for each other one (column).

    The mean of two shares: the probability that the student gives to the other one over the clips of the action, and the
    clips that it answers with the other one. Soft counts as well as errors, since a student that is right about its
    training clips still shows what it hesitates about.

    Args:
        actions_true: of each clip.
        scores: log-likelihoods of the candidates, for each clip.
        candidates: in the order of the scores.

    Returns:
        The strengths, zero on the diagonal and in the row of an action without clips; and how many clips of the action
        were answered with the other one.

    Raises:
        ConfigError: a candidate is named twice.
        DataError: an action is no candidate, or a score is not a number.
    """
    _check(actions_true, scores, candidates)
    size = len(candidates)
    place = {action: number for number, action in enumerate(candidates)}
    true = np.array([place[action] for action in actions_true], np.intp)
    mass, answers = np.zeros((size, size)), np.zeros((size, size), np.int64)
    if len(true):
        likely = np.exp(scores - scores.max(1, keepdims=True))
        np.add.at(mass, true, likely / likely.sum(1, keepdims=True))
        np.add.at(answers, (true, scores.argmax(1)), 1)
    strengths = (mass + answers) / 2 / np.maximum(np.bincount(true, minlength=size), 1)[:, None]
    np.fill_diagonal(strengths, 0)
    np.fill_diagonal(answers, 0)
    return strengths, answers


def _check(actions_true: Sequence[str], scores: np.ndarray, candidates: Sequence[str]) -> None:
    if len(set(candidates)) != len(candidates):
        raise ConfigError("mining: a candidate is named twice; each action once")
    if scores.shape != (len(actions_true), len(candidates)):
        raise DataError(
            f"mining: scores have shape {scores.shape}, must be {(len(actions_true), len(candidates))}: "
            "a row for each clip, a column for each candidate"
        )
    if unknown := sorted(set(actions_true) - set(candidates)):
        raise DataError(f"mining: {unknown[:5]} are no candidates; there are {len(candidates)}")
    bad = ~np.isfinite(scores).all(1)
    if bad.any():
        raise DataError(f"mining: {bad.sum()} of {len(scores)} clips have scores that are not numbers; train again")
