"""What a clip's joints do: events that stand out of a sensor's noise, for any topology, in body sizes and degrees."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from skeletonllm.reasoning.measure import slack_frames
from skeletonllm.reasoning.signals import Key, Signals, measure_signals
from skeletonllm.reasoning.tolerances import ABOVE_HEAD, AT_HEAD, MIN_HOLD_S, Tolerances, tolerances
from skeletonllm.reasoning.turning import find_swings, first_move, trim, turning_points
from skeletonllm.skeleton.clip import Clip

MIN_SWINGS = 4
_CLEAR_SWING = 1.3

_CLIMB = 0.3  # a sensor that is tilted by less than 17 degrees makes a walk look like a climb of no more than this
_LEAD_S = 0.15
_FASTEST_TURN = 450.0  # degrees a second; what is faster is a sensor that mixes up front and back
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
        per_s: of a change, its mean speed, in `unit` a second.
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
    per_s: float = 0.0


def measure_facts(clip: Clip, signals: Signals | None = None) -> list[Fact]:
    """Everything that stands out of the noise, strongest first.

    Args:
        clip: what is measured.
        signals: of the clip, where they are measured already.
    """
    signals = measure_signals(clip) if signals is None else signals
    allowed = tolerances(signals)
    facts: list[Fact] = []
    for key in signals.paths:
        if key[1] in ("pelvis", "wrist", "ankle"):
            facts += _path_facts(key, signals, allowed)
    for key, angle in signals.angles.items():
        if key[1] != "hip" and not signals.flat:  # a bent hip shows as a bent trunk or knee
            facts += _events(angle, allowed.angle, ("extends", "flexes"), key, signals.fps, "degrees")
    for person, bend in signals.bends.items() if not signals.flat else ():
        facts += _events(
            bend, allowed.bend, ("bends", "straightens"), (person, "spine", "center"), signals.fps, "degrees"
        )
    for person, heading in signals.headings.items():
        key, names = (person, "pelvis", "center"), ("turns left", "turns right")
        turns = _events(heading, allowed.heading, names, key, signals.fps, "degrees")
        facts += [turn for turn in turns if turn.per_s < _FASTEST_TURN]
    for (person, part), gap in signals.gaps.items():
        if part == "pelvis" or not signals.flat:
            facts += _events(gap, allowed.length, ("leaves", "approaches"), (person, part, "both"), signals.fps)
        if part == "wrist":
            swings = _swing_fact(gap, (person, part, "both"), signals.fps, allowed)
            facts += [swing for swing in swings if _both_move(swing, signals, allowed)]
    for person in {key[0] for key in signals.paths}:
        facts += _lead(person, signals, allowed)
    facts = [fact for fact in facts if not _was_lost(fact, signals)]
    return sorted(facts, key=lambda fact: (-fact.strength, fact.first_frame, fact.part, fact.side, fact.predicate))


def _was_lost(fact: Fact, signals: Signals) -> bool:
    """Whether the part was not seen for most of a fact: then it is the filling between two sightings that moved."""
    sides = ("left", "right") if fact.side == "both" and fact.part != "pelvis" else (fact.side,)
    for side in sides:
        unseen = signals.unseen.get((fact.person, fact.part, "center" if fact.part == "pelvis" else side))
        if unseen is not None and unseen[fact.first_frame : fact.last_frame + 1].mean() > 0.4:
            return True
    return False


def _both_move(swing: Fact, signals: Signals, allowed: Tolerances) -> bool:
    """Whether both hands have their part in a gap that swings."""
    inside = slice(swing.first_frame, swing.last_frame + 1)
    paths = [signals.paths.get((swing.person, "wrist", side)) for side in ("left", "right")]
    return all(path is not None and np.ptp(path[inside], axis=0).max() > allowed.swing for path in paths)


def _path_facts(key: Key, signals: Signals, allowed: Tolerances) -> list[Fact]:
    """Events along the axes, rows of swings, stillness away from the start, and hands at or over the head."""
    part = key[1]
    path, room = signals.paths[key], signals.rooms[key]
    tolerance = allowed.pelvis if part == "pelvis" else allowed.length
    facts: list[Fact] = []
    for axis, up, down in _AXES:
        if axis != 1 and signals.flat:  # whether across the picture is sideways depends on the view
            continue
        # A foot that stands rises beside a body that sinks: only what leaves the floor goes up and down.
        curve = (room if part == "ankle" and axis == 1 else path)[:, axis]
        swings = [] if part == "pelvis" else _swing_fact(curve, key, signals.fps, allowed)
        events = _events(curve, tolerance, (up, down), key, signals.fps)
        if axis == 1 or part == "ankle":
            events = [event for event in events if _moves_in_room(event, axis, room, allowed)]
        facts += swings
        # What lies inside a row of swings is told by the row.
        facts += [event for event in events if not any(_covers(swing, event) for swing in swings)]
    facts = _one_row(facts)
    if part == "wrist":
        facts += _holds(path, facts, key, signals.fps, allowed)
        over, away = (curves.get((key[0], key[2])) for curves in (signals.over_head, signals.from_head))
        if over is not None:
            facts += _state(over > ABOVE_HEAD, "is above the head", key, signals.fps)
        if away is not None and over is not None and not signals.flat:
            facts += _state((away < AT_HEAD) & (over < 2 * ABOVE_HEAD), "is at the head", key, signals.fps)
    return facts


def _moves_in_room(event: Fact, axis: int, room: np.ndarray, allowed: Tolerances) -> bool:
    """Whether what moves beside its body moves in the room too: a foot stays on the floor when the body sinks.

    And whether a rising body is more than somebody who walks before a tilted sensor.
    """
    change = room[event.last_frame] - room[event.first_frame]
    sign = -1 if event.predicate in ("lowers", "moves back") else 1
    moved = abs(change[0]) if axis == 0 else sign * change[axis]
    walked = float(np.hypot(change[0], change[2])) if axis == 1 and event.part == "pelvis" else 0.0
    return bool(moved > max(0.5 * allowed.length, _CLIMB * walked))


def _events(
    signal: np.ndarray, tolerance: float, names: tuple[str, str], key: Key, fps: float, unit: str = "body sizes"
) -> list[Fact]:
    events = []
    for first, last in pairwise(turning_points(signal, tolerance)):
        change = float(signal[last] - signal[first])
        predicate = names[0] if change > 0 else names[1]
        first, last = trim(signal, first, last)
        per_s = abs(float(signal[last] - signal[first])) * fps / max(1, last - first)
        events.append(Fact(*key, predicate, first, last, abs(change), abs(change) / tolerance, unit, per_s))
    return events


def _swing_fact(signal: np.ndarray, key: Key, fps: float, allowed: Tolerances) -> list[Fact]:
    turns, size = find_swings(signal, fps, _CLEAR_SWING * allowed.swing)
    count = len(turns) - 1
    if count < MIN_SWINGS:
        return []
    return [Fact(*key, "swings", turns[0], turns[-1], float(count), 0.6 * count * size / allowed.length, "times")]


def _one_row(facts: list[Fact]) -> list[Fact]:
    """At most one row of swings for a part: a hand that swings along two axes swings once."""
    swings = [fact for fact in facts if fact.predicate == "swings"]
    strongest = max(swings, key=lambda fact: fact.strength, default=None)
    return [fact for fact in facts if fact.predicate != "swings" or fact is strongest]


def _covers(swing: Fact, event: Fact) -> bool:
    shared = min(swing.last_frame, event.last_frame) - max(swing.first_frame, event.first_frame)
    return shared > 0.5 * max(1, event.last_frame - event.first_frame)


def _holds(path: np.ndarray, facts: Iterable[Fact], key: Key, fps: float, allowed: Tolerances) -> list[Fact]:
    """Where a hand that moved away from its first place rests before it moves on."""
    found: dict[tuple[int, int], Fact] = {}
    for event in facts:
        at = event.last_frame
        if event.predicate == "swings" or np.linalg.norm(path[at] - path[0]) < 1.5 * allowed.length:
            continue
        away = np.linalg.norm(path - path[at], axis=1) > 0.5 * allowed.length
        before, after = np.nonzero(away[:at])[0], np.nonzero(away[at:])[0]
        first = int(before[-1]) + 1 if len(before) else 0
        last = at + int(after[0]) - 1 if len(after) else len(path) - 1
        length_s = (last - first) / fps
        if length_s >= MIN_HOLD_S:
            found[first, last] = Fact(*key, "holds still", first, last, length_s, length_s / MIN_HOLD_S, "s")
    longest = max(found.values(), key=lambda fact: fact.amount, default=None)
    return [] if longest is None else [longest]


def _state(holds: np.ndarray, predicate: str, key: Key, fps: float) -> list[Fact]:
    """The longest time that a hand is somewhere, such as over the head."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], holds, [False]]).astype(np.int8)))
    if not len(edges):
        return []
    firsts, ends = edges[::2], edges[1::2]
    longest = int((ends - firsts).argmax())
    first, last = int(firsts[longest]), int(ends[longest]) - 1
    seconds = (last - first) / fps
    if seconds < MIN_HOLD_S / 2:
        return []
    return [Fact(*key, predicate, first, last, seconds, min(2 * seconds / MIN_HOLD_S, 4.0), "s")]


