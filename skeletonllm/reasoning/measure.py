"""Measure one claim against a curve: does it change as claimed, and in the frames that are claimed?"""

from collections.abc import Iterable

import numpy as np

from skeletonllm.reasoning.chain import StepVerdict

# Above this share of the tolerance a change counts for a claim; below the lower one, the claim is wrong.
ENOUGH = 0.7
NOTHING = 0.55
# Nobody names frames to the frame: a claim is looked for this share of the clip around its frames, ...
_SLACK = 0.05
# ... and is wrong where it is cut off by them, and they hold more than this share of the clip without anything of the kind.
_MAX_OFF = 0.135
# A claim whose frames hold less than this share of the movement that they are cut from is about other frames.
_MIN_SHARE = 0.45
# Of what is found around its frames, so much must lie within them.
_MIN_WITHIN = 0.3

Window = tuple[int, int]
"""The first and the last frame that a claim names."""


def supported(measured: str) -> StepVerdict:
    """The joints show it."""
    return StepVerdict("supported", measured)


def contradicted(measured: str) -> StepVerdict:
    """The joints show that it is not so."""
    return StepVerdict("contradicted", measured)


def not_measurable(measured: str) -> StepVerdict:
    """The joints cannot tell."""
    return StepVerdict("not measurable", measured)


def judge(value: float, enough: float, nothing: float, measured: str) -> StepVerdict:
    """By a number: at least enough, at most nothing, or between the two."""
    if value >= enough:
        return supported(measured)
    if value <= nothing:
        return contradicted(measured)
    return not_measurable(f"{measured}, too little to tell")


def slack_frames(num_frames: int) -> int:
    """How far a true claim's frames may be off."""
    return max(1, round(_SLACK * num_frames))


def judge_change(
    curve: np.ndarray, direction: int, tolerance: float, window: Window | None, unit: str = " body sizes"
) -> StepVerdict:
    """Whether a curve rises (direction 1), falls (-1) or does either (0) by more than the tolerance within the frames.

    Without frames, whether it does so at any time.
    """
    if direction == 0:
        return best(judge_change(curve, way, tolerance, window, unit) for way in (1, -1))
    if window is None:
        start, end, change = _longest_rise(curve * direction)
        measured = f"it changes by {_number(direction * change, unit)} in frames {start} to {end}"
        return judge(change, ENOUGH * tolerance, NOTHING * tolerance, measured)
    first, last = window
    slack = slack_frames(len(curve))
    low = max(0, first - slack)
    part = curve[low : last + slack + 1]
    start, end, change = _longest_rise(part if direction == 1 else -part)
    if direction * float(curve[last] - curve[first]) < 0.5 * change:  # most of it may be around the frames, not in them
        inside = curve[first : last + 1] * direction
        _, _, back = _longest_rise(-inside)
        if back > max(change, ENOUGH * tolerance):
            return contradicted(f"it changes by {_number(-direction * back, unit)}")
        if last - first >= 2 * slack:  # in shorter frames that are off, all of it may be outside
            _, _, within = _longest_rise(inside)
            change = within if within < _MIN_WITHIN * change else change
    measured = f"it changes by {_number(direction * change, unit)}"
    if change < ENOUGH * tolerance:
        return judge(change, ENOUGH * tolerance, NOTHING * tolerance, measured)
    # It may be cut out of a longer movement.
    start, end = _whole_rise(curve * direction, low + start, low + end, NOTHING * tolerance)
    whole = abs(float(curve[end] - curve[start]))
    if change < _MIN_SHARE * whole:
        return contradicted(f"{measured}, a part of {_number(direction * whole, unit)} in frames {start} to {end}")
    way = (curve[start : end + 1] - curve[start]) * direction
    begins = start + max(0, int((way > 0.1 * way[-1]).argmax()) - 1)
    ends = start + int((way >= 0.9 * way[-1]).argmax())
    return _in_time(begins, ends, window, len(curve), measured)


