"""The curves that facts and verdicts are read from: paths, heights, angles and gaps of a clip's first two persons.

One body size is neck to ankle. Forward, left and right are those of the person who moves, as they face at the start.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import body_size_m, joints_of
from skeletonllm.skeleton.topology import Topology

Key = tuple[int, str, str]  # person, part, side

MAX_PERSONS = 2
_SMOOTHING_S = 0.13
_HINGES = {
    "elbow": ("shoulder", "elbow", "wrist"),
    "knee": ("hip", "knee", "ankle"),
    "hip": ("shoulder", "hip", "knee"),
}
_LIMBS = ("wrist", "ankle", "elbow", "knee", "shoulder", "hip")
_SIDES = ("left", "right")
_POINTS = (
    *((part, "center") for part in ("pelvis", "neck", "head")),
    *((part, side) for part in _LIMBS for side in _SIDES),
)
# The bones that make a body's size: trunk, thighs, shins.
_BONES = (
    (("neck", "center"), ("pelvis", "center")),
    *((("hip", side), ("knee", side)) for side in _SIDES),
    *((("knee", side), ("ankle", side)) for side in _SIDES),
)
_NO_PATH = ("neck", "hip")  # they hardly move beside the pelvis
_MIN_SEEN = 0.5  # share of the frames
# The median size of a second difference of white noise, over the noise's own size.
_EVERY = 3  # a third of the points is enough for a median
_SECOND_DIFFERENCE = 0.6745 * 6**0.5


@dataclass(frozen=True)
class Signals:
    """Curves of a clip's first two persons, smoothed; what cannot be measured is left out.

    Args:
        num_frames: of the clip.
        num_persons: of the clip, however many are measured.
        fps: frames per second.
        paths: `[frames, 3]` left, up, forward, in body sizes: beside the person's own pelvis; of the pelvis, in the room.
        rooms: as `paths`, but all of them in the room.
        angles: `[frames]` degrees of a joint, 180 is straight.
        bends: by person, `[frames]` degrees of the trunk from upright.
        headings: by person, `[frames]` degrees that the person has turned to the left since the start.
        gaps: by (person, part), `[frames]` body sizes between the left and right one; (0, "pelvis"): between the persons.
        over_head: by (person, side), `[frames]` body sizes of the hand above the head.
        from_head: by (person, side), `[frames]` body sizes between the hand and the head.
        unseen: of points that were lost for a while, `[frames]` whether they were.
        jitter: size of a sensor's noise from frame to frame, in body sizes, before smoothing.
        flat: whether depth cannot be seen.
    """

    num_frames: int
    num_persons: int
    fps: float
    paths: dict[Key, Float[np.ndarray, "frames 3"]]
    rooms: dict[Key, Float[np.ndarray, "frames 3"]]
    angles: dict[Key, Float[np.ndarray, " frames"]]
    bends: dict[int, Float[np.ndarray, " frames"]]
    headings: dict[int, Float[np.ndarray, " frames"]]
    gaps: dict[tuple[int, str], Float[np.ndarray, " frames"]]
    over_head: dict[tuple[int, str], Float[np.ndarray, " frames"]]
    from_head: dict[tuple[int, str], Float[np.ndarray, " frames"]]
    unseen: dict[Key, Bool[np.ndarray, " frames"]]
    jitter: float
    flat: bool


@dataclass(frozen=True)
class _Layout:
    """Where the points of a topology are: each is a joint, or the middle of two.

    Args:
        at: the place of each point among the points.
        first: `[points]` the joint, or one of the two.
        second: the same joint, or the other one.
        bones: `[ends, bones]` places of the ends of trunk, thighs and shins; None where one is missing.
        across: `[left or right, pairs]` places of the shoulders and hips; None where there are neither.
    """

    at: dict[tuple[str, str], int]
    first: np.ndarray
    second: np.ndarray
    bones: np.ndarray | None
    across: np.ndarray | None


@lru_cache(maxsize=64)
def _layout(topology: Topology) -> _Layout:
    found = {name: joints_of(topology, *name) for name in _POINTS}
    joints = {name: (each[0], each[-1]) for name, each in found.items() if each}
    first, second = (np.array([pair[end] for pair in joints.values()], int) for end in (0, 1))
    at = {name: place for place, name in enumerate(joints)}
    bones = np.array([[at.get(name, -1) for name in bone] for bone in _BONES], int).T
    pairs = [[at.get((part, side), -1) for side in _SIDES] for part in ("shoulder", "hip")]
    whole = [pair for pair in pairs if -1 not in pair]
    return _Layout(at, first, second, None if (bones < 0).any() else bones, np.array(whole, int).T if whole else None)


def measure_signals(clip: Clip) -> Signals:
    """The curves of a clip, from its joints alone."""
    layout = _layout(clip.topology)
    persons = min(MAX_PERSONS, clip.num_persons)
    # One array of all points, `[persons, frames, points, 3]`: each step below is one pass over all of them.
    positions = clip.positions[:persons].astype(np.float64)
    points = (positions[:, :, layout.first] + positions[:, :, layout.second]) / 2
    confidence = clip.confidence[:persons]
    seen = (confidence[:, :, layout.first] > 0) & (confidence[:, :, layout.second] > 0)
    whole = bool(seen.all())
    if not whole:
        points = _fill(points, seen)
    measured = seen.mean(1) >= _MIN_SEEN
    size = _size(clip, points, seen, layout)
    points /= size if size > 1e-6 else 1.0
    jitter = _jitter(points, seen)
    points = _smooth(points, max(1, round(clip.fps * _SMOOTHING_S)))
    flat = clip.topology.dims == 2
    lateral = _across(points, seen, layout)
    turned = points if flat else _turn(points, _front_angle(lateral))
    curves = np.ascontiguousarray(turned.transpose(0, 2, 1, 3))  # [persons, points, frames, 3]

    signals = Signals(
        clip.num_frames, clip.num_persons, clip.fps, {}, {}, {}, {}, {}, {}, {}, {}, {}, jitter, flat
    )  # fmt: skip
    for person in range(persons):
        _add_person(person, curves[person], measured[person], layout, signals)
        if not flat and lateral is not None:
            _add_heading(person, lateral[person], measured[person], layout, signals)
        if not whole:
            for (part, side), place in layout.at.items():
                if not seen[person, :, place].all():
                    signals.unseen[person, part, side] = ~seen[person, :, place]
    pelvis = layout.at.get(("pelvis", "center"))
    if persons == MAX_PERSONS and pelvis is not None and measured[:, pelvis].all():
        # In the room: each person's curves are turned to their own front.
        signals.gaps[0, "pelvis"] = _length(points[0, :, pelvis] - points[1, :, pelvis])
    return signals


def _add_person(person: int, curves: np.ndarray, measured: np.ndarray, layout: _Layout, signals: Signals) -> None:
    """Paths, angles and relations of one person, whose points are `[points, frames, 3]`."""
    at = layout.at if measured.all() else {name: place for name, place in layout.at.items() if measured[place]}
    for (part, side), place in at.items():
        signals.rooms[person, part, side] = curves[place]
    pelvis = at.get(("pelvis", "center"))
    if pelvis is not None:
        beside = curves - curves[pelvis]
        for (part, side), place in at.items():
            if part not in _NO_PATH:
                signals.paths[person, part, side] = curves[place] if part == "pelvis" else beside[place]
        if ("neck", "center") in at:
            trunk = beside[at["neck", "center"]]
            upright = trunk[:, 1] / np.maximum(_length(trunk), 1e-9)
            signals.bends[person] = np.degrees(np.arccos(np.minimum(np.maximum(upright, -1), 1)))
    hinges = {
        (person, part, side): [at.get((joint, side)) for joint in chain]
        for part, chain in _HINGES.items()
        for side in _SIDES
    }
    whole = {key: places for key, places in hinges.items() if None not in places}
    if whole:
        start, middle, end = np.array(list(whole.values()), int).T
        angles = _angle(curves[start] - curves[middle], curves[end] - curves[middle])
        signals.angles.update(zip(whole, angles, strict=True))
    hands = {side: at.get(("wrist", side)) for side in _SIDES}
    left, right, head = hands["left"], hands["right"], at.get(("head", "center"))
    if left is not None and right is not None:
        signals.gaps[person, "wrist"] = _length(curves[left] - curves[right])
    for side, hand in hands.items():
        if head is not None and hand is not None:
            reach = curves[hand] - curves[head]
            signals.over_head[person, side] = reach[:, 1]
            signals.from_head[person, side] = _length(reach)


def _add_heading(person: int, lateral: np.ndarray, measured: np.ndarray, layout: _Layout, signals: Signals) -> None:
    """How far a person has turned; nothing where neither hips nor shoulders show where they face."""
    assert layout.across is not None
    if not np.all(measured[layout.across], axis=0).any():
        return
    turned = np.arctan2(-lateral[:, 2], lateral[:, 0])
    if np.abs(turned[1:] - turned[:-1]).max(initial=0) > np.pi:
        turned = np.unwrap(turned)
    signals.headings[person] = np.degrees(turned - turned[0])


def _fill(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Unseen points filled in time: a line between sightings, held before the first and after the last."""
    frames = np.arange(points.shape[1])[None, :, None]
    last = points.shape[1] - 1
    before = np.maximum.accumulate(np.where(seen, frames, -1), axis=1)
    after = np.minimum.accumulate(np.where(seen, frames, last + 1)[:, ::-1], axis=1)[:, ::-1]
    before, after = np.where(before < 0, after, before), np.where(after > last, before, after)
    before, after = np.clip(before, 0, last), np.clip(after, 0, last)
    share = (frames - before) / np.maximum(after - before, 1)
    low = np.take_along_axis(points, before[..., None], 1)
    high = np.take_along_axis(points, after[..., None], 1)
    return low + share[..., None] * (high - low)


