"""Evidence of several kinds -> confusable pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from skeletonllm.errors import ConfigError

EvidenceKind = Literal["student", "kinematics", "teacher"]
EVIDENCE_KINDS: tuple[EvidenceKind, ...] = EvidenceKind.__args__


@dataclass(frozen=True)
class ConfusablePair:
    """An action that is often taken for another; directed.

    Every kind of evidence speaks on one scale: of all that an action may be taken for, the share that is this other one.
    The shares of an action's possible partners sum to 1 in each kind that speaks about it; it is None in one that does not.

    Args:
        action: the true one.
        confused_with: the one it is taken for.
        score: 0 to 1, of all kinds; see `merge_evidence`.
        student: by the likelihoods of a student.
        kinematics: by how the joints move.
        teacher: by the judgement of a language model that is told the names alone.
        mistaken: clips of the action that the student answered with the other one; None where it was not asked.
        evidence: which kinds speak about the action, such as `student, kinematics`.
    """

    action: str
    confused_with: str
    score: float
    student: float | None = None
    kinematics: float | None = None
    teacher: float | None = None
    mistaken: int | None = None
    evidence: str = "student"


@dataclass(frozen=True)
class Weights:
    """How much each kind of evidence counts, 0 to 1; one of 0 is shown, and not counted."""

    student: float = 1.0
    kinematics: float = 1.0
    teacher: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            weight = getattr(self, field.name)
            if not 0 <= weight <= 1:
                raise ConfigError(f"mining: the weight of {field.name} is {weight}, must be from 0 to 1")


def merge_evidence(
    actions: Sequence[str],
    strengths: Mapping[EvidenceKind, Float[np.ndarray, "actions actions"]],
    mistaken: Int[np.ndarray, "actions actions"] | None = None,
    weights: Weights | None = None,
    top_k: int = 3,
) -> list[ConfusablePair]:
    """The `top_k` strongest partners of each action, action by action in the given order.

    A pair's score is 1 - (1 - weight x share) x ... over the kinds: the chance that one of them takes it so, if each
    spoke for itself. So more evidence never lowers a pair's score, neither a larger strength of one kind nor another kind
    that speaks too. Equal scores come in the order of the names, so that the order of the actions does not matter.
    A partner that no kind names is left out; an action about which none speaks has no partners.

    Args:
        actions: those of training, each once.
        strengths: of each kind, how much each action (row) is taken for each other one (column), on any scale of its own
            in which twice as much is twice as likely; a row of zeros does not speak. The diagonal does not count.
        mistaken: the student's errors.
        weights: of the kinds; all count fully by default.
        top_k: partners of each action at most.

    Raises:
        ConfigError: `top_k` is below 1, or an action is named twice.
    """
    if top_k < 1:
        raise ConfigError(f"mining: top_k is {top_k}, must be at least 1")
    if len(set(actions)) != len(actions):
        raise ConfigError("mining: an action is named twice; each once")
    weights = weights or Weights()
    shares = {kind: _shares(strengths[kind]) for kind in EVIDENCE_KINDS if kind in strengths}
    doubt = np.ones((len(actions), len(actions)))
    for kind, share in shares.items():
        doubt *= 1 - getattr(weights, kind) * np.nan_to_num(share)
    pairs = []
    for row, action in enumerate(actions):
        speak = [kind for kind, share in shares.items() if not np.isnan(share[row]).any()]
        score = 1 - doubt[row]
        others = [other for other in range(len(actions)) if other != row and score[other] > 0]
        for other in sorted(others, key=lambda other: (-score[other], actions[other]))[:top_k]:
            pairs.append(
                ConfusablePair(
                    action,
                    actions[other],
                    float(score[other]),
                    **{kind: float(shares[kind][row, other]) for kind in speak},
                    mistaken=int(mistaken[row, other]) if mistaken is not None and "student" in speak else None,
                    evidence=", ".join(speak),
                )
            )
    return pairs


def named_strengths(named: Mapping[str, Sequence[str]], actions: Sequence[str]) -> Float[np.ndarray, "actions actions"]:
    """What a teacher named for each action, most alike first, as strengths: 1, 1/2, 1/3, ..."""
    place = {action: number for number, action in enumerate(actions)}
    strengths = np.zeros((len(actions), len(actions)))
    for action, others in named.items():
        for rank, other in enumerate(others, start=1):
            strengths[place[action], place[other]] = 1 / rank
    return strengths


def _shares(strengths: np.ndarray) -> np.ndarray:
    """Rows that sum to 1 without the diagonal; not a number where nothing is said."""
    others = np.where(np.eye(len(strengths), dtype=bool), 0.0, strengths)
    totals = others.sum(1, keepdims=True)
    return np.where(totals > 0, others / np.where(totals > 0, totals, 1.0), np.nan)