def _lead(person: int, signals: Signals, allowed: Tolerances) -> list[Fact]:
    """Which foot sets out first, where both go somewhere."""
    rooms = {side: signals.rooms.get((person, "ankle", side)) for side in ("left", "right")}
    left, right = rooms["left"], rooms["right"]
    if left is None or right is None or signals.flat:
        return []
    if min(np.linalg.norm(room[-1] - room[0]) for room in (left, right)) < 2 * allowed.length:
        return []
    found = _first_and_then(left, right, (0, signals.num_frames - 1), signals, allowed)
    if found is None:
        return []
    # In these frames alone it must be so too: a slow drift before them counts in the whole clip only.
    found = _first_and_then(left, right, found[1], signals, allowed)
    if found is None:
        return []
    side, window, ahead_s = found
    return [Fact(person, "ankle", side, "leads", *window, ahead_s, min(1 + ahead_s / _LEAD_S, 3.0), "s")]


def _first_and_then(
    left: np.ndarray, right: np.ndarray, window: tuple[int, int], signals: Signals, allowed: Tolerances
) -> tuple[str, tuple[int, int], float] | None:
    """Which of two paths sets out first in a window, the frames until the other one has gone too, and how far ahead."""
    starts = {"left": first_move(left, 1.3 * allowed.length, window)}
    starts["right"] = first_move(right, 1.3 * allowed.length, window)
    moves = sorted((start, side) for side, start in starts.items() if start is not None)
    if len(moves) < 2 or moves[1][0][0] - moves[0][0][0] < _LEAD_S * signals.fps:
        return None
    (start, side), (then, _) = moves
    last = min(signals.num_frames - 1, then[1] + slack_frames(signals.num_frames))
    return side, (start[0], last), (then[0] - start[0]) / signals.fps


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
                first_frame=(twin.first_frame + fact.first_frame) // 2,
                last_frame=(twin.last_frame + fact.last_frame + 1) // 2,
                amount=min(twin.amount, fact.amount),
            )
    return merged


def _is_twin(one: Fact, two: Fact) -> bool:
    if (one.person, one.part, one.predicate) != (two.person, two.part, two.predicate) or one.part == "pelvis":
        return False
    if {one.side, two.side} != {"left", "right"}:
        return False
    shared = min(one.last_frame, two.last_frame) - max(one.first_frame, two.first_frame)
    total = max(one.last_frame, two.last_frame) - min(one.first_frame, two.first_frame)
    return shared >= 0.6 * max(1, total) and min(one.amount, two.amount) >= 0.5 * max(one.amount, two.amount)
