"""Check a chain against the joints: each step supported, contradicted or not measurable, and the whole accepted or not."""

from dataclasses import replace

import numpy as np

from skeletonllm.reasoning.chain import ChainStep, ReasoningChain, StepVerdict
from skeletonllm.reasoning.facts import (
    ABOVE_HEAD,
    ANGLE_TOLERANCE_DEG,
    BEND_TOLERANCE_DEG,
    PELVIS_TOLERANCE,
    SWING_TOLERANCE,
    TOLERANCE,
    turning_points,
)
from skeletonllm.reasoning.leak import leaked_words
from skeletonllm.reasoning.signals import Signals, measure_signals
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
_STAND_INS = {"hand": "wrist", "foot": "ankle", "face": "head", "chest": "spine", "neck": "spine"}
_HINGES = {"shoulder": "elbow", "wrist": "elbow", "ankle": "knee", "pelvis": "hip", "spine": "hip"}
_TRUNK = ("spine", "pelvis", "head", "hip")
_OTHER = {"left": "right", "right": "left"}
_CENTRES = ("pelvis", "head", "neck")


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
        if any(cause >= number or _begins_after(chain.steps[cause], step) for cause in step.causes):
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
    """The words that name the label before the answer; None where none do."""
    for text in (chain.summary, *(step.text for step in chain.steps)):
        if leak := leaked_words(text, chain.answer):
            return leak
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
        return _check_gap(step, part, window, signals)
    if step.predicate in ("bends", "straightens") and part in _TRUNK:
        bend = signals.bends.get(step.person)
        if bend is None:
            return _missing(step)
        direction = 1 if step.predicate == "bends" else -1
        verdict = _change(bend[window], direction, BEND_TOLERANCE_DEG, " degrees")
        return _unseen_depth(verdict, signals)
    sides = ("left", "right") if step.side == "both" else (step.side,)
    if part not in _CENTRES and step.side == "center" and step.predicate != "holds still":
        return _missing(step)
    verdict = _worst([_check_side(step, part, side, window, signals) for side in sides])
    if step.side in _OTHER and verdict.verdict == "not measurable":
        # Too little to tell, but the other side clearly does it: left and right were mixed up.
        other = _check_side(step, part, _OTHER[step.side], window, signals)
        if other.verdict == "supported" and part not in _CENTRES:
            return StepVerdict("contradicted", f"{verdict.reason}; it is the {_OTHER[step.side]} one: {other.reason}")
    gap = signals.gaps.get((step.person, part))
    if step.predicate == "swings" and step.side == "both" and gap is not None:
        return _best([verdict, _check_swings(gap[window, None])])  # to each other, as in clapping
    return verdict


def _begins_after(cause: ChainStep, step: ChainStep) -> bool:
    return cause.first_frame > step.first_frame


def _check_gap(step: ChainStep, part: str, window: slice, signals: Signals) -> StepVerdict:
    """Hands to each other, or the two persons; a side's own gap is not measured."""
    gap = signals.gaps.get((0 if part == "pelvis" else step.person, part))
    if gap is None or (part != "pelvis" and step.side != "both"):
        return _missing(step)
    verdict = _change(gap[window], 1 if step.predicate == "leaves" else -1, TOLERANCE)
    return verdict if part == "pelvis" else _unseen_depth(verdict, signals)


def _check_side(step: ChainStep, part: str, side: str, window: slice, signals: Signals) -> StepVerdict:
    if step.predicate in ("extends", "flexes", "bends", "straightens"):
        angle = signals.angles.get((step.person, _HINGES.get(part, part), side))
        direction = 1 if step.predicate in ("extends", "straightens") else -1
        if angle is None:
            return _missing(step)
        return _unseen_depth(_change(angle[window], direction, ANGLE_TOLERANCE_DEG, " degrees"), signals)
    if step.predicate == "is above the head":
        over = signals.over_head.get((step.person, side)) if part == "wrist" else None
        if over is None:
            return _missing(step)
        height = float(np.median(over[window]))
        return _judge(height, 0.5 * ABOVE_HEAD, -ABOVE_HEAD, f"it is {height:+.2f} body sizes above the head")
    path = signals.paths.get((step.person, part, _side(part, side)))
    if path is None or (signals.flat and step.predicate in ("moves forward", "moves back", "moves sideways")):
        return _missing(step)
    tolerance = PELVIS_TOLERANCE if part == "pelvis" else TOLERANCE
    if step.predicate == "holds still":
        spread = float(np.linalg.norm(np.ptp(path[window], axis=0)))
        return _judge(1.5 * tolerance - spread, 0.0, -tolerance, f"it stays within {spread:.2f} body sizes")
    if step.predicate == "swings":
        return _check_swings(path[window])
    axis, direction = _AXES[step.predicate]
    # Beside the body or in the room: either may be meant.
    room = signals.rooms[step.person, part, _side(part, side)]
    return _best([_change(curve[window, axis], direction, tolerance) for curve in (path, room)])


def _check_swings(path: np.ndarray) -> StepVerdict:
    turns = max(len(turning_points(axis, SWING_TOLERANCE)) for axis in path.T) - 2
    return _judge(float(turns), 2.0, 0.0, f"it turns back {max(0, turns)} times")


def _side(part: str, side: str) -> str:
    return "center" if part in _CENTRES else side


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


def _unseen_depth(verdict: StepVerdict, signals: Signals) -> StepVerdict:
    """A flat picture can neither show nor refute an angle that is turned away from it."""
    if not signals.flat:
        return verdict
    return StepVerdict("not measurable", f"{verdict.reason} in the picture, whose depth is unknown")


def _missing(step: ChainStep) -> StepVerdict:
    return StepVerdict("not measurable", f"the {step.side} {step.part} of person {step.person} cannot be measured here")


_ORDER = ("contradicted", "not measurable", "supported")


def _worst(verdicts: list[StepVerdict]) -> StepVerdict:
    return min(verdicts, key=lambda verdict: _ORDER.index(verdict.verdict))


def _best(verdicts: list[StepVerdict]) -> StepVerdict:
    return max(verdicts, key=lambda verdict: _ORDER.index(verdict.verdict))
