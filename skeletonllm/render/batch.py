"""Clips to the padded tensors that renderers draw: canonical place, sampled times, Gaussians by index.

Everything that depends on a topology becomes an index here, so that what is learned never meets a joint's number.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from skeletonllm.render.camera import fit_to_clip
from skeletonllm.render.config import RenderConfig
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import canonicalise, rotate_y
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES, Topology

# Velocities are differences over this time, so that a sensor's jitter from frame to frame does not look like motion.
_VELOCITY_SPAN_S = 0.14
_MAX_SPEED = 15.0  # m/s on the canonical body


@dataclass(frozen=True)
class RenderBatch:
    """Clips side by side; persons of a clip stand one after another on the joint and Gaussian axes.

    Args:
        joints: canonical metres.
        confidence: 0 to 1; 0 for padding.
        velocities: metres per second.
        accelerations: metres per second squared.
        torsos: the columns are each person's right-to-left, up and front; unit vectors.
        phase: place of the frame in its clip, 0 to 1.
        times_s: since the clip's first frame.
        parent: joint at the start of each Gaussian's bone.
        child: joint at its end; the same joint for a Gaussian that sits on one.
        along: place between them, 0 to 1.
        parts: body parts of the two joints, by number.
        side: 0 left, 1 center, 2 right.
        person: whose Gaussian it is.
        present: False for padding.
        rest: unit direction of the bone in the T-pose, in the torso's frame.
        center_m: what the camera looks at.
        half_width_m: how much it sees to each side.
    """

    joints: Float[Tensor, "batch frames joints 3"]
    confidence: Float[Tensor, "batch frames joints"]
    velocities: Float[Tensor, "batch frames joints 3"]
    accelerations: Float[Tensor, "batch frames joints 3"]
    torsos: Float[Tensor, "batch frames persons 3 3"]
    phase: Float[Tensor, "batch frames"]
    times_s: Float[Tensor, "batch frames"]
    parent: Int64[Tensor, "batch gaussians"]
    child: Int64[Tensor, "batch gaussians"]
    along: Float[Tensor, "batch gaussians"]
    parts: Int64[Tensor, "batch gaussians 2"]
    side: Int64[Tensor, "batch gaussians"]
    person: Int64[Tensor, "batch gaussians"]
    present: Bool[Tensor, "batch gaussians"]
    rest: Float[Tensor, "batch gaussians 3"]
    center_m: Float[Tensor, "batch 3"]
    half_width_m: Float[Tensor, " batch"]

    def to(self, device: torch.device | str) -> "RenderBatch":
        """The same batch on a device."""
        return RenderBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def __len__(self) -> int:
        return len(self.joints)


@dataclass(frozen=True)
class _Layout:
    """The Gaussians of one person of a topology."""

    parent: np.ndarray
    child: np.ndarray
    along: np.ndarray
    parts: np.ndarray
    side: np.ndarray
    rest: np.ndarray


def collate(clips: Sequence[Clip], config: RenderConfig, generator: torch.Generator | None = None) -> RenderBatch:
    """Pad clips of any topologies, persons and lengths into one batch, on the CPU.

    Args:
        clips: at least one.
        config: frames, Gaussians per bone, camera jitter.
        generator: given in training: times and turns are drawn from it. None: frames from the middle of equal segments.
    """
    samples = [_sample(clip, config, generator) for clip in clips]
    num_joints = max(sample["joints"].shape[1] for sample in samples)
    num_gaussians = max(len(sample["parent"]) for sample in samples)
    num_persons = max(sample["torsos"].shape[1] for sample in samples)
    sizes = {
        **dict.fromkeys(("joints", "confidence", "velocities", "accelerations"), (1, num_joints)),
        **dict.fromkeys(("parent", "child", "along", "parts", "side", "person", "present", "rest"), (0, num_gaussians)),
        "torsos": (1, num_persons),
    }
    padded = {}
    for field in fields(RenderBatch):
        arrays = [np.asarray(sample[field.name]) for sample in samples]
        if field.name in sizes:
            axis, size = sizes[field.name]
            arrays = [_pad(array, axis, size) for array in arrays]
        padded[field.name] = torch.from_numpy(np.stack(arrays))
    return RenderBatch(**padded)


def _pad(array: np.ndarray, axis: int, size: int) -> np.ndarray:
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, size - array.shape[axis])
    return np.pad(array, widths)


def _sample(clip: Clip, config: RenderConfig, generator: torch.Generator | None) -> dict[str, Any]:
    body = canonicalise(clip)
    positions = body.positions
    frames = _times(body.num_frames, config.num_frames, generator)
    velocities = _differences(positions, body)
    accelerations = _differences(velocities, body)
    torsos = torso_frames(positions, body.topology)
    if generator is not None and config.yaw_jitter and body.topology.dims == 3:
        yaw = float((2 * torch.rand((), generator=generator) - 1) * config.yaw_jitter)
        positions, velocities, accelerations = (rotate_y(x, yaw) for x in (positions, velocities, accelerations))
        torsos = np.swapaxes(rotate_y(np.swapaxes(torsos, -1, -2), yaw), -1, -2)
    center, half_width = fit_to_clip(positions, body.confidence)
    layout = _layout(body.topology, config.gaussians_per_bone)
    joints, persons = body.topology.num_joints, body.num_persons
    shift = np.repeat(np.arange(persons), len(layout.parent)) * joints
    return {
        "joints": _flat(_interpolated(positions, frames)),
        "confidence": _flat(_interpolated(body.confidence, frames)),
        "velocities": _flat(_interpolated(velocities, frames)),
        "accelerations": _flat(_interpolated(accelerations, frames)),
        "torsos": np.swapaxes(torsos[:, np.rint(frames).astype(int)], 0, 1).astype(np.float32),
        "phase": (frames / max(1, body.num_frames - 1)).astype(np.float32),
        "times_s": (frames / body.fps).astype(np.float32),
        "parent": np.tile(layout.parent, persons) + shift,
        "child": np.tile(layout.child, persons) + shift,
        "along": np.tile(layout.along, persons),
        "parts": np.tile(layout.parts, (persons, 1)),
        "side": np.tile(layout.side, persons),
        "person": np.repeat(np.arange(persons), len(layout.parent)),
        "present": np.ones(persons * len(layout.parent), bool),
        "rest": np.tile(layout.rest, (persons, 1)),
        "center_m": center,
        "half_width_m": half_width,
    }


def _times(num_frames: int, wanted: int, generator: torch.Generator | None) -> np.ndarray:
    """Frame numbers (not whole): one from each of `wanted` equal segments of the clip."""
    place = torch.full((wanted,), 0.5) if generator is None else torch.rand(wanted, generator=generator)
    return ((np.arange(wanted) + place.numpy()) / wanted * (num_frames - 1)).astype(np.float64)


def _interpolated(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """`values [persons, frames, ...]` at frame numbers that are not whole, linearly."""
    before = np.floor(frames).astype(int)
    after = np.minimum(before + 1, values.shape[1] - 1)
    share = (frames - before).reshape(-1, *[1] * (values.ndim - 2)).astype(np.float32)
    return values[:, before] * (1 - share) + values[:, after] * share


def _flat(values: np.ndarray) -> np.ndarray:
    """`[persons, frames, joints, ...]` to `[frames, persons * joints, ...]`."""
    moved = np.swapaxes(values, 0, 1)
    return np.ascontiguousarray(moved.reshape(moved.shape[0], -1, *moved.shape[3:]), np.float32)


def _differences(values: np.ndarray, body: Clip) -> np.ndarray:
    """Change per second over a short span; zero for joints that are not seen."""
    reach = max(1, round(body.fps * _VELOCITY_SPAN_S / 2))
    frames = np.arange(body.num_frames)
    first, last = np.maximum(frames - reach, 0), np.minimum(frames + reach, body.num_frames - 1)
    span_s = np.maximum(last - first, 1) / body.fps
    change = (values[:, last] - values[:, first]) / span_s[:, None, None]
    seen = (body.confidence[:, last] > 0) & (body.confidence[:, first] > 0)
    return np.where(seen[..., None], np.clip(change, -_MAX_SPEED, _MAX_SPEED), 0).astype(np.float32)


def torso_frames(positions: np.ndarray, topology: Topology) -> np.ndarray:
    """Each person's right-to-left, up and front as columns: `[persons, frames, 3, 3]`.

    Gram-Schmidt, up first; where a direction cannot be told (a side-on 2D body, missing joints) the world's is taken.
    """

    def middle(part: str) -> np.ndarray | None:
        left, right = topology.find(part, "left"), topology.find(part, "right")
        return None if left is None or right is None else (positions[:, :, left] + positions[:, :, right]) / 2

    def across(part: str) -> np.ndarray:
        left, right = topology.find(part, "left"), topology.find(part, "right")
        return np.zeros(3) if left is None or right is None else positions[:, :, left] - positions[:, :, right]

    shape = positions.shape[:2]
    hips, shoulders = middle("hip"), middle("shoulder")
    trunk = np.zeros((*shape, 3)) if hips is None or shoulders is None else shoulders - hips
    up = _unit(trunk, (0.0, 1.0, 0.0))
    side = np.broadcast_to(across("shoulder") + across("hip"), (*shape, 3))
    side = side - (side * up).sum(-1, keepdims=True) * up
    fallback = np.array([1.0, 0.0, 0.0]) - up[..., :1] * up
    left = _unit(side, _unit(fallback, (0.0, 0.0, 1.0)))
    return np.stack((left, up, np.cross(left, up)), -1).astype(np.float32)


def _unit(vectors: np.ndarray, fallback: np.ndarray | tuple[float, ...]) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > 1e-4, vectors / np.maximum(length, 1e-4), fallback)


@functools.lru_cache(maxsize=64)
def _layout(topology: Topology, per_bone: int) -> _Layout:
    """One Gaussian on each joint, `per_bone` between the ends of each bone."""
    joints = np.arange(topology.num_joints)
    parents, children = (
        (np.array(ends, int) for ends in zip(*topology.bones, strict=True)) if topology.bones else ([], [])
    )
    places = (np.arange(1, per_bone + 1) / (per_bone + 1)).astype(np.float32)
    parent = np.concatenate([joints, np.repeat(parents, per_bone)]).astype(np.int64)
    child = np.concatenate([joints, np.repeat(children, per_bone)]).astype(np.int64)
    along = np.concatenate([np.zeros(len(joints), np.float32), np.tile(places, len(topology.bones))])
    part = np.array([BODY_PARTS.index(name) for name in topology.parts])
    side = np.array([SIDES.index(name) for name in topology.sides])
    rest = np.array([rest_direction(topology.parts[j], topology.sides[j]) for j in joints], np.float32)
    return _Layout(parent, child, along, np.stack((part[parent], part[child]), -1), side[child], rest[child])


def rest_direction(part: str, side: str) -> tuple[float, float, float]:
    """Where the bone that ends in a part points in the T-pose, in the torso's frame (left, up, front)."""
    sign = {"left": 1.0, "center": 0.0, "right": -1.0}[side]
    if part in ("shoulder", "elbow", "wrist", "hand", "hip") and sign:
        return (sign, 0.0, 0.0)
    if part in ("knee", "ankle"):
        return (0.0, -1.0, 0.0)
    if part in ("foot", "face"):
        return (0.0, 0.0, 1.0)
    return (0.0, 1.0, 0.0)
