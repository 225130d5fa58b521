"""Which actions a student takes for one another. Numpy only; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skeletonllm.errors import ConfigError, DataError


@dataclass(frozen=True)
class ConfusablePair:
    """An action that is often taken for another; directed.

    Args:
        action: the true one.
        confused_with: the one it is taken for.
        score: 0 to 1. The mean of two shares: the probability that the student gives to the other one over the clips of
            the action, and the clips that it answers with the other one.
        count: clips of the action that were answered with the other one.
        evidence: who says so: `student`; `student, reversed` where the action itself has no clips, and the clips of
            `confused_with` say how often they are taken for it.
    """

    action: str
    confused_with: str
    score: float
    count: int
    evidence: str = "student"


def mine_pairs(
    actions_true: Sequence[str],
    scores: Float[np.ndarray, "clips candidates"],
    candidates: Sequence[str],
    top_k: int = 3,
) -> list[ConfusablePair]:
    """The `top_k` strongest confusions of each action, in the order of the candidates.

    Soft counts as well as errors, since a student that is right about its training clips still shows what it hesitates
    about. Every action gets a partner as soon as there are two. More confusion never lowers a pair's score; equal scores
    keep the candidates' order.

    Args:
        actions_true: of each clip.
        scores: log-likelihoods of the candidates, for each clip.
        candidates: in the order of the scores.
        top_k: partners of each action at most.

    Raises:
        ConfigError: `top_k` is below 1, or a candidate is named twice.
        DataError: an action is no candidate, or a score is not a number.
    """
    _check(actions_true, scores, candidates, top_k)
    mass, errors, totals = _confusion(actions_true, scores, candidates)
    strength = (mass + errors / np.maximum(totals, 1)[:, None]) / 2
    pairs = []
    for number, action in enumerate(candidates):
        own = totals[number] > 0
        row, counts = (strength[number], errors[number]) if own else (strength[:, number], errors[:, number])
        evidence = "student" if own else "student, reversed"
        others = [int(other) for other in np.argsort(-row, kind="stable") if other != number]
        for other in others[:top_k]:
            pairs.append(ConfusablePair(action, candidates[other], float(row[other]), int(counts[other]), evidence))
    return pairs


def _check(actions_true: Sequence[str], scores: np.ndarray, candidates: Sequence[str], top_k: int) -> None:
    if top_k < 1:
        raise ConfigError(f"mining: top_k is {top_k}, must be at least 1")
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


def _confusion(
    actions_true: Sequence[str], scores: np.ndarray, candidates: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability and count of answers, true action by candidate; and the clips of each action."""
    size = len(candidates)
    place = {action: number for number, action in enumerate(candidates)}
    true = np.array([place[action] for action in actions_true], np.intp)
    mass, errors = np.zeros((size, size)), np.zeros((size, size), np.int64)
    if len(true):
        likely = np.exp(scores - scores.max(1, keepdims=True))
        np.add.at(mass, true, likely / likely.sum(1, keepdims=True))
        np.add.at(errors, (true, scores.argmax(1)), 1)
    totals = np.bincount(true, minlength=size)
    return mass / np.maximum(totals, 1)[:, None], errors, totals
