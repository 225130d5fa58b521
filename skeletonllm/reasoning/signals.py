"""The curves that facts and verdicts are read from: paths, heights, angles and gaps of a clip's first two persons.

One body size is neck to ankle. Forward, left and right are those of the person who moves, as they face at the start.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, canonicalise, facing_yaw, point, rotate_y

Key = tuple[int, str, str]  # person, part, side

MAX_PERSONS = 2
_SMOOTHING_S = 0.13
_HINGES = {
    "elbow": ("shoulder", "elbow", "wrist"),
    "knee": ("hip", "knee", "ankle"),
    "hip": ("shoulder", "hip", "knee"),
}
_LIMBS = ("wrist", "ankle", "elbow", "knee", "shoulder", "hip")
_MIN_SEEN = 0.5  # share of the frames


@dataclass(frozen=True)
class Signals:
    """Curves of a clip's first two persons, smoothed; what cannot be measured is left out.

    Args:
        paths: `[frames, 3]` left, up, forward, in body sizes: beside the person's own pelvis; of the pelvis, in the room.
        rooms: as `paths`, but all of them in the room.
        angles: `[frames]` degrees of a joint, 180 is straight.
        bends: by person, `[frames]` degrees of the trunk from upright.
        gaps: by (person, part), `[frames]` body sizes between the left and right one; (0, "pelvis"): between the persons.
        over_head: by (person, side), `[frames]` body sizes of the hand above the head.
        flat: whether depth cannot be seen.
    """

    paths: dict[Key, Float[np.ndarray, "frames 3"]]
    rooms: dict[Key, Float[np.ndarray, "frames 3"]]
    angles: dict[Key, Float[np.ndarray, " frames"]]
    bends: dict[int, Float[np.ndarray, " frames"]]
    gaps: dict[tuple[int, str], Float[np.ndarray, " frames"]]
    over_head: dict[tuple[int, str], Float[np.ndarray, " frames"]]
    flat: bool


def measure_signals(clip: Clip) -> Signals:
    """The curves of a clip, from its joints alone."""
    points = _points(clip)
    signals = Signals({}, {}, {}, {}, {}, {}, clip.topology.dims == 2)
    for key, path in points.items():
        person, part, side = key
        pelvis = points.get((person, "pelvis", "center"))
        signals.rooms[key] = path
        if pelvis is not None and part not in ("neck", "hip"):
            signals.paths[key] = path if part == "pelvis" else path - pelvis
        if part in _HINGES:
            ends = [points.get((person, joint, side)) for joint in _HINGES[part]]
            found = [end for end in ends if end is not None]
            if len(found) == 3:
                signals.angles[key] = _angle(found[0] - found[1], found[2] - found[1])
    for person in sorted({key[0] for key in points}):
        _add_relations(person, points, signals)
    pelvises = [points.get((person, "pelvis", "center")) for person in range(MAX_PERSONS)]
    if pelvises[0] is not None and pelvises[1] is not None:
        # Each person's points are turned to their own front, lengths are not: the gap is taken before that.
        signals.gaps[0, "pelvis"] = _person_gap(clip)
    return signals


def _points(clip: Clip) -> dict[Key, np.ndarray]:
    body = canonicalise(clip)
    width = max(1, round(clip.fps * _SMOOTHING_S))
    persons = range(min(MAX_PERSONS, clip.num_persons))
    turns = [_own_yaw(body, person) for person in persons]
    centres = [(part, "center") for part in ("pelvis", "neck", "head")]
    points = {}
    for part, side in [*centres, *((part, side) for part in _LIMBS for side in ("left", "right"))]:
        path = point(body, part, side)
        if path is None:
            continue
        seen = _seen(clip, part, side)
        for person in persons:
            if seen[person]:
                turned = rotate_y(path[person], turns[person]) / CANONICAL_SIZE_M
                points[person, part, side] = _smooth(turned, width)
    return points


def _add_relations(person: int, points: dict[Key, np.ndarray], signals: Signals) -> None:
    pelvis, neck = points.get((person, "pelvis", "center")), points.get((person, "neck", "center"))
    if pelvis is not None and neck is not None:
        trunk = neck - pelvis
        signals.bends[person] = _angle(trunk, np.broadcast_to((0.0, 1.0, 0.0), trunk.shape))
    hands = {side: points.get((person, "wrist", side)) for side in ("left", "right")}
    if hands["left"] is not None and hands["right"] is not None:
        signals.gaps[person, "wrist"] = np.linalg.norm(hands["left"] - hands["right"], axis=-1)
    head = points.get((person, "head", "center"))
    for side, hand in hands.items():
        if head is not None and hand is not None:
            signals.over_head[person, side] = hand[:, 1] - head[:, 1]


def _own_yaw(body: Clip, person: int) -> float:
    """The turn that makes a person of a canonical clip face +z; 0 for the first one, who does."""
    if person == 0:
        return 0.0
    one = slice(person, person + 1)
    return facing_yaw(replace(body, positions=body.positions[one], confidence=body.confidence[one], rotations=None))


def _person_gap(clip: Clip) -> np.ndarray:
    pelvis = point(canonicalise(clip), "pelvis")
    assert pelvis is not None
    width = max(1, round(clip.fps * _SMOOTHING_S))
    gap = np.linalg.norm(pelvis[0] - pelvis[1], axis=-1, keepdims=True) / CANONICAL_SIZE_M
    return _smooth(gap, width)[:, 0]


def _seen(clip: Clip, part: str, side: str) -> np.ndarray:
    """Per person: whether the joint was seen in at least half of the frames."""
    joint = clip.topology.find(part, side)
    if joint is None:  # a middle of two joints
        return np.any(clip.confidence > 0, axis=(1, 2))
    return (clip.confidence[:, :, joint] > 0).mean(1) >= _MIN_SEEN


def _smooth(path: np.ndarray, width: int) -> np.ndarray:
    """A running mean over `width` frames; the ends are held."""
    if width < 2 or len(path) < 3:
        return path
    padded = np.pad(path, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, path.shape[1])), padded]), 0)
    return (sums[width:] - sums[:-width]) / width


def _angle(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Degrees between two vectors per frame."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    return np.degrees(np.arccos(np.clip((one * two).sum(-1) / np.maximum(lengths, 1e-9), -1, 1)))
