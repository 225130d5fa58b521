"""What the joints say about one claim: supported, contradicted or not measurable, with what was measured."""

import numpy as np

from skeletonllm.reasoning.chain import ChainStep, StepVerdict
from skeletonllm.reasoning.measure import (
    best,
    contradicted,
    judge,
    judge_change,
    judge_state,
    judge_turns,
    not_measurable,
    slack_frames,
    supported,
    worst,
)
from skeletonllm.reasoning.signals import Signals
from skeletonllm.reasoning.tolerances import ABOVE_HEAD, AT_HEAD, MIN_HOLD_S, Tolerances
from skeletonllm.reasoning.turning import first_move, turning_points

_AXES = {
    "raises": (1, 1),
    "lowers": (1, -1),
    "moves forward": (2, 1),
    "moves back": (2, -1),
    "moves sideways": (0, 0),
}
_IN_DEPTH = ("moves forward", "moves back", "moves sideways")
_STAND_INS = {"hand": "wrist", "foot": "ankle", "face": "head", "chest": "spine", "neck": "spine"}
_HINGES = {"shoulder": "elbow", "wrist": "elbow", "ankle": "knee", "pelvis": "hip", "spine": "hip"}
_TRUNK = ("spine", "pelvis", "head", "hip")
_OTHER = {"left": "right", "right": "left"}
_CENTRES = ("pelvis", "head", "neck")
_BENDS = {"bends": 1, "flexes": 1, "straightens": -1, "extends": -1}
_TURNS = {"turns left": 1, "turns right": -1}


def check_step(step: ChainStep, signals: Signals, allowed: Tolerances, anytime: bool = False) -> StepVerdict:
    """What the joints say about one step.

    Args:
        step: the claim.
        signals: of the clip.
        allowed: the clip's tolerances.
        anytime: whether it may happen at any time within its frames, which are the whole clip.
    """
    if not 0 <= step.first_frame <= step.last_frame < signals.num_frames:
        return contradicted(
            f"frames {step.first_frame} to {step.last_frame} are not in the clip of {signals.num_frames}"
        )
    if step.person >= signals.num_persons:
        return contradicted(f"person {step.person} is not in the clip of {signals.num_persons} (counted from 0)")
    return _Claim(step, signals, allowed, anytime).verdict()