def _size(clip: Clip, points: np.ndarray, seen: np.ndarray, layout: _Layout) -> float:
    """As `body_size_m`: trunk and the longer leg, in one pass where all of them are there."""
    bones = layout.bones
    if clip.num_persons > MAX_PERSONS or bones is None or not (seen.all() or seen[:, :, bones].any(1).all()):
        return body_size_m(clip)
    trunk, thigh, other_thigh, shin, other_shin = np.moveaxis(
        _length(points[:, :, bones[0]] - points[:, :, bones[1]]), 2, 0
    )
    lengths = np.sort(trunk + np.maximum(thigh + shin, other_thigh + other_shin), axis=1)
    at = 0.9 * (clip.num_frames - 1)  # the 90th percentile
    low, high = lengths[:, int(at)], lengths[:, min(int(at) + 1, clip.num_frames - 1)]
    size = float(np.mean(low + (at - int(at)) * (high - low)))  # the median of one or two persons
    return size if size > 1e-6 else body_size_m(clip)


def _jitter(points: np.ndarray, seen: np.ndarray) -> float:
    """The noise from frame to frame, as second differences show it: most points move smoothly most of the time."""
    if points.shape[1] < 5:
        return 0.0
    points, seen = points[:, :, ::_EVERY], seen[:, :, ::_EVERY]
    bends = np.abs(points[:, 2:] - 2 * points[:, 1:-1] + points[:, :-2])
    if not seen.all():
        bends = bends[seen[:, 2:] & seen[:, 1:-1] & seen[:, :-2]]
    flat = bends.ravel()
    flat = flat[flat > 0]  # a coordinate that stands still, as depth in a picture, says nothing of noise
    if not flat.size:
        return 0.0
    return float(np.partition(flat, flat.size // 2)[flat.size // 2]) / _SECOND_DIFFERENCE


def _across(points: np.ndarray, seen: np.ndarray, layout: _Layout) -> np.ndarray | None:
    """From right to left across shoulders and hips, `[persons, frames, 3]`; None where there are neither."""
    if layout.across is None:
        return None
    left, right = layout.across
    across = points[:, :, left] - points[:, :, right]
    if not seen.all():
        usable = np.logical_and(np.any(seen[:, :, left], axis=1), np.any(seen[:, :, right], axis=1))  # [persons, pairs]
        across = across * usable[:, None, :, None]
    return across[:, :, 0] + across[:, :, -1]  # both, or twice the only one


def _front_angle(lateral: np.ndarray | None) -> np.ndarray:
    """Per person, the turn about +y, radians, that makes their front at the start +z; 0 where nothing can be said."""
    if lateral is None:
        return np.zeros(1)
    start = lateral[:, : max(1, lateral.shape[1] // 5)].mean(1)
    angles = np.arctan2(start[:, 2], start[:, 0])
    return np.where(np.hypot(start[:, 0], start[:, 2]) < 1e-4, 0.0, angles)


def _turn(points: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Each person's points turned about +y."""
    cos, sin = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    x, z = points[..., 0], points[..., 2]
    return np.stack((cos * x + sin * z, points[..., 1], cos * z - sin * x), axis=-1)


def _smooth(points: np.ndarray, width: int) -> np.ndarray:
    """A running mean over `width` frames; the ends are held."""
    if width < 2 or points.shape[1] < 3:
        return points
    before, after = width // 2, width - 1 - width // 2
    first, last = points[:, :1], points[:, -1:]
    padded = np.concatenate([*[first] * before, points, *[last] * after], axis=1)
    frames = points.shape[1]
    total = padded[:, :frames].copy()  # windows are of few frames: faster than a running sum
    for start in range(1, width):
        total += padded[:, start : start + frames]
    return total / width


def _angle(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Degrees between vectors."""
    cosines = _dot(one, two) / np.maximum(np.sqrt(_dot(one, one) * _dot(two, two)), 1e-9)
    return np.degrees(np.arccos(np.minimum(np.maximum(cosines, -1), 1)))


def _length(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(_dot(vectors, vectors))


def _dot(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    return np.einsum("...i,...i->...", one, two)  # numpy is slow at summing an axis of three
