"""Which actions a student takes for one another. Numpy only; knows no model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class ConfusablePair:
    """An action that is often taken for another; directed.

    Args:
        action: the true one.
        confused_with: the one it is taken for.
        score: mean probability that the student gives to the other one, over the clips of the action.
        count: clips of the action that were answered with the other one.
        evidence: who says so, here `student`.
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

    Soft counts, since a student that is right about its training clips still shows what it hesitates about: the softmax
    of the candidates' log-likelihoods, averaged over the clips of an action. Equal scores keep the candidates' order.

    Args:
        actions_true: of each clip.
        scores: log-likelihoods of the candidates.
        candidates: in the order of the scores.
        top_k: partners of each action at most.
    """
    likely = np.exp(scores - scores.max(1, keepdims=True))
    likely /= likely.sum(1, keepdims=True)
    answers = scores.argmax(1)
    true = np.array([candidates.index(action) for action in actions_true])
    pairs = []
    for number, action in enumerate(candidates):
        clips = true == number
        if not clips.any():
            continue
        mean = likely[clips].mean(0)
        mean[number] = -1
        for other in np.argsort(-mean, kind="stable")[: min(top_k, len(candidates) - 1)]:
            mistaken = int((answers[clips] == other).sum())
            pairs.append(ConfusablePair(action, candidates[int(other)], float(mean[other]), mistaken))
    return pairs
