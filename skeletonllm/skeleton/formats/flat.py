"""What the formats of pose estimators share: JSON, persons linked over frames, and pixels made metres.

An estimator sees every frame anew: the order of its persons is no identity, and pixels have no scale. A body gets the
canonical size, and the origin lies below the middle of the image.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, brief, problem, read_text
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, body_size_m
from skeletonllm.skeleton.topology import Topology

MAX_PERSONS = 2  # as in the protocols of NTU and Kinetics: who moves or is seen most
FARTHEST_PX = 1e6
_IMAGE_HEIGHT_M = 1.7  # metres that an image is high where no body can be measured
_MOST_TRACKS = 20  # of a crowd, those seen last
_REACH = 1.0  # between two frames nobody goes farther than their own extent in the image
# Metres between two body parts of the canonical body (1.4 m from neck to ankle).
_SEGMENTS_M = (
    ("neck", "pelvis", 0.52),
    ("hip", "knee", 0.44),
    ("knee", "ankle", 0.44),
    ("shoulder", "elbow", 0.29),
    ("elbow", "wrist", 0.26),
)
_SHOULDERS_M = 0.36
_NOSE_TO_NECK_M = 0.25


def read_json(path: Path) -> object:
    """What a JSON file holds.

    Raises:
        FormatError: it is none.
    """
    try:
        return json.loads(read_text(path))
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise problem(path, "", f"no JSON ({brief(str(error), 100)})", "one JSON value") from error


def numbers(path: Path, where: str, value: object, expected: str = "numbers") -> np.ndarray:
    """A list (of lists) of numbers as float64; None and NaN become NaN.

    Raises:
        FormatError: it is ragged, or something in it is no number or no place in an image.
    """
    try:
        found = np.array(value, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise problem(path, where, brief(value), expected) from error
    if found.ndim == 0:
        raise problem(path, where, brief(value), expected)
    if (np.abs(found, where=np.isfinite(found), out=np.zeros(found.shape)) > FARTHEST_PX).any():
        raise problem(path, where, f"the number {np.nanmax(np.abs(found)):.3g}", "a place in an image")
    return found


def seen_only(points: np.ndarray) -> np.ndarray:
    """`[..., 3]` x, y, confidence: all 0 where a joint was not seen: no confidence, no number, or the place (0, 0)."""
    with np.errstate(invalid="ignore"):
        seen = np.isfinite(points).all(-1) & (points[..., 2] > 0) & (points[..., :2] != 0).any(-1)
    return np.where(seen[..., None], points, 0)


def declared_fps(path: Path, declared: Declared) -> float:
    """The frame rate that the user declares, for formats that have none.

    Raises:
        FormatError: nothing is declared.
    """
    if declared.fps is None:
        raise problem(path, "", "no frame rate in the format", "the rate of the video", "give it with --fps")
    return declared.fps


def span(path: Path, frames: Iterable[int], num_bytes: int) -> tuple[int, int]:
    """First and last frame number, checked: a few frames cannot stand for millions.

    Raises:
        FormatError: there is no frame, or the numbers are too far from each other for what the file holds.
    """
    listed = sorted(frames)
    if not listed:
        raise problem(path, "", "no frames", "at least one", "leave the recording out")
    length = listed[-1] - listed[0] + 1
    if listed[0] < 0 or length > 1000 + max(100 * len(listed), num_bytes // 100):
        raise problem(path, "", f"frames {listed[0]} to {listed[-1]} but only {len(listed)} of them", "a video")
    return listed[0], listed[-1]


def link_persons(
    path: Path, frames: Mapping[int, Sequence[np.ndarray]], num_frames: int, joints: int, most: int = MAX_PERSONS
) -> tuple[np.ndarray, np.ndarray]:
    """Persons over time from what was seen in each frame; who was seen most (sum of all confidences) first.

    A person of a frame belongs to the track that it is nearest to, if that is within reach; nearest pairs go first.

    Args:
        path: the recording, for errors.
        frames: by frame number from 0: persons of the frame, each `[joints, 3]`: x, y, confidence.
        num_frames: of the recording.
        joints: of the topology.
        most: tracks that are kept.

    Returns:
        Points `[persons, frames, joints, 2]` and confidence `[persons, frames, joints]`; one person of zeros where nobody
        was seen.

    Raises:
        FormatError: it would take too much memory.
    """
    if num_frames * joints * 3 * most > MAX_NUMBERS:
        raise problem(path, "", f"{num_frames} frames", "a shorter recording", "split it")
    tracks: list[list[tuple[int, np.ndarray]]] = []
    recent: dict[int, tuple[np.ndarray, float]] = {}  # centre and extent of the tracks seen last, the latest first
    for frame in sorted(frames):
        seen = [person for person in frames[frame] if (person[:, 2] > 0).any()]
        seen.sort(key=lambda person: -float(person[:, 2].sum()))
        places = [_place(person) for person in seen]
        of_person = _nearest(recent, places)
        for person, points in enumerate(seen):
            track = of_person.setdefault(person, len(tracks))
            if track == len(tracks):
                tracks.append([])
            tracks[track].append((frame, points))
        now = {of_person[person]: place for person, place in enumerate(places)}
        recent = dict(islice((now | {t: place for t, place in recent.items() if t not in now}).items(), _MOST_TRACKS))
    tracks.sort(key=lambda track: -sum(float(points[:, 2].clip(0, 1).sum()) for _, points in track))
    linked = np.zeros((max(1, min(most, len(tracks))), num_frames, joints, 3))
    for person, track in enumerate(tracks[:most]):
        for frame, points in track:
            linked[person, frame] = points
    return linked[..., :2], linked[..., 2].astype(np.float32)


def _nearest(
    tracks: Mapping[int, tuple[np.ndarray, float]], persons: Sequence[tuple[np.ndarray, float]]
) -> dict[int, int]:
    """The track of each person who is within reach of one: nearest pairs first, each person and track once."""
    pairs = sorted(
        (float(np.linalg.norm(centre - last)) / max(extent, last_extent, 1e-9), track, person)
        for track, (last, last_extent) in tracks.items()
        for person, (centre, extent) in enumerate(persons)
    )
    found: dict[int, int] = {}
    taken: set[int] = set()
    for distance, track, person in pairs:
        if distance <= _REACH and person not in found and track not in taken:
            found[person] = track
            taken.add(track)
    return found


def _place(person: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre and extent of the joints that were seen."""
    points = person[person[:, 2] > 0, :2]
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, float((high - low).max())


