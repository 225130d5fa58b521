"""How the bodies of a clip move, in a fixed list of numbers, for any topology."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, canonicalise, joints_of

_SMOOTHING_S = 0.13
_MIN_SEEN = 0.5  # share of the frames
# A path turns where it comes back by more than this many body sizes: more than a sensor's noise.
_TURN = 0.065

_SIDES = ("left", "right")
_CENTRES = ("pelvis", "neck", "head")
# Of each limb its end, its hinge, and what the hinge is between.
_LIMBS = {"arm": ("wrist", "elbow", "shoulder"), "leg": ("ankle", "knee", "hip")}

_OF_PATH = (
    "mean speed",
    "peak speed",
    "turns per s",
    "range up",
    "range forward",
    "range sideways",
    "height at the start",
    "height in the middle",
    "height at the end",
    "forward in the middle",
)
_OF_ANGLE = ("mean", "least", "most")
_PATHS = ("pelvis", "head", "leading wrist", "other wrist", "leading ankle", "other ankle")
_ANGLES = ("trunk", "leading elbow", "other elbow", "leading knee", "other knee")
_OF_GAP = ("at the start", "least", "at the end")
_OF_NEARNESS = ("at the start", "most", "at the end")

# Lengths in body sizes (neck to ankle), angles in degrees; speeds, turns and the duration as logarithms of 1 + value;
# nearness is 1 / (1 + distance), so that nobody is as good as somebody who is far away.
STATISTICS: tuple[str, ...] = (
    "duration",
    *(f"{path}, {name}" for path in _PATHS for name in _OF_PATH),
    *(f"angle of the {angle}, {name}" for angle in _ANGLES for name in _OF_ANGLE),
    *(f"between the wrists, {name}" for name in _OF_GAP),
    *(f"nearness of the second person, {name}" for name in _OF_NEARNESS),
)

_Path = Float[np.ndarray, "frames 3"]
_Curve = Float[np.ndarray, " frames"]


def motion_statistics(clip: Clip) -> Float[np.ndarray, " statistics"]:
    """Speeds, ranges, heights, joint angles, to and fro, travel and distances of a clip, in the order of `STATISTICS`.

    They are those of the first person, in the room as they face it at the start, and how far off a second one is. The
    leading arm and leg are those that travel farther: left-handers do the same as right-handers. What a topology or a
    flat picture cannot say is not a number.
    """
    body = canonicalise(clip)
    first = _paths(body, 0)
    named = {part: path for (part, _), path in first.items() if part in _CENTRES}
    angles: dict[str, _Curve] = {}
    for end, hinge, start in _LIMBS.values():
        for name, side in zip(
            ("leading", "other"), sorted(_SIDES, key=lambda s: -_way(first.get((end, s)))), strict=True
        ):
            chain = [first.get((part, side)) for part in (start, hinge, end)]
            found = [path for path in chain if path is not None]
            if chain[2] is not None:
                named[f"{name} {end}"] = chain[2]
            if len(found) == 3:
                angles[f"{name} {hinge}"] = _angle(found[0] - found[1], found[2] - found[1])
    if "pelvis" in named and "neck" in named:
        angles["trunk"] = _angle(named["neck"] - named["pelvis"], np.array((0.0, 1.0, 0.0)))
    flat = clip.topology.dims == 2
    numbers = [
        float(np.log1p(clip.num_frames / clip.fps)),
        *(number for name in _PATHS for number in _of_path(named.get(name), clip.fps, flat)),
        *(number for name in _ANGLES for number in _of_angle(None if flat else angles.get(name))),
        *_of_gap(first.get(("wrist", "left")), first.get(("wrist", "right"))),
        *_of_nearness(first.get(("pelvis", "center")), body),
    ]
    return np.array(numbers)


def _paths(body: Clip, person: int) -> dict[tuple[str, str], _Path]:
    """What is seen of a person's joints, smoothed, in body sizes: left, up, forward."""
    width = max(1, round(body.fps * _SMOOTHING_S))
    paths = {}
    for part, side in _joints():
        joints = joints_of(body.topology, part, side)
        if joints and (body.confidence[person][:, joints] > 0).all(1).mean() >= _MIN_SEEN:
            path = body.positions[person][:, joints].mean(1, dtype=np.float64) / CANONICAL_SIZE_M
            paths[part, side] = _smooth(path, width)
    return paths


def _joints() -> Iterator[tuple[str, str]]:
    yield from ((part, "center") for part in _CENTRES)
    yield from ((part, side) for limb in _LIMBS.values() for part in limb for side in _SIDES)


def _of_path(path: _Path | None, fps: float, flat: bool) -> list[float]:
    if path is None:
        return [np.nan] * len(_OF_PATH)
    speed = np.linalg.norm(np.diff(path, axis=0), axis=-1) * fps if len(path) > 1 else np.zeros(1)
    start, middle, end = np.array_split(path, 3) if len(path) >= 3 else [path] * 3
    sideways, up, forward = np.ptp(path, axis=0)
    turns = max(map(_count_turns, path.T)) * fps / len(path)
    heights = [part[:, 1].mean() for part in (start, middle, end)]
    depth = [np.nan] * 3 if flat else [forward, sideways, middle[:, 2].mean()]
    return [
        *(float(np.log1p(value)) for value in (speed.mean(), np.percentile(speed, 95), turns)),
        *(float(value) for value in (up, depth[0], depth[1], *heights, depth[2])),
    ]


def _of_angle(angle: _Curve | None) -> list[float]:
    return [np.nan] * len(_OF_ANGLE) if angle is None else [float(angle.mean()), float(angle.min()), float(angle.max())]


def _of_gap(one: _Path | None, two: _Path | None) -> list[float]:
    if one is None or two is None:
        return [np.nan] * len(_OF_GAP)
    gap = np.linalg.norm(one - two, axis=-1)
    return [float(gap[0]), float(gap.min()), float(gap[-1])]


def _of_nearness(pelvis: _Path | None, body: Clip) -> list[float]:
    if body.num_persons == 1:
        return [0.0] * len(_OF_NEARNESS)
    return [1 / (1 + gap) for gap in _of_gap(pelvis, _paths(body, 1).get(("pelvis", "center")))]


def _way(path: _Path | None) -> float:
    return 0.0 if path is None else float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())


def _count_turns(curve: _Curve) -> int:
    """How often a curve comes back."""
    turns, direction, low, high = 0, 0, float(curve[0]), float(curve[0])
    for value in curve.tolist():
        low, high = min(low, value), max(high, value)
        if direction >= 0 and high - value > _TURN:
            turns, direction, low = turns + direction, -1, value
        elif direction <= 0 and value - low > _TURN:
            turns, direction, high = turns - direction, 1, value
    return turns


def _angle(one: _Path, two: np.ndarray) -> _Curve:
    """Degrees between vectors."""
    lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
    return np.degrees(np.arccos(np.clip((one * two).sum(-1) / np.maximum(lengths, 1e-9), -1, 1)))


def _smooth(path: _Path, width: int) -> _Path:
    """A running mean over `width` frames; the ends are held."""
    if width < 2 or len(path) < 3:
        return path
    padded = np.pad(path, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.concatenate([np.zeros((1, 3)), padded]), 0)
    return (sums[width:] - sums[:-width]) / width
