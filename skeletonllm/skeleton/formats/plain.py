"""What plain files of numbers (CSV, numpy, Parquet) share: the way from arrays to a clip.

Such a file says little. Its topology is declared, or named by its joints, or recognised by how they lie; its unit is known
by the body's size and its up axis by the posture; its frame rate is in a column, or declared.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip, Source, mask_unseen
from skeletonllm.skeleton.formats.common import Declared, brief, build_clip, problem
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, body_size_m
from skeletonllm.skeleton.recognise import (
    Candidate,
    by_geometry,
    by_names,
    match_names,
    names_say_nothing,
    nearest_names,
    sure_one,
)
from skeletonllm.skeleton.spaces import find_up, fit_unit, metres_per, upright
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

MAX_PERSONS = 20
MAX_JOINTS = 150
MIN_JOINTS = 5
TAKES = frozenset({"topology", "unit", "up"})
_FARTHEST = 1e9  # in any unit
_SMALLEST_BODY = 1e-6
_RESTLESS = 0.25  # of its size, from one frame to the next: no body moves like that


@dataclass(frozen=True)
class Motion:
    """What a plain file holds, in its own space.

    Args:
        clip_id: unique in the file.
        points: `[persons, frames, joints, 2 or 3]`; NaN or zeros where a joint was not seen.
        confidence: `[persons, frames, joints]`, 0 to 1.
        names: of the joints.
        rotations: `[persons, frames, joints, 4]`; only where the file says that its space is ours.
        topology: where the file says it in full.
        fps: where the file says it.
        unit: where the file says it.
        up: where the file says it.
        action: the class.
        captions: free descriptions.
        source: subject, camera and so on.
    """

    clip_id: str
    points: np.ndarray
    confidence: np.ndarray | None = None
    names: tuple[str, ...] | None = None
    rotations: np.ndarray | None = None
    topology: Topology | None = None
    fps: float | None = None
    unit: str | None = None
    up: str | None = None
    action: str | None = None
    captions: tuple[str, ...] = ()
    source: Source = field(default_factory=Source)


# Files hold any bits: NaN that signal, numbers too large for float32. They are refused or masked, never warned of.
_any_bits = np.errstate(invalid="ignore", over="ignore")


@_any_bits
def clip_of(path: Path, format: str, motion: Motion, declared: Declared) -> Clip:
    """The clip of what a plain file holds.

    Raises:
        FormatError: topology or frame rate is not known and must be declared, or the positions are no person's.
    """
    topology, joints, known = _topology(path, motion, declared)
    points = np.where(np.isfinite(motion.points), motion.points, np.nan)[:, :, joints]
    if np.nanmax(np.abs(points), initial=0, where=np.isfinite(points)) > _FARTHEST:
        raise problem(
            path, "", f"a coordinate beyond {_FARTHEST:g}", "positions of a person", "see what the columns are"
        )
    confidence = None if motion.confidence is None else motion.confidence[:, :, joints]
    points, confidence, topology = _with_dims(points, confidence, topology, topology is motion.topology)
    fps = motion.fps if motion.fps is not None else declared.fps
    if fps is None:
        raise problem(
            path, "", "no frame rate", "frames per second", "say it with --fps, or with fps in recordings.toml"
        )
    points, seen = mask_unseen(points.astype(np.float32), None if confidence is None else confidence.astype(np.float32))
    points, space = _placed(points, seen, topology, motion, declared)
    rotations = None if motion.rotations is None else motion.rotations[:, :, joints].astype(np.float32)
    return build_clip(
        path,
        motion.clip_id,
        topology,
        points,
        seen,
        fps=fps,
        source=replace(
            motion.source,
            format=format,
            fps_from="file" if motion.fps is not None else "declared",
            space=f"{space}; joints {known}",
        ),
        action=motion.action,
        captions=motion.captions,
        rotations=rotations,
    )


def _topology(path: Path, motion: Motion, declared: Declared) -> tuple[Topology, list[int], str]:
    """The topology, which of the file's joints each of its joints is, and how this is known."""
    count, names = motion.points.shape[2], motion.names
    told = declared.topology or motion.topology
    if told is not None:
        how = "declared" if declared.topology else "said by the file"
        matched = None if names is None else match_names(names, told)
        if matched is not None:
            return told, list(matched), how
        if told.num_joints == count and (names is None or names_say_nothing(names)):
            return told, list(range(count)), how
        found = f"{count} joints" + (f" ({brief(', '.join(names), 200)})" if names else "")
        remedy = "declare the topology that the file has" if declared.topology else ""
        raise problem(
            path, "", found, f"the {told.num_joints} joints of {told.name} ({brief(told.joint_names, 200)})", remedy
        )
    if names is not None and not names_say_nothing(names):
        candidates = by_names(names)
        if candidates:
            return candidates[0].topology, list(candidates[0].joints), "known by their names"
        near = nearest_names(names)
        raise problem(
            path,
            "",
            f"{count} joints ({brief(', '.join(names), 200)})",
            f"those of a known topology; near are {'; '.join(near)}" if near else "those of a known topology",
            "write joints and parents into recordings.toml, or name a topology with --topology",
        )
    candidates = by_geometry(motion.points)
    chosen = sure_one(candidates)
    if chosen is None:
        raise _unsure(path, count, candidates)
    return chosen.topology, list(chosen.joints), "known by the lengths of their bones"


