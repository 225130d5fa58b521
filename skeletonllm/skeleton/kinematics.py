"""Measurements on clips that hold for any topology: body points, size, facing, and the canonical pose in space."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topology import Topology

# Neck to ankle of the canonical body. A convention: about that of an adult of 1.75 m.
CANONICAL_SIZE_M = 1.4

# A point that a topology lacks is the middle of two that it has: COCO has no pelvis, neck or chest.
_MIDDLES = {"pelvis": ("hip", "hip"), "chest": ("shoulder", "shoulder"), "neck": ("shoulder", "shoulder")}


def fill_unseen(
    positions: Float32[np.ndarray, "persons frames joints 3"],
    confidence: Float32[np.ndarray, "persons frames joints"],
) -> Float32[np.ndarray, "persons frames joints 3"]:
    """Positions with unseen joints filled in time: linear between sightings, held before the first and after the last.

    A joint that is never seen stays at 0; its confidence says that it must not be shown.
    """
    if (confidence > 0).all():
        return positions
    filled = positions.copy()
    times = np.arange(positions.shape[1])
    for person, joint in zip(*np.nonzero((confidence <= 0).any(1)), strict=True):
        seen = confidence[person, :, joint] > 0
        if seen.any():
            for axis in range(3):
                filled[person, :, joint, axis] = np.interp(times, times[seen], positions[person, seen, joint, axis])
    return filled


def point(clip: Clip, part: str, side: str = "center") -> Float32[np.ndarray, "persons frames 3"] | None:
    """The path of a body part, metres; None where the topology cannot say.

    A missing pelvis, chest or neck is the middle of the hips or shoulders.
    """
    joints = joints_of(clip.topology, part, side)
    if not joints:
        return None
    positions = fill_unseen(clip.positions, clip.confidence)
    return (
        positions[:, :, joints[0]]
        if len(joints) == 1
        else (positions[:, :, joints[0]] + positions[:, :, joints[1]]) / 2
    )


def joints_of(topology: Topology, part: str, side: str = "center") -> tuple[int, ...]:
    """The joint that is a body part, or the two whose middle it is; none where the topology cannot say."""
    joint = topology.find(part, side)
    exact = joint is not None and topology.parts[joint] == part
    if side == "center" and not exact and part in _MIDDLES:
        left, right = topology.find(_MIDDLES[part][0], "left"), topology.find(_MIDDLES[part][1], "right")
        if left is not None and right is not None:
            return (left, right)
    return () if joint is None else (joint,)


def _is_ever_seen(clip: Clip, *parts: tuple[str, str]) -> np.ndarray:
    """Of each person, whether every joint of some (part, side) is seen at least once."""
    joints = [joint for part in parts for joint in joints_of(clip.topology, *part)]
    return np.all(np.any(clip.confidence[:, :, joints] > 0, axis=1), axis=-1)


def body_size_m(clip: Clip) -> float:
    """Neck to ankle along the bones, metres: the size by which movements are compared between bodies.

    Per person and frame, trunk plus the longer leg; then the 90th percentile over frames (a limb that points at a 2D
    camera looks short, never long) and the median over persons. Persons of whom no leg or not the whole trunk is ever
    seen are left out; where all are, it is the longest extent of what is seen. 0 where it cannot be measured.
    """
    neck, pelvis = point(clip, "neck"), point(clip, "pelvis")
    if neck is None or pelvis is None:
        return _extent_m(clip)
    trunk = np.linalg.norm(neck - pelvis, axis=-1)
    legs, with_leg = [], np.zeros(clip.num_persons, bool)
    for side in ("left", "right"):
        hip, knee, ankle = (point(clip, part, side) for part in ("hip", "knee", "ankle"))
        if hip is not None and knee is not None and ankle is not None:
            seen = _is_ever_seen(clip, *((part, side) for part in ("hip", "knee", "ankle")))
            leg = np.linalg.norm(hip - knee, axis=-1) + np.linalg.norm(knee - ankle, axis=-1)
            legs.append(np.where(seen[:, None], leg, 0))
            with_leg |= seen
    if not legs:
        return _extent_m(clip)
    measured = with_leg & _is_ever_seen(clip, ("neck", "center"), ("pelvis", "center"))
    size = np.percentile(trunk + np.max(legs, 0), 90, axis=1)[measured]
    return float(np.median(size)) if size.size and np.median(size) > 1e-6 else _extent_m(clip)


def _extent_m(clip: Clip) -> float:
    """The longest side of the box around all seen joints of a frame, the 90th percentile over frames."""
    seen = (clip.confidence > 0)[..., None]
    high = np.where(seen, clip.positions, -np.inf).max(2)
    low = np.where(seen, clip.positions, np.inf).min(2)
    extent = (high - low).max(-1)
    extent = extent[np.isfinite(extent)]
    return float(np.percentile(extent, 90)) if extent.size else 0.0


def facing_yaw(clip: Clip) -> float:
    """The angle about +y, radians, that turns the first person's front (at the start of the clip) to +z.

    Front = (right to left across hips and shoulders) x up. The start is the first fifth of the clip, at least one
    frame. 0 where nothing can be said: 2D formats, missing shoulders and hips, somebody seen exactly edge-on.
    """
    if clip.topology.dims == 2:
        return 0.0
    across = np.zeros(3)
    start = max(1, clip.num_frames // 5)
    for part in ("shoulder", "hip"):
        left, right = clip.topology.find(part, "left"), clip.topology.find(part, "right")
        if left is not None and right is not None:
            seen = (clip.confidence[0, :, left] > 0) & (clip.confidence[0, :, right] > 0)
            frames = np.nonzero(seen)[0][:start]
            if len(frames):
                across += (clip.positions[0, frames, left] - clip.positions[0, frames, right]).mean(0)
    front = np.cross(across, (0.0, 1.0, 0.0))
    if np.hypot(front[0], front[2]) < 1e-4:
        return 0.0
    return float(-np.arctan2(front[0], front[2]))


def rotate_y(points: np.ndarray, yaw: float) -> np.ndarray:
    """`points [..., 3]` turned about +y by `yaw` radians (right-handed: +z goes to +x)."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    turn = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]], np.float32)
    return points @ turn.T