def most_moving(points: np.ndarray, confidence: np.ndarray, most: int = MAX_PERSONS) -> list[int]:
    """Who is kept of several persons, most motion first: spread of the joints where seen, times frames where seen.

    A chair does not move, and a ghost is not seen for long.
    """
    motion = np.zeros(len(points))
    for person, seen in enumerate(confidence > 0):
        weight = seen[..., None] / np.maximum(seen.sum(0), 1)[:, None]
        mean = (points[person] * weight).sum(0)
        spread = np.sqrt((((points[person] - mean) ** 2) * weight).sum(0)).sum()
        motion[person] = spread * seen.any(1).sum()
    present = (confidence > 0).any((1, 2))
    return sorted(np.flatnonzero(present).tolist(), key=lambda person: -motion[person])[:most]


def to_metres(
    points: np.ndarray, confidence: np.ndarray, topology: Topology, image: tuple[float, float] | None
) -> np.ndarray:
    """Places in an image to the project's space: metres, x right, y up, z to the viewer; 0 where not seen.

    Args:
        points: pixels, y down, `[persons, frames, joints, 2 or 3]`; z, in the same unit, away from the camera.
        confidence: `[persons, frames, joints]`.
        topology: joints and parents.
        image: height and width in pixels; where None, people stand on y = 0 and the middle of all is x = 0.
    """
    seen = (confidence > 0)[..., None]
    if not seen.any():
        return np.zeros((*points.shape[:3], 3))
    points = np.where(seen, points, 0).astype(np.float64)
    if image is None:
        x, y = points[..., 0][seen[..., 0]], points[..., 1][seen[..., 0]]
        height, middle = float(np.ptp(y)), float((x.min() + x.max()) / 2)
        floor = float(y.max()) + 1e-3 * height  # people stand a hair above it: (0, 0, 0) says "not seen"
    else:
        height, floor, middle = image[0], image[0], image[1] / 2
    if points.shape[-1] == 2:
        points = np.concatenate((points, np.zeros((*points.shape[:3], 1))), -1)
    moved = np.where(seen, points * (1, -1, -1) + (-middle, floor, 0), 0)
    # So does a joint in the very pixel that becomes the origin.
    moved[seen[..., 0] & (moved == 0).all(-1), 1] = 1e-6 * height
    size = _pixels_per_metre(moved.astype(np.float32), confidence.astype(np.float32), topology)
    if size * _IMAGE_HEIGHT_M < 1e-3 * height or size <= 0:
        size = height / _IMAGE_HEIGHT_M or 1.0
    return moved / size