def _unsure(path: Path, count: int, candidates: list[Candidate]) -> FormatError:
    listed = "; ".join(f"{candidate.topology.name}: {', '.join(candidate.reasons)}" for candidate in candidates)
    known = sorted({topology.num_joints for topology in TOPOLOGIES.values()})
    return problem(
        path,
        "",
        f"{count} joints without names",
        f"one topology that fits clearly, but there is {listed}" if listed else f"a known number of joints ({known})",
        "say which it is with --topology, or in recordings.toml",
    )


def _with_dims(
    points: np.ndarray, confidence: np.ndarray | None, topology: Topology, said: bool
) -> tuple[np.ndarray, np.ndarray | None, Topology]:
    """Points with three coordinates, 0 in the third of image coordinates, and the topology with as many dimensions.

    The third number of a 2D topology is a confidence where it always lies between 0 and 1.

    Args:
        points: with two or three coordinates.
        confidence: where it is known.
        topology: of the points; a registered one has the dimensions that it mostly has.
        said: the file itself says how many dimensions its topology has.
    """
    if said and points.shape[-1] == 3:
        return points, confidence, topology
    third = points[..., 2] if points.shape[-1] == 3 else np.zeros(points.shape[:-1])
    third = np.nan_to_num(third)
    flat = not third.any()
    if not flat and topology.dims == 2 and confidence is None and third.min() >= 0 and third.max() <= 1:
        confidence, flat = third, True
    if not flat:
        return points, confidence, replace(topology, dims=3) if topology.dims != 3 else topology
    points = np.concatenate((points[..., :2], np.zeros((*points.shape[:-1], 1))), -1)
    return points, confidence, replace(topology, dims=2) if topology.dims != 2 else topology


def _placed(
    points: np.ndarray, seen: np.ndarray, topology: Topology, motion: Motion, declared: Declared
) -> tuple[np.ndarray, str]:
    """Positions in the project's space, and what the file's own was, with how it is known."""
    up, up_how = _up(points, topology, motion, declared)
    turned = points.astype(np.float64) @ upright(up).T
    unit = declared.unit or motion.unit
    if unit is not None:
        unit_m, unit_how = metres_per(unit), "declared" if declared.unit else "said by the file"
    else:
        size = body_size_m(Clip("plain", topology, turned.astype(np.float32), seen, 1.0))
        unit_m, unit, unit_how = _fitted(size, topology.dims)
    return turned * unit_m, f"{unit} ({unit_how}), {up} up ({up_how})"


def _up(points: np.ndarray, topology: Topology, motion: Motion, declared: Declared) -> tuple[str, str]:
    if declared.up is not None:
        return declared.up, "declared"
    if motion.up is not None:
        return motion.up, "said by the file"
    up, share = find_up(points, topology)
    if topology.dims == 2 and (up not in ("+y", "-y") or not share):
        return "-y", "as in images"
    return up, f"by the posture in {share:.0%} of the frames" if share else "by convention"


def _fitted(size: float, dims: int) -> tuple[float, str, str]:
    """Metres of one unit, its name and how it is known, from the body's size in that unit."""
    if size < _SMALLEST_BODY:
        return 1.0, "m", "by convention"
    if dims == 2:
        return CANONICAL_SIZE_M / size, "px", "scaled to the body's size"
    unit_m, unit = fit_unit(size)
    return unit_m, unit, "by the body's size"


