"""Check a chain against the joints: each step supported, contradicted or not measurable, and the whole accepted or not."""

import re
from dataclasses import replace

import numpy as np

from skeletonllm.reasoning.chain import ChainStep, ReasoningChain, StepVerdict
from skeletonllm.reasoning.facts import (
    ANGLE_TOLERANCE_DEG,
    PELVIS_TOLERANCE,
    TOLERANCE,
    Signals,
    measure_signals,
    turning_points,
)
from skeletonllm.skeleton.clip import Clip

# Above this share of the tolerance a change counts for a claim; below a third of it, the claim is wrong.
_ENOUGH = 0.6
_NOTHING = 0.33

_AXES = {
    "raises": (1, 1),
    "lowers": (1, -1),
    "moves forward": (2, 1),
    "moves back": (2, -1),
    "moves sideways": (0, 0),
}
_STAND_INS = {"hand": "wrist", "foot": "ankle", "hip": "pelvis"}


def verify_chain(chain: ReasoningChain, clip: Clip) -> ReasoningChain:
    """The chain with the verdict of each step, and its own.

    Accepted: the answer is the clip's action, nothing gives it away before the end, no step is contradicted, and at least
    one is supported.
    """
    signals = measure_signals(clip)
    verdicts = tuple(check_step(step, signals, clip.num_frames) for step in chain.steps)
    reasons = []
    if clip.action is not None and chain.answer != clip.action:
        reasons.append(f"the answer is {chain.answer!r}, the clip shows {clip.action!r}")
    if leak := leaked_label(chain):
        reasons.append(f"the label {chain.answer!r} is given away before the answer: {leak!r}")
    for number, (step, verdict) in enumerate(zip(chain.steps, verdicts, strict=True)):
        if verdict.verdict == "contradicted":
            reasons.append(f"step {number} ({step.side} {step.part} {step.predicate}): {verdict.reason}")
        if any(chain.steps[cause].first_frame > step.first_frame for cause in step.causes):
            reasons.append(f"step {number} begins before a step that it names as its cause")
    if not any(verdict.verdict == "supported" for verdict in verdicts):
        reasons.append("no step is supported by the joints")
    return replace(
        chain,
        verdict="rejected" if reasons else "accepted",
        step_verdicts=verdicts,
        reasons=tuple(reasons),
    )


def leaked_label(chain: ReasoningChain) -> str | None:
    """The sentence that names the label before the answer; None where none does."""
    words = re.findall(r"[a-z]+", chain.answer.lower())
    pattern = r"\b" + r"\W+".join(re.escape(word) + r"(?:s|es|ing|d|ed)?" for word in words) + r"\b"
    for text in (chain.summary, *(step.text for step in chain.steps)):
        if words and re.search(pattern, text.lower()):
            return text
    return None


def check_step(step: ChainStep, signals: Signals, num_frames: int) -> StepVerdict:
    """What the joints say about one step."""
    if not 0 <= step.first_frame <= step.last_frame < num_frames:
        return StepVerdict(
            "contradicted", f"frames {step.first_frame} to {step.last_frame} are not in the clip of {num_frames}"
        )
    part = _STAND_INS.get(step.part, step.part)
    window = slice(step.first_frame, step.last_frame + 1)
    if step.predicate in ("approaches", "leaves"):
        gap = signals.gaps.get((0 if part == "pelvis" else step.person, part))
        return (
            _missing(step) if gap is None else _change(gap[window], 1 if step.predicate == "leaves" else -1, TOLERANCE)
        )
    sides = ("left", "right") if step.side == "both" else (step.side,)
    return _worst([_check_side(step, part, side, window, signals) for side in sides])


def _check_side(step: ChainStep, part: str, side: str, window: slice, signals: Signals) -> StepVerdict:
    if step.predicate in ("extends", "flexes"):
        hinge = {"shoulder": "elbow", "wrist": "elbow", "pelvis": "knee", "ankle": "knee"}.get(part, part)
        angle = signals.angles.get((step.person, hinge, side))
        direction = 1 if step.predicate == "extends" else -1
        return _missing(step) if angle is None else _change(angle[window], direction, ANGLE_TOLERANCE_DEG, " degrees")
    path = signals.paths.get((step.person, part, "center" if part in ("pelvis", "head") else side))
    if path is None or (signals.flat and step.predicate in ("moves forward", "moves back")):
        return _missing(step)
    tolerance = PELVIS_TOLERANCE if part == "pelvis" else TOLERANCE
    if step.predicate == "holds still":
        spread = float(np.linalg.norm(np.ptp(path[window], axis=0)))
        return _judge(tolerance - spread, 0.0, -tolerance, f"it stays within {spread:.2f} body sizes")
    if step.predicate == "swings":
        turns = max(len(turning_points(path[window, axis], tolerance * _ENOUGH)) - 1 for axis in range(3))
        return _judge(turns, 2, 0, f"it changes direction {max(0, turns - 1)} times")
    axis, direction = _AXES[step.predicate]
    return _change(path[window, axis], direction, tolerance)


def _change(signal: np.ndarray, direction: int, tolerance: float, unit: str = " body sizes") -> StepVerdict:
    """From the start of the window to its end; direction 0 means either way."""
    change = float(signal[-1] - signal[0])
    claimed = abs(change) if direction == 0 else change * direction
    return _judge(claimed, _ENOUGH * tolerance, _NOTHING * tolerance, f"it changes by {change:+.2f}{unit}")


def _judge(value: float, enough: float, nothing: float, measured: str) -> StepVerdict:
    if value >= enough:
        return StepVerdict("supported", measured)
    if value <= nothing:
        return StepVerdict("contradicted", measured)
    return StepVerdict("not measurable", f"{measured}, too little to tell")


def _missing(step: ChainStep) -> StepVerdict:
    return StepVerdict("not measurable", f"the {step.side} {step.part} of person {step.person} cannot be measured here")


def _worst(verdicts: list[StepVerdict]) -> StepVerdict:
    order = ("contradicted", "not measurable", "supported")
    return min(verdicts, key=lambda verdict: order.index(verdict.verdict))