def canonicalise(clip: Clip) -> Clip:
    """The clip in the canonical place: first person's pelvis at the origin at the start, facing +z, of canonical size.

    One shift, one turn and one scale for the whole clip and all persons, so that travel, turning and distance stay.
    Unseen joints are filled in time (their confidence stays). Rotations, if any, are turned along.
    """
    positions = fill_unseen(clip.positions, clip.confidence)
    size = body_size_m(clip)
    scale = CANONICAL_SIZE_M / size if size > 1e-6 else 1.0
    pelvis = point(clip, "pelvis")
    if pelvis is None or not _is_ever_seen(clip, ("pelvis", "center"))[0]:
        seen = (clip.confidence[0] > 0).any(0)
        origin = positions[0, 0, seen].mean(0) if seen.any() else positions[0, 0].mean(0)
    else:
        origin = pelvis[0, 0]
    yaw = facing_yaw(clip)
    ever_seen = np.any(clip.confidence > 0, axis=1)[:, None, :, None]
    moved = np.where(ever_seen, rotate_y(positions - origin, yaw) * scale, 0).astype(np.float32)
    rotations = clip.rotations
    if rotations is not None:
        turn = np.array([np.cos(yaw / 2), 0, np.sin(yaw / 2), 0], np.float32)
        rotations = quaternion_product(turn, rotations).astype(np.float32)
    return replace(clip, positions=moved, rotations=rotations)


def quaternion_product(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The product of quaternions (wxyz): the rotation `right`, then the rotation `left`."""
    lw, lx, ly, lz = np.moveaxis(np.asarray(left), -1, 0)
    rw, rx, ry, rz = np.moveaxis(np.asarray(right), -1, 0)
    return np.stack(
        (
            lw * rw - lx * rx - ly * ry - lz * rz,
            lw * rx + lx * rw + ly * rz - lz * ry,
            lw * ry - lx * rz + ly * rw + lz * rx,
            lw * rz + lx * ry - ly * rx + lz * rw,
        ),
        axis=-1,
    )


def velocities(
    positions: Float32[np.ndarray, "persons frames joints 3"], fps: float
) -> Float32[np.ndarray, "persons frames joints 3"]:
    """Central differences, metres per second; zero for a clip of one frame."""
    if positions.shape[1] < 2:
        return np.zeros_like(positions)
    return (np.gradient(positions, axis=1) * fps).astype(np.float32)


def bone_lengths(positions: Float32[np.ndarray, "*batch joints 3"], topology: Topology) -> np.ndarray:
    """Lengths of the topology's bones, metres: `[*batch, bones]`."""
    parents, children = np.array(topology.bones).T
    return np.linalg.norm(positions[..., children, :] - positions[..., parents, :], axis=-1)