def judge_state(inside: np.ndarray, window: Window | None, measured: str) -> StepVerdict:
    """Whether something holds, frame by frame, throughout the frames.

    Args:
        inside: `[frames]` of the clip: whether it holds.
        window: the frames that are claimed; None where it is to hold at any time.
        measured: what to tell.
    """
    if window is None:
        share = float(inside.mean())
        return judge(share, 0.05, 0.0, f"{measured} in {share:.0%} of the clip")
    first, last = window
    slack = min(slack_frames(len(inside)), (last - first) // 2)
    share = float(inside[first + slack : last - slack + 1].mean())
    verdict = judge(share, 0.7, 0.5, f"{measured} in {share:.0%} of these frames")
    if verdict.verdict != "supported":
        return verdict
    holds = inside[first : last + 1].nonzero()[0]
    return _in_time(first + int(holds[0]), first + int(holds[-1]), window, len(inside), verdict.reason)


def _in_time(begins: int, ends: int, window: Window, num_frames: int, measured: str) -> StepVerdict:
    """Supported, unless it happens elsewhere: not within the frames, and they go on long before or after it."""
    most = max(2.0, _MAX_OFF * num_frames)
    first, last = window
    if (begins < first or ends > last) and (begins - first > most or last - ends > most):
        return contradicted(f"{measured}, but in frames {begins} to {ends}")
    return supported(measured)


def judge_turns(turns: list[int], window: Window | None, num_frames: int) -> StepVerdict:
    """Whether something goes to and fro in the frames, given the frames of the clip where it turns."""
    if window is None:
        return judge(float(len(turns) - 2), 2.0, 1.0, f"it turns back {_times(max(0, len(turns) - 2))}")
    slack = slack_frames(num_frames)
    # The first and the last one are where the movement begins and ends; it turns back at the others.
    within = [turn for turn in turns[1:-1] if window[0] - slack <= turn <= window[1] + slack]
    verdict = judge(float(len(within)), 2.0, 1.0, f"it turns back {_times(len(within))}")
    if verdict.verdict != "supported":
        return verdict
    usual = (within[-1] - within[0]) // (
        len(within) - 1
    )  # the first and the last way may be hidden in another movement
    return _in_time(within[0] - usual, within[-1] + usual, window, num_frames, verdict.reason)


def _longest_rise(curve: np.ndarray) -> tuple[int, int, float]:
    """Where the curve rises most, from a low point to a later high one, and by how much."""
    rises = curve - np.minimum.accumulate(curve)
    end = int(rises.argmax())
    return int(curve[: end + 1].argmin()), end, float(rises[end])


def _whole_rise(curve: np.ndarray, start: int, end: int, tolerance: float) -> tuple[int, int]:
    """The rise that a part of it, from `start` to `end`, belongs to: until the curve turns by more than the tolerance."""
    before, after = curve[start::-1], curve[end:]
    lowest, highest = np.minimum.accumulate(before), np.maximum.accumulate(after)
    turned, turns = before - lowest > tolerance, highest - after > tolerance
    first = int(turned.argmax()) if turned.any() else len(before)
    last = int(turns.argmax()) if turns.any() else len(after)
    return start - int(before[:first].argmin()), end + int(after[:last].argmax())


def _number(value: float, unit: str) -> str:
    return f"{value:+.0f}{unit}" if "degrees" in unit else f"{value:+.2f}{unit}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


_ORDER = ("contradicted", "not measurable", "supported")


def worst(verdicts: Iterable[StepVerdict]) -> StepVerdict:
    """The verdict of what holds only where all hold; no more is measured than it takes."""
    return _extreme(verdicts, _ORDER)


def best(verdicts: Iterable[StepVerdict]) -> StepVerdict:
    """The verdict of what holds where any holds; no more is measured than it takes."""
    return _extreme(verdicts, _ORDER[::-1])


def _extreme(verdicts: Iterable[StepVerdict], order: tuple[str, ...]) -> StepVerdict:
    """The first verdict of those that come first in an order."""
    found = None
    for verdict in verdicts:
        if verdict.verdict == order[0]:
            return verdict
        if found is None or order.index(verdict.verdict) < order.index(found.verdict):
            found = verdict
    assert found is not None
    return found
