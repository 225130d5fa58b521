"""What a clip's joints do: events that stand out of a sensor's noise, for any topology, in body sizes and degrees."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
from jaxtyping import Float

from skeletonllm.reasoning.signals import Key, Signals, measure_signals
from skeletonllm.skeleton.clip import Clip

# A change smaller than this is no event: body sizes, and degrees for angles. About 3 sigma of a Kinect's joints.
TOLERANCE = 0.13
PELVIS_TOLERANCE = 0.09
ANGLE_TOLERANCE_DEG = 35.0
BEND_TOLERANCE_DEG = 22.0
# Fine enough for a waving hand; noise does not turn back so often in a row.
SWING_TOLERANCE = 0.065
MIN_SWINGS = 4
ABOVE_HEAD = 0.04
MIN_HOLD_S = 0.45

_SWING_RATIO = 3.0  # the largest and the smallest of one row of swings
_SLOWEST_SWING_S = 0.6  # one way
_CLIMB = 0.3  # a sensor that is tilted by less than 17 degrees makes a walk look like a climb of no more than this
_AXES = ((1, "raises", "lowers"), (2, "moves forward", "moves back"), (0, "moves sideways", "moves sideways"))


@dataclass(frozen=True)
class Fact:
    """One thing that a body part does.

    Args:
        person: whose.
        part: of the shared vocabulary.
        side: `left`, `right`, `center` or `both`.
        predicate: of the chains' closed list.
        first_frame: of the clip, where it begins.
        last_frame: where it ends.
        amount: in `unit`.
        strength: amount over the tolerance: how clearly it stands out.
        unit: `body sizes`, `degrees`, `times` or `s`.
    """

    person: int
    part: str
    side: str
    predicate: str
    first_frame: int
    last_frame: int
    amount: float
    strength: float
    unit: str = "body sizes"


def measure_facts(clip: Clip) -> list[Fact]:
    """Everything that stands out of the noise, strongest first."""
    signals = measure_signals(clip)
    facts: list[Fact] = []
    for key in signals.paths:
        if key[1] in ("pelvis", "wrist", "ankle"):
            facts += _path_facts(key, signals, clip.fps)
    for key, angle in signals.angles.items():
        if key[1] != "hip" and not signals.flat:  # a bent hip shows as a bent trunk or knee
            facts += _events(angle, ANGLE_TOLERANCE_DEG, ("extends", "flexes"), key, "degrees")
    for person, bend in signals.bends.items() if not signals.flat else ():
        facts += _events(bend, BEND_TOLERANCE_DEG, ("bends", "straightens"), (person, "spine", "center"), "degrees")
    for (person, part), gap in signals.gaps.items():
        if part == "pelvis" or not signals.flat:
            facts += _events(gap, TOLERANCE, ("leaves", "approaches"), (person, part, "both"))
        if part == "wrist":
            facts += _swing_fact(gap, (person, part, "both"), clip.fps)
    return sorted(facts, key=lambda fact: (-fact.strength, fact.first_frame, fact.part, fact.side, fact.predicate))


def turning_points(signal: Float[np.ndarray, " frames"], tolerance: float) -> list[int]:
    """Frames where the signal turns by more than the tolerance, with the first and the last frame of its movement."""
    turns, low, high, direction = [], 0, 0, 0
    values = signal.tolist()  # plain floats: five times as fast one by one
    for frame, value in enumerate(values):
        if value > values[high]:
            high = frame
        if value < values[low]:
            low = frame
        if direction <= 0 and value - values[low] > tolerance:
            turns.append(low)
            direction, high = 1, frame
        elif direction >= 0 and values[high] - value > tolerance:
            turns.append(high)
            direction, low = -1, frame
    if direction:
        turns.append(high if direction > 0 else low)
    return turns


def find_swings(signal: Float[np.ndarray, " frames"], fps: float) -> tuple[list[int], float]:
    """The longest row of quick turns to and fro of about one size: the frames of its turns, and its mean size.

    There is one turn more than swings. A movement out and back has two swings, with a wind-up three; only from
    `MIN_SWINGS` on is it a row.
    """
    turns = turning_points(signal, SWING_TOLERANCE)
    sizes = [abs(float(signal[last] - signal[first])) for first, last in pairwise(turns)]
    trimmed = [_trim(signal, first, last) for first, last in pairwise(turns)]
    best, start = (0, 0), 0
    for end, (first, last) in enumerate(trimmed, start=1):
        if (last - first) / fps > _SLOWEST_SWING_S:
            start = end
            continue
        while max(sizes[start:end]) > _SWING_RATIO * min(sizes[start:end]):
            start += 1
        best = max(best, (start, end), key=lambda row: row[1] - row[0])
    first, last = best
    if last == first:
        return [], 0.0
    inner = turns[first + 1 : last]
    return [trimmed[first][0], *inner, trimmed[last - 1][1]], float(np.mean(sizes[first:last]))


def _path_facts(key: Key, signals: Signals, fps: float) -> list[Fact]:
    """Events along the axes, rows of swings, stillness away from the start, and hands over the head."""
    part = key[1]
    path, room = signals.paths[key], signals.rooms[key]
    tolerance = PELVIS_TOLERANCE if part == "pelvis" else TOLERANCE
    facts: list[Fact] = []
    for axis, up, down in _AXES:
        if axis != 1 and signals.flat:  # whether across the picture is sideways depends on the view
            continue
        swings = [] if part == "pelvis" else _swing_fact(path[:, axis], key, fps)
        events = _events(path[:, axis], tolerance, (up, down), key)
        if axis == 1 or part == "ankle":
            events = [event for event in events if _moves_in_room(event, axis, room)]
        facts += swings
        # What lies inside a row of swings is told by the row.
        facts += [event for event in events if not any(_covers(swing, event) for swing in swings)]
    facts = _one_row(facts)
    if part == "wrist":
        facts += _holds(path, facts, key, fps)
        over = signals.over_head.get((key[0], key[2]))
        if over is not None:
            facts += _above_head(over, key, fps)
    return facts


def _moves_in_room(event: Fact, axis: int, room: np.ndarray) -> bool:
    """Whether what moves beside its body moves in the room too: a foot stays on the floor when the body sinks.

    And whether a rising body is more than somebody who walks before a tilted sensor.
    """
    change = room[event.last_frame] - room[event.first_frame]
    sign = -1 if event.predicate in ("lowers", "moves back") else 1
    moved = abs(change[0]) if axis == 0 else sign * change[axis]
    walked = float(np.hypot(change[0], change[2])) if axis == 1 and event.part == "pelvis" else 0.0
    return bool(moved > max(0.5 * TOLERANCE, _CLIMB * walked))


def _events(
    signal: np.ndarray, tolerance: float, names: tuple[str, str], key: Key, unit: str = "body sizes"
) -> list[Fact]:
    events = []
    for first, last in pairwise(turning_points(signal, tolerance)):
        change = float(signal[last] - signal[first])
        predicate = names[0] if change > 0 else names[1]
        first, last = _trim(signal, first, last)
        events.append(Fact(*key, predicate, first, last, abs(change), abs(change) / tolerance, unit))
    return events


def _trim(signal: np.ndarray, first: int, last: int) -> tuple[int, int]:
    """The frames of a movement without the rest before and after it: from 5 % to 95 % of the way."""
    way = (signal[first : last + 1] - signal[first]) / (signal[last] - signal[first])
    left = int(np.nonzero(way <= 0.05)[0][-1])
    right = left + int(np.nonzero(way[left:] >= 0.95)[0][0])
    return first + left, first + right


def _swing_fact(signal: np.ndarray, key: Key, fps: float) -> list[Fact]:
    turns, size = find_swings(signal, fps)
    count = len(turns) - 1
    if count < MIN_SWINGS:
        return []
    return [Fact(*key, "swings", turns[0], turns[-1], float(count), count * size / TOLERANCE, "times")]


def _one_row(facts: list[Fact]) -> list[Fact]:
    """At most one row of swings for a part: a hand that swings along two axes swings once."""
    swings = [fact for fact in facts if fact.predicate == "swings"]
    strongest = max(swings, key=lambda fact: fact.strength, default=None)
    return [fact for fact in facts if fact.predicate != "swings" or fact is strongest]


def _covers(swing: Fact, event: Fact) -> bool:
    shared = min(swing.last_frame, event.last_frame) - max(swing.first_frame, event.first_frame)
    return shared > 0.5 * max(1, event.last_frame - event.first_frame)


def _holds(path: np.ndarray, facts: Iterable[Fact], key: Key, fps: float) -> list[Fact]:
    """Where a hand that moved away from its first place rests before it moves on."""
    found: dict[tuple[int, int], Fact] = {}
    for event in facts:
        at = event.last_frame
        if event.predicate == "swings" or np.linalg.norm(path[at] - path[0]) < 1.5 * TOLERANCE:
            continue
        away = np.linalg.norm(path - path[at], axis=1) > 0.5 * TOLERANCE
        before, after = np.nonzero(away[:at])[0], np.nonzero(away[at:])[0]
        first = int(before[-1]) + 1 if len(before) else 0
        last = at + int(after[0]) - 1 if len(after) else len(path) - 1
        length_s = (last - first) / fps
        if length_s >= MIN_HOLD_S:
            found[first, last] = Fact(*key, "holds still", first, last, length_s, length_s / MIN_HOLD_S, "s")
    longest = max(found.values(), key=lambda fact: fact.amount, default=None)
    return [] if longest is None else [longest]


def _above_head(over: np.ndarray, key: Key, fps: float) -> list[Fact]:
    """The longest time that a hand is over the head."""
    runs = []
    for above, group in groupby(range(len(over)), key=lambda frame: bool(over[frame] > ABOVE_HEAD)):
        frames = list(group)
        if above and (frames[-1] - frames[0]) / fps >= MIN_HOLD_S / 2:
            runs.append((frames[0], frames[-1]))
    if not runs:
        return []
    first, last = max(runs, key=lambda run: run[1] - run[0])
    seconds = (last - first) / fps
    return [Fact(*key, "is above the head", first, last, seconds, 2 * seconds / MIN_HOLD_S, "s")]


def merge_sides(facts: Iterable[Fact]) -> list[Fact]:
    """Facts with left and right made one where they do the same at the same time; the strength is the stronger one's."""
    merged: list[Fact] = []
    for fact in facts:
        twin = next((other for other in merged if _is_twin(other, fact)), None)
        if twin is None:
            merged.append(fact)
        else:
            merged[merged.index(twin)] = replace(
                twin,
                side="both",
                first_frame=min(twin.first_frame, fact.first_frame),
                last_frame=max(twin.last_frame, fact.last_frame),
                amount=min(twin.amount, fact.amount),
            )
    return merged


def _is_twin(one: Fact, two: Fact) -> bool:
    if (one.person, one.part, one.predicate) != (two.person, two.part, two.predicate) or one.part == "pelvis":
        return False
    if {one.side, two.side} != {"left", "right"}:
        return False
    shared = min(one.last_frame, two.last_frame) - max(one.first_frame, two.first_frame)
    longest = max(one.last_frame - one.first_frame, two.last_frame - two.first_frame, 1)
    return shared >= 0.6 * longest and min(one.amount, two.amount) >= 0.5 * max(one.amount, two.amount)
