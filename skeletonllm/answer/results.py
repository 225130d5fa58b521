"""What is answered about a clip, as plain data. Imports nothing heavy."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from skeletonllm.errors import DataError


@dataclass(frozen=True)
class Candidate:
    """One of the labels that were offered.

    Args:
        label: it.
        score: mean log-likelihood per token.
        probability: of all candidates' softmax; they sum to 1.
    """

    label: str
    score: float
    probability: float


@dataclass(frozen=True)
class Recognition:
    """Which label a clip has.

    Args:
        clip_id: of the clip.
        file: that it was read from; empty for a clip that was given as such.
        label: the likeliest one.
        score: its mean log-likelihood per token; None where the model only wrote its answer.
        probability: among the candidates; None likewise.
        candidates: all of them, the likeliest first; empty likewise.
        reply: what the model wrote, where it wrote.
    """

    clip_id: str
    file: str
    label: str
    score: float | None = None
    probability: float | None = None
    candidates: tuple[Candidate, ...] = ()
    reply: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Answer:
    """What a model writes about a clip.

    Args:
        clip_id: of the clip.
        file: that it was read from; empty for a clip that was given as such.
        question: as it was asked.
        text: the answer.
    """

    clip_id: str
    file: str
    question: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


def ranked(labels: Sequence[str], scores: Sequence[float]) -> tuple[Candidate, ...]:
    """Labels with scores and probabilities, the likeliest first; equal ones keep their order.

    Raises:
        DataError: a score is not a number.
    """
    if not all(map(math.isfinite, scores)):
        raise DataError(
            f"the model's scores are {list(scores)[:3]}, must be finite numbers; use another checkpoint or float32"
        )
    best = max(scores)
    weights = [math.exp(score - best) for score in scores]
    total = sum(weights)
    candidates = [
        Candidate(label, score, weight / total) for label, score, weight in zip(labels, scores, weights, strict=True)
    ]
    return tuple(sorted(candidates, key=lambda one: -one.score))
