"""What a clip's joints do, measured: for any topology, in body sizes and degrees, with tolerances above a sensor's noise.

One body size is neck to ankle. Heights are along +y; forward is where the first person faces at the start.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, canonicalise, point

# A change smaller than this is no event: body sizes, and degrees for angles. About 3 sigma of a Kinect's joints.
TOLERANCE = 0.13
PELVIS_TOLERANCE = 0.09
ANGLE_TOLERANCE_DEG = 35.0
_SMOOTHING_S = 0.2
_MIN_SWINGS = 3

_ENDS = ("wrist", "ankle")
_HINGES = {"elbow": ("shoulder", "elbow", "wrist"), "knee": ("hip", "knee", "ankle")}


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
        amount: body sizes, or degrees for `extends` and `flexes`; a count for `swings`.
        strength: amount over the tolerance: how clearly it stands out.
    """

    person: int
    part: str
    side: str
    predicate: str
    first_frame: int
    last_frame: int
    amount: float
    strength: float


@dataclass(frozen=True)
class Signals:
    """Paths and angles of a clip's first two persons, smoothed.

    Args:
        paths: by (person, part, side): `[frames, 3]` body sizes, relative to the person's pelvis but for the pelvis.
        angles: by (person, part, side): `[frames]` degrees, 180 is straight.
        gaps: by (person, part): `[frames]` body sizes between the left and right part; ("pelvis" of person 0: between
            the two persons).
        flat: whether forward and back cannot be seen.
    """

    paths: dict[tuple[int, str, str], Float[np.ndarray, "frames 3"]]
    angles: dict[tuple[int, str, str], Float[np.ndarray, " frames"]]
    gaps: dict[tuple[int, str], Float[np.ndarray, " frames"]]
    flat: bool


def measure_signals(clip: Clip) -> Signals:
    """The paths, angles and gaps that facts are made of; parts that were never seen are left out."""
    body = canonicalise(clip)
    width = max(1, round(clip.fps * _SMOOTHING_S))
    points = {}
    for part, side in _points():
        path = point(body, part, side)
        if path is not None:
            seen = _seen(clip, part, side)
            for person in range(min(2, clip.num_persons)):
                if seen[person]:
                    points[person, part, side] = _smooth(path[person] / CANONICAL_SIZE_M, width)
    paths, angles, gaps = {}, {}, {}
    for (person, part, side), path in points.items():
        pelvis = points.get((person, "pelvis", "center"))
        if part in (*_ENDS, "head") and pelvis is not None:
            paths[person, part, side] = path - (pelvis * (1, 0, 1) if part == "head" else pelvis)
        elif part == "pelvis":
            paths[person, part, side] = path
        if part in _HINGES:
            ends = [points.get((person, joint, side)) for joint in _HINGES[part]]
            if all(end is not None for end in ends):
                angles[person, part, side] = _angle(*ends)  # type: ignore[arg-type]
    for person in range(min(2, clip.num_persons)):
        hands = [points.get((person, "wrist", side)) for side in ("left", "right")]
        if hands[0] is not None and hands[1] is not None:
            gaps[person, "wrist"] = np.linalg.norm(hands[0] - hands[1], axis=-1)
    if (1, "pelvis", "center") in points and (0, "pelvis", "center") in points:
        gaps[0, "pelvis"] = np.linalg.norm(points[0, "pelvis", "center"] - points[1, "pelvis", "center"], axis=-1)
    return Signals(paths, angles, gaps, clip.topology.dims == 2)


def measure_facts(clip: Clip) -> list[Fact]:
    """Everything that stands out of the noise, strongest first."""
    signals = measure_signals(clip)
    facts = []
    for (person, part, side), path in signals.paths.items():
        tolerance = PELVIS_TOLERANCE if part == "pelvis" else TOLERANCE
        for axis, up, down in (
            (1, "raises", "lowers"),
            (2, "moves forward", "moves back"),
            (0, "moves sideways", "moves sideways"),
        ):
            if axis != 1 and (part == "head" or (axis == 2 and signals.flat)):
                continue
            facts += _events(path[:, axis], tolerance, up, down, (person, part, side))
    for key, angle in signals.angles.items():
        facts += _events(angle, ANGLE_TOLERANCE_DEG, "extends", "flexes", key)
    for (person, part), gap in signals.gaps.items():
        facts += _events(gap, TOLERANCE, "leaves", "approaches", (person, part, "both"))
    return sorted(facts, key=lambda fact: (-fact.strength, fact.first_frame, fact.part, fact.side, fact.predicate))


def _points() -> Iterator[tuple[str, str]]:
    for part in ("pelvis", "head"):
        yield part, "center"
    for part in ("wrist", "ankle", "elbow", "knee", "shoulder", "hip"):
        for side in ("left", "right"):
            yield part, side


def _seen(clip: Clip, part: str, side: str) -> np.ndarray:
    """Per person: whether the joint was seen in at least half of the frames."""
    joint = clip.topology.find(part, side)
    if joint is None:  # a middle of two joints
        return np.ones(clip.num_persons, bool)
    return (clip.confidence[:, :, joint] > 0).mean(1) >= 0.5


def _smooth(path: np.ndarray, width: int) -> np.ndarray:
    if width < 2 or len(path) < 3:
        return path
    padded = np.pad(path, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, path.shape[1])), padded]), 0)
    return (sums[width:] - sums[:-width]) / width


def _angle(start: np.ndarray, middle: np.ndarray, end: np.ndarray) -> np.ndarray:
    one, two = start - middle, end - middle
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    return np.degrees(np.arccos(np.clip((one * two).sum(-1) / np.maximum(lengths, 1e-9), -1, 1)))


def turning_points(signal: Float[np.ndarray, " frames"], tolerance: float) -> list[int]:
    """Frames where the signal turns by more than the tolerance, with the first and the last frame of its movement."""
    turns, low, high, direction = [], 0, 0, 0
    for frame, value in enumerate(signal):
        if value > signal[high]:
            high = frame
        if value < signal[low]:
            low = frame
        if direction <= 0 and value - signal[low] > tolerance:
            turns.append(low)
            direction, high = 1, frame
        elif direction >= 0 and signal[high] - value > tolerance:
            turns.append(high)
            direction, low = -1, frame
    if direction:
        turns.append(high if direction > 0 else low)
    return turns


def _events(signal: np.ndarray, tolerance: float, up: str, down: str, whose: tuple[int, str, str]) -> list[Fact]:
    turns = turning_points(signal, tolerance)
    events = []
    for first, last in pairwise(turns):
        change = float(signal[last] - signal[first])
        predicate = up if change > 0 else down
        events.append(Fact(*whose, predicate, first, last, abs(change), abs(change) / tolerance))
    if len(events) >= _MIN_SWINGS and whose[1] in _ENDS and whose[2] != "both":
        whole = replace(
            events[0],
            predicate="swings",
            last_frame=events[-1].last_frame,
            amount=float(len(events)),
            strength=sum(event.strength for event in events) / 2,
        )
        return [whole]
    return events