@_any_bits
def motion_of_array(path: Path, where: str, array: np.ndarray, topology: Topology | None = None) -> Motion:
    """Points and confidence of an array `[frames, joints, 2 to 4]`, `[persons, ...]` or `[frames, joints * values]`.

    The fourth value is a confidence. A flat array may begin with a column that counts frames.

    Args:
        path: the file.
        where: the place in it, for errors.
        array: numbers.
        topology: where it is declared or said by the file.

    Raises:
        FormatError: the array has another shape.
    """
    shape = array.shape
    if array.ndim == 2:
        return _unflattened(path, where, array, topology)
    if array.ndim not in (3, 4) or shape[-1] not in (2, 3, 4) or 0 in shape:
        raise problem(
            path, where, f"shape {shape}", "[frames, joints, 2 to 4] or [persons, frames, joints, 2 to 4]", "reshape it"
        )
    if array.ndim == 4 and shape[0] > MAX_PERSONS:
        raise problem(
            path,
            where,
            f"shape {shape}",
            f"[persons, frames, joints, 2 to 4], at most {MAX_PERSONS} persons",
            "transpose it",
        )
    motion = _with_confidence(path.stem, (array if array.ndim == 4 else array[None]).astype(np.float64))
    if motion is None:
        raise problem(path, where, "a fourth value that is not between 0 and 1", "a confidence", "leave it out")
    return motion


def _with_confidence(clip_id: str, values: np.ndarray) -> Motion | None:
    """Points, and the confidences in the fourth value; None where those are none."""
    if values.shape[-1] < 4:
        return Motion(clip_id, values)
    confidence = values[..., 3]
    given = confidence[np.isfinite(confidence)]
    if given.size and not 0 <= given.min() <= given.max() <= 1:
        return None
    return Motion(clip_id, values[..., :3], np.nan_to_num(confidence))


def _unflattened(path: Path, where: str, array: np.ndarray, topology: Topology | None) -> Motion:
    """The one way to cut rows of numbers into joints that fits."""
    counts = {topology.num_joints} if topology is not None else {known.num_joints for known in TOPOLOGIES.values()}
    found: list[tuple[float, Motion]] = []
    for joints, values, first in _cuts(array.shape[1], counts):
        motion = _with_confidence(
            path.stem, array[None, :, first:].reshape(1, len(array), joints, values).astype(np.float64)
        )
        if motion is None or (first and not _counts(array[:, 0])):
            continue
        best = None if topology is not None else sure_one(by_geometry(motion.points))
        if topology is not None or best is not None:
            found.append((0.0 if best is None else best.misfit, motion))
    if not found:
        expected = f"joints of {topology.name}" if topology else "joints of a known topology that fit clearly"
        raise problem(path, where, f"rows of {array.shape[1]} numbers", expected, "say which it is with --topology")
    return min(found, key=lambda pair: pair[0])[1]


def _cuts(columns: int, counts: set[int]) -> list[tuple[int, int, int]]:
    """Joints, values of each, and leading columns, by which rows of so many numbers can be cut."""
    return [
        (joints, values, first)
        for first in (0, 1)
        for joints in sorted(counts)
        for values in (3, 2, 4)
        if joints * values + first == columns
    ]


def can_be_cut(columns: int, topology: Topology | None) -> bool:
    """Whether rows of so many numbers can be those of a known topology, or of the given one."""
    counts = {topology.num_joints} if topology is not None else {known.num_joints for known in TOPOLOGIES.values()}
    return bool(_cuts(columns, counts))


def _counts(column: np.ndarray) -> bool:
    return len(column) > 1 and bool((np.diff(column) > 0).all())


@_any_bits
def looks_like_joints(path: Path, array: np.ndarray, topology: Topology | None) -> bool:
    """Whether an array can be a recording: it has the declared topology, or a known one, or it moves as bodies do."""
    try:
        motion = motion_of_array(path, "", array, topology)
    except FormatError:
        return False
    points = motion.points
    if topology is not None:
        return points.shape[2] == topology.num_joints
    if not MIN_JOINTS <= points.shape[2] <= MAX_JOINTS:
        return False
    return sure_one(by_geometry(points)) is not None or _moves_as_bodies_do(points)


def _moves_as_bodies_do(points: np.ndarray) -> bool:
    """From frame to frame joints move less than the body is large, and they do not all lie on one point."""
    if points.shape[1] < 3:
        return False
    filled = np.nan_to_num(points[:, :64], posinf=0, neginf=0).clip(-_FARTHEST, _FARTHEST)
    step = np.median(np.linalg.norm(np.diff(filled, axis=1), axis=-1))
    size = np.median(np.ptp(filled, axis=2).max(-1))
    return bool(size > 0 and step < _RESTLESS * size)