def _pixels_per_metre(points: np.ndarray, confidence: np.ndarray, topology: Topology) -> float:
    """By the size of whole bodies where there are any, else by the segments that are seen; 0 where nothing is."""
    ends = [("neck", "center"), ("pelvis", "center")]
    ends += [(part, side) for part in ("hip", "knee", "ankle") for side in ("left", "right")]
    found = [_part(points, confidence, topology, *end) for end in ends]
    if all(part is not None for part in found):
        often = np.array([part[1].mean(1) for part in found if part is not None]).min(0) >= 0.5
        if often.any():
            whole = Clip("pixels", topology, points[often], confidence[often], 30.0)
            return body_size_m(whole) / CANONICAL_SIZE_M
    ratios = []
    for first, second, metres in _SEGMENTS_M:
        for side in ("left", "right"):
            sides = ("center", "center") if first == "neck" else (side, side)
            ratios += _length(points, confidence, topology, (first, sides[0]), (second, sides[1]), metres)
    ratios += _length(points, confidence, topology, ("shoulder", "left"), ("shoulder", "right"), _SHOULDERS_M)
    ratios += _length(points, confidence, topology, ("face", "center"), ("neck", "center"), _NOSE_TO_NECK_M)
    # A camera sees segments shorter than they are, never longer.
    return float(np.percentile(ratios, 75)) if ratios else 0.0


def _length(
    points: np.ndarray,
    confidence: np.ndarray,
    topology: Topology,
    first: tuple[str, str],
    second: tuple[str, str],
    metres: float,
) -> list[float]:
    """Pixels per metre by one segment of each person who shows it."""
    one, other = _part(points, confidence, topology, *first), _part(points, confidence, topology, *second)
    if one is None or other is None:
        return []
    lengths, both = np.linalg.norm(one[0] - other[0], axis=-1), one[1] & other[1]
    return [float(np.percentile(row[seen], 90)) / metres for row, seen in zip(lengths, both, strict=True) if seen.any()]


def _part(
    points: np.ndarray, confidence: np.ndarray, topology: Topology, part: str, side: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """The path of a body part `[persons, frames, 3]` and where it is seen; neck and pelvis may be middles of two."""
    joint = topology.find(part, side)
    if joint is not None and topology.parts[joint] == part:
        return points[:, :, joint], confidence[:, :, joint] > 0
    pair = {"neck": "shoulder", "pelvis": "hip"}.get(part)
    if side != "center" or pair is None:
        return None
    left, right = topology.find(pair, "left"), topology.find(pair, "right")
    if left is None or right is None:
        return None
    return (points[:, :, left] + points[:, :, right]) / 2, (confidence[:, :, left] > 0) & (confidence[:, :, right] > 0)