class _Claim:
    """A step beside the curves that it is measured against."""

    def __init__(self, step: ChainStep, signals: Signals, allowed: Tolerances, anytime: bool) -> None:
        self.step, self.signals, self.allowed = step, signals, allowed
        self.part = _STAND_INS.get(step.part, step.part)
        self.frames = (step.first_frame, step.last_frame)
        self.window = None if anytime else self.frames

    def verdict(self) -> StepVerdict:
        step, part = self.step, self.part
        if step.predicate in ("approaches", "leaves"):
            return self._gap()
        if step.predicate in _TURNS:
            return self._heading()
        if step.predicate in _BENDS and part in _TRUNK:
            return self._trunk()
        if step.predicate == "leads":
            return self._leads()
        if part not in _CENTRES and step.side == "center":
            return self._missing()
        sides = ("left", "right") if step.side == "both" and part not in _CENTRES else (step.side,)
        verdict = worst(self._side(side) for side in sides)
        told_apart = step.side in _OTHER and part not in _CENTRES and step.predicate != "holds still"
        if told_apart and verdict.verdict == "not measurable":
            # Too little to tell, but the other side clearly does it: left and right were mixed up.
            other = self._side(_OTHER[step.side])
            if other.verdict == "supported":
                return contradicted(f"{verdict.reason}; it is the {_OTHER[step.side]} one: {other.reason}")
        gap = self.signals.gaps.get((step.person, part))
        if step.predicate == "swings" and step.side == "both" and gap is not None:
            return best([verdict, self._swings(gap[:, None])])  # to each other, as in clapping
        return verdict

    def _gap(self) -> StepVerdict:
        """Hands to each other, or the two persons; a side's own gap is not measured."""
        of_persons = self.part in ("pelvis", "spine")
        key = (0, "pelvis") if of_persons else (self.step.person, self.part)
        gap = self.signals.gaps.get(key)
        if gap is None or (not of_persons and self.step.side != "both"):
            return self._missing()
        direction = 1 if self.step.predicate == "leaves" else -1
        verdict = judge_change(gap, direction, self.allowed.length, self.window)
        return verdict if of_persons else self._unseen_depth(verdict)

    def _heading(self) -> StepVerdict:
        heading = self.signals.headings.get(self.step.person)
        if heading is None or self.part not in _TRUNK:
            return self._missing()
        # Of a curve that rises in the claimed direction, so that what was measured reads as the claim does.
        named = self.step.predicate.removeprefix("turns ")
        turned = heading * _TURNS[self.step.predicate]
        return judge_change(turned, 1, self.allowed.heading, self.window, f" degrees to the {named}")

    def _trunk(self) -> StepVerdict:
        bend = self.signals.bends.get(self.step.person)
        if bend is None:
            return self._missing()
        direction = _BENDS[self.step.predicate]
        return self._unseen_depth(judge_change(bend, direction, self.allowed.bend, self.window, " degrees"))

    def _leads(self) -> StepVerdict:
        """Whether a hand or foot sets out before the other one."""
        paths = {side: self.signals.rooms.get((self.step.person, self.part, side)) for side in _OTHER}
        own, other = paths.get(self.step.side), paths.get(_OTHER.get(self.step.side, ""))
        if own is None or other is None:
            return self._missing()
        starts = [first_move(path, 1.3 * self.allowed.length, self.frames) for path in (own, other)]
        if starts[0] is None:
            return contradicted("it does not move in these frames")
        if starts[1] is None:
            return contradicted("the other one does not follow in these frames")
        ahead_s = (starts[1][0] - starts[0][0]) / self.signals.fps
        return judge(ahead_s, 0.1, -0.25, f"it sets out {ahead_s:+.2f} s before the other one")

    def _side(self, side: str) -> StepVerdict:
        predicate, person, part = self.step.predicate, self.step.person, self.part
        if predicate in _BENDS:
            angle = self.signals.angles.get((person, _HINGES.get(part, part), side))
            if angle is None:
                return self._missing()
            verdict = judge_change(
                angle, -1 if _BENDS[predicate] == 1 else 1, self.allowed.angle, self.window, " degrees"
            )
            return self._unseen_depth(verdict)
        if predicate in ("is above the head", "is at the head"):
            return self._at_head(side)
        path = self._path(side)
        if path is None or (self.signals.flat and predicate in _IN_DEPTH):
            return self._missing()
        if lost := self._lost(side):
            return lost
        tolerance = self.allowed.pelvis if part == "pelvis" else self.allowed.length
        if predicate == "holds still":
            return self._still(path, tolerance)
        # Beside the body or in the room: either may be meant, but a foot on the floor does not rise when the body sinks.
        room = self.signals.rooms[person, part, self._named(side)]
        if predicate == "swings":
            return best([self._swings(path), self._swings(room)]) if part == "ankle" else self._swings(path)
        axis, direction = _AXES[predicate]
        curves = [room] if part == "pelvis" or (axis == 1 and part == "ankle") else [path, room]
        return best(judge_change(curve[:, axis], direction, tolerance, self.window) for curve in curves)

    def _at_head(self, side: str) -> StepVerdict:
        person, first, last = self.step.person, *self.frames
        curves = self.signals.over_head if self.step.predicate == "is above the head" else self.signals.from_head
        curve = curves.get((person, side)) if self.part == "wrist" else None
        if curve is None:
            return self._missing()
        usual = float(np.median(curve[first : last + 1]))
        if self.step.predicate == "is above the head":
            return judge_state(curve > 0.25 * ABOVE_HEAD, self.window, f"it is {usual:+.2f} body sizes above the head")
        verdict = judge_state(curve < 1.15 * AT_HEAD, self.window, f"it is {usual:.2f} body sizes from the head")
        # Near in a picture may be far in depth; far is far.
        return self._unseen_depth(verdict) if verdict.verdict == "supported" else verdict

    def _still(self, path: np.ndarray, tolerance: float) -> StepVerdict:
        if self.window is None:
            return self._still_for_a_while(path, tolerance)
        first, last = self.frames
        slack = min(slack_frames(len(path)), (last - first) // 3)
        inside = path[first + slack : last - slack + 1]
        reach = inside.max(0) - inside.min(0)
        spread = float(np.sqrt((reach * reach).sum()))
        return judge(1.6 * tolerance - spread, 0.0, -0.4 * tolerance, f"it stays within {spread:.2f} body sizes")

    def _still_for_a_while(self, path: np.ndarray, tolerance: float) -> StepVerdict:
        """Without a time it may mean the whole clip or a part of it: only what is true of both, or of none, is told."""
        spread = float(np.sqrt((np.ptp(path, axis=0) ** 2).sum()))
        if spread <= 1.6 * tolerance:
            return supported(f"it stays within {spread:.2f} body sizes")
        length = min(len(path), max(2, round(MIN_HOLD_S * self.signals.fps)))
        pieces = np.lib.stride_tricks.sliding_window_view(path, length, axis=0)
        least = float(np.sqrt((np.ptp(pieces, axis=-1) ** 2).sum(-1)).min())
        if least > 1.6 * tolerance:
            return contradicted(f"it moves by {least:.2f} body sizes or more in any {MIN_HOLD_S} s")
        return not_measurable(f"it stays within {least:.2f} body sizes for {MIN_HOLD_S} s, within {spread:.2f} in all")

    def _swings(self, path: np.ndarray) -> StepVerdict:
        verdicts = [
            judge_turns(turning_points(curve, self.allowed.swing), self.window, len(path))
            for curve in path.T
            if curve.max() - curve.min() > self.allowed.swing
        ]
        return best(verdicts) if verdicts else contradicted("it turns back 0 times")

    def _path(self, side: str) -> np.ndarray | None:
        return self.signals.paths.get((self.step.person, self.part, self._named(side)))

    def _named(self, side: str) -> str:
        return "center" if self.part in _CENTRES else side

    def _lost(self, side: str) -> StepVerdict | None:
        """Not measurable where the part was not seen in most of the frames; None where it was."""
        unseen = self.signals.unseen.get((self.step.person, self.part, self._named(side)))
        if unseen is None:
            return None
        first, last = self.frames
        share = float(unseen[first : last + 1].mean())
        return not_measurable(f"it was not seen in {share:.0%} of these frames") if share > 0.5 else None

    def _unseen_depth(self, verdict: StepVerdict) -> StepVerdict:
        """A flat picture can neither show nor refute what is turned away from it."""
        if not self.signals.flat:
            return verdict
        return not_measurable(f"{verdict.reason} in the picture, whose depth is unknown")

    def _missing(self) -> StepVerdict:
        step = self.step
        return not_measurable(f"the {step.side} {step.part} of person {step.person} cannot be measured here")
