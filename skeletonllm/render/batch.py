"""Clips to the padded tensors that renderers draw: sampled times, motion, Gaussians by index.

Everything that depends on a topology becomes an index here, so that what is learned never meets a joint's number.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from skeletonllm.errors import DataError
from skeletonllm.render.cameras import place_cameras, rotations_y, turned, turned_rotations
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.prepare import PreparedClip, prepare
from skeletonllm.render.turns import joint_turns
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import joints_of
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES, Topology

# Motion is measured over this time to each side, so that a sensor's jitter from frame to frame does not look like it.
_REACH_S = 0.07
# Limits on the canonical body: about ten body heights a second, and what a fast throw reaches.
_MAX_SPEED = 15.0
_MAX_ACCELERATION = 150.0

# Where jitter is drawn from: one generator for all clips, one for each, or none where there shall be no jitter.
Chance = torch.Generator | Sequence[torch.Generator] | None


@dataclass(frozen=True)
class RenderBatch:
    """Clips side by side; persons of a clip stand one after another on the joint and Gaussian axes.

    Args:
        joints: canonical metres.
        confidence: 0 to 1; 0 for padding.
        velocities: metres per second, clipped.
        accelerations: metres per second squared, clipped.
        turns: unit quaternions (wxyz) from the T-pose to the frame.
        roots: the pelvis of each person, metres.
        phase: place of the frame in its clip, 0 to 1.
        times_s: since the clip's first frame.
        parent: joint at the start of each Gaussian's bone.
        child: joint at its end; the same joint for a Gaussian that sits on one.
        along: place between them, 0 to 1.
        parts: body parts of the two joints, by number.
        side: 0 left, 1 center, 2 right.
        person: whose Gaussian it is.
        present: False for padding.
        asked: Gaussians of which the modulator's network is asked: on each joint, and in the middle of each bone.
        between: the two of those, by their place in `asked`, between which each Gaussian lies.
        share: its place between them, 0 to 1.
        center_m: what the camera looks at.
        half_width_m: how much it sees to each side.
    """

    joints: Float[Tensor, "batch frames joints 3"]
    confidence: Float[Tensor, "batch frames joints"]
    velocities: Float[Tensor, "batch frames joints 3"]
    accelerations: Float[Tensor, "batch frames joints 3"]
    turns: Float[Tensor, "batch frames joints 4"]
    roots: Float[Tensor, "batch frames persons 3"]
    phase: Float[Tensor, "batch frames"]
    times_s: Float[Tensor, "batch frames"]
    parent: Int64[Tensor, "batch gaussians"]
    child: Int64[Tensor, "batch gaussians"]
    along: Float[Tensor, "batch gaussians"]
    parts: Int64[Tensor, "batch gaussians 2"]
    side: Int64[Tensor, "batch gaussians"]
    person: Int64[Tensor, "batch gaussians"]
    present: Bool[Tensor, "batch gaussians"]
    asked: Int64[Tensor, "batch asked"]
    between: Int64[Tensor, "batch gaussians 2"]
    share: Float[Tensor, "batch gaussians"]
    center_m: Float[Tensor, "batch frames 3"]
    half_width_m: Float[Tensor, "batch frames"]

    def to(self, device: torch.device | str) -> "RenderBatch":
        """The same batch on a device."""
        return RenderBatch(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def __len__(self) -> int:
        return len(self.joints)


def collate(clips: Sequence[Clip | PreparedClip], config: RenderConfig, generator: Chance = None) -> RenderBatch:
    """Pad clips of any topologies, persons and lengths into one batch, on the CPU.

    Args:
        clips: at least one; prepared ones cost a tenth.
        config: frames, Gaussians per bone, cameras.
        generator: given in training: times and the cameras' jitter are drawn from it, or each clip's from its own. None:
            frames from the middle of equal segments.

    Raises:
        DataError: there is no clip.
    """
    if not clips:
        raise DataError("collate: no clip to draw; give at least one")
    prepared = [clip if isinstance(clip, PreparedClip) else prepare(clip) for clip in clips]
    samples = [
        _sample(clip, config, own) for clip, own in zip(prepared, generator_of_each(generator, len(clips)), strict=True)
    ]
    turns = _turns(prepared, samples)
    rows = [_row(*parts, config) for parts in zip(prepared, samples, turns, strict=True)]
    return RenderBatch(**{field.name: padded([row[field.name] for row in rows]) for field in fields(RenderBatch)})


def generator_of_each(generator: Chance, num_clips: int) -> Sequence[torch.Generator | None]:
    """What each clip's jitter is drawn from."""
    return generator if isinstance(generator, Sequence) else [generator] * num_clips


def padded(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays of any sizes side by side in one of the largest size, the rest 0."""
    together = np.zeros((len(arrays), *np.max([array.shape for array in arrays], axis=0)), arrays[0].dtype)
    for row, array in enumerate(arrays):
        together[(row, *map(slice, array.shape))] = array
    return torch.from_numpy(together)


@dataclass(frozen=True)
class _Sample:
    """A clip at the picked times: arrays `[persons, frames, joints, ...]`; `turns` where the file has rotations."""

    frames: np.ndarray
    positions: np.ndarray
    confidence: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray
    roots: np.ndarray
    turns: np.ndarray | None
    center_m: np.ndarray
    half_width_m: np.ndarray


@dataclass(frozen=True)
class _Times:
    """When a clip is looked at: frame numbers (not whole), a little before and after them, and which camera looks."""

    frames: np.ndarray
    before: np.ndarray
    after: np.ndarray
    view: np.ndarray
    last: int

    @property
    def phase(self) -> np.ndarray:
        return self.frames / max(1, self.last)


def _pick(clip: PreparedClip, config: RenderConfig, generator: torch.Generator | None) -> _Times:
    last = clip.positions.shape[1] - 1
    each = config.num_frames // config.num_views
    frames = np.concatenate([pick_times(last, each, generator) for _ in range(config.num_views)])
    reach = max(_REACH_S * clip.fps, 1.0)
    view = np.repeat(np.arange(config.num_views), each)
    return _Times(frames, np.maximum(frames - reach, 0), np.minimum(frames + reach, last), view, last)


def _sample(clip: PreparedClip, config: RenderConfig, generator: torch.Generator | None) -> _Sample:
    times = _pick(clip, config, generator)
    here, velocities, accelerations = _moving(clip.positions, times, clip.fps)
    seen = _is_seen(clip, times)
    velocities = np.where(seen, np.clip(velocities, -_MAX_SPEED, _MAX_SPEED), 0)
    accelerations = np.where(seen, np.clip(accelerations, -_MAX_ACCELERATION, _MAX_ACCELERATION), 0)
    views = place_cameras(clip, config, times.view, times.phase, generator)
    turns = None if clip.turns is None else _unit(_at(_one_sign(clip.turns), times.frames))
    return _Sample(
        times.frames,
        turned(here, views.yaws),
        _at(clip.confidence, times.frames),
        turned(velocities, views.yaws),
        turned(accelerations, views.yaws),
        turned(_at(clip.roots, times.frames)[:, :, None], views.yaws)[:, :, 0],
        None if turns is None else turned_rotations(turns, views.yaws),
        views.center_m,
        views.half_width_m,
    )


def batch_of_places(
    clip: PreparedClip, config: RenderConfig, positions: Float[Tensor, "persons frames joints 3"]
) -> RenderBatch:
    """The batch of one clip, without jitter, as a function of its joints' places that torch can differentiate.

    Places reach the picture as places, velocities, accelerations and the pelvis. What was not seen is held, the cameras
    are kept, and so are the joints' turns, on which only learned offsets hang.

    Args:
        clip: the clip.
        config: frames and cameras.
        positions: in the place of the clip's own.
    """
    batch, times = collate([clip], config), _pick(clip, config, None)
    # Sampling and differences are linear in time: how each frame weighs is what comes out of the unit vectors.
    units = np.eye(times.last + 1, dtype=np.float32)[None, :, :, None]
    weights = [positions.new_tensor(part[0, :, :, 0]) for part in _moving(units, times, clip.fps)]
    here, velocities, accelerations = (torch.einsum("ft,ptjc->pfjc", weight, positions) for weight in weights)
    seen = torch.from_numpy(_is_seen(clip, times))
    velocities = torch.where(seen, velocities.clamp(-_MAX_SPEED, _MAX_SPEED), 0)
    accelerations = torch.where(seen, accelerations.clamp(-_MAX_ACCELERATION, _MAX_ACCELERATION), 0)
    pelvis = list(joints_of(clip.topology, "pelvis")) or list(range(clip.topology.num_joints))
    turn = positions.new_tensor(rotations_y(place_cameras(clip, config, times.view, times.phase, None).yaws))
    moved = {
        "joints": here,
        "velocities": velocities,
        "accelerations": accelerations,
        "roots": here[:, :, pelvis].mean(2, keepdim=True),
    }
    flat = {name: (value @ turn.mT).transpose(0, 1).flatten(1, 2)[None] for name, value in moved.items()}
    return replace(batch, **flat)


def _moving(positions: np.ndarray, times: _Times, fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, velocities (m/s) and accelerations (m/s²) at the picked times."""
    here = _at(positions, times.frames)
    past, future = _at(positions, times.before), _at(positions, times.after)
    return here, *_motion(past, here, future, times.frames - times.before, times.after - times.frames, fps)


def _is_seen(clip: PreparedClip, times: _Times) -> np.ndarray:
    """Whether a joint is seen before, at and after each picked time, `[persons, frames, joints, 1]`."""
    seen = [_at(clip.confidence, when) > 0 for when in (times.before, times.frames, times.after)]
    return np.all(seen, axis=0)[..., None]


def _turns(clips: Sequence[PreparedClip], samples: Sequence[_Sample]) -> list[np.ndarray]:
    """Turns of the joints: the file's, or found from the places for all such clips of a topology at once."""
    alike: dict[Topology, list[int]] = {}
    for row, (clip, sample) in enumerate(zip(clips, samples, strict=True)):
        if sample.turns is None:
            alike.setdefault(clip.topology, []).append(row)
    found = [sample.turns for sample in samples]
    for topology, rows in alike.items():
        positions, confidence = (
            np.concatenate([getattr(samples[row], name) for row in rows]) for name in ("positions", "confidence")
        )
        splits = np.cumsum([len(samples[row].positions) for row in rows])[:-1]
        for row, part in zip(rows, np.split(joint_turns(positions, confidence, topology), splits), strict=True):
            found[row] = part
    return [turns for turns in found if turns is not None]


def _row(clip: PreparedClip, sample: _Sample, turns: np.ndarray, config: RenderConfig) -> dict[str, np.ndarray]:
    """One row of the batch, by the names of its fields."""
    last = clip.positions.shape[1] - 1
    layout = layout_of(clip.topology, config.gaussians_per_bone, len(clip.positions))
    return {
        "joints": _flat(sample.positions),
        "confidence": _flat(sample.confidence),
        "velocities": _flat(sample.velocities),
        "accelerations": _flat(sample.accelerations),
        "turns": _flat(turns),
        "roots": np.swapaxes(sample.roots, 0, 1),
        "phase": (sample.frames / max(1, last)).astype(np.float32),
        "times_s": (sample.frames / clip.fps).astype(np.float32),
        **layout,
        "center_m": sample.center_m,
        "half_width_m": sample.half_width_m,
    }


def pick_times(last: int, wanted: int, generator: torch.Generator | None) -> np.ndarray:
    """Frame numbers (not whole): one from each of `wanted` equal segments of the clip."""
    place = np.full(wanted, 0.5) if generator is None else torch.rand(wanted, generator=generator).numpy()
    return (np.arange(wanted) + place) / wanted * last


def _at(values: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """`values [persons, frames, ...]` at frame numbers that are not whole, linearly."""
    before = frames.astype(int)
    after = np.minimum(before + 1, values.shape[1] - 1)
    share = (frames - before).astype(np.float32).reshape(-1, *[1] * (values.ndim - 2))
    start = values[:, before]
    return start + (values[:, after] - start) * share


def _motion(
    past: np.ndarray, here: np.ndarray, future: np.ndarray, back: np.ndarray, ahead: np.ndarray, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Velocities (m/s) and accelerations (m/s²) from three places; one-sided or zero at the ends of the clip."""
    back_s, ahead_s = ((span / fps).astype(np.float32)[:, None, None] for span in (back, ahead))
    least = np.float32(1e-6)
    velocities = (future - past) / np.maximum(back_s + ahead_s, least)
    change = (future - here) / np.maximum(ahead_s, least) - (here - past) / np.maximum(back_s, least)
    accelerations = np.where((back_s > 1e-3) & (ahead_s > 1e-3), 2 * change / np.maximum(back_s + ahead_s, least), 0)
    return velocities, accelerations


def _one_sign(turns: np.ndarray) -> np.ndarray:
    """The same rotations, with no jump from q to -q between frames."""
    dots = (turns[:, 1:] * turns[:, :-1]).sum(-1)
    signs = np.cumprod(np.where(dots < 0, -1, 1), axis=1)
    return np.concatenate((turns[:, :1], turns[:, 1:] * signs[..., None]), 1).astype(np.float32)


def _unit(turns: np.ndarray) -> np.ndarray:
    return turns / np.sqrt((turns**2).sum(-1, keepdims=True))


def _flat(values: np.ndarray) -> np.ndarray:
    """`[persons, frames, joints, ...]` to `[frames, persons * joints, ...]`."""
    moved = np.swapaxes(values, 0, 1)
    return moved.reshape(moved.shape[0], -1, *moved.shape[3:]).astype(np.float32, copy=False)


@functools.lru_cache(maxsize=256)
def layout_of(topology: Topology, per_bone: int, persons: int) -> dict[str, np.ndarray]:
    """The Gaussians of all persons: one on each joint, `per_bone` between the ends of each bone."""
    drawn = [*topology.bones, *_braces(topology)]
    joints, bones = np.arange(topology.num_joints), np.arange(len(drawn))
    starts, ends = np.array(drawn, np.int64).reshape(-1, 2).T
    places = (np.arange(1, per_bone + 1) / (per_bone + 1)).astype(np.float32)
    parent = np.concatenate([joints, np.repeat(starts, per_bone)])
    child = np.concatenate([joints, np.repeat(ends, per_bone)])
    along = np.concatenate([np.zeros(len(joints), np.float32), np.tile(places, len(bones))])
    part = np.array([BODY_PARTS.index(name) for name in topology.parts])
    side = np.array([SIDES.index(name) for name in topology.sides])
    # The network is asked on each joint and in the middle of each bone.
    middle = per_bone // 2
    asked = np.concatenate([joints, len(joints) + bones * per_bone + middle]) if per_bone else joints
    between, share = np.stack((joints, joints), -1), np.zeros(len(joints), np.float32)
    if per_bone:
        first = np.arange(per_bone) < middle
        halves = np.where(first[:, None], np.array([[0, 1]]), np.array([[1, 2]]))
        stops = np.stack((starts, len(joints) + bones, ends), -1)
        between = np.concatenate([between, stops[:, halves].reshape(-1, 2)])
        inside = np.where(first, places / places[middle], (places - places[middle]) / (1 - places[middle]))
        share = np.concatenate([share, np.tile(inside.astype(np.float32), len(bones))])
    person = np.repeat(np.arange(persons), len(parent))
    return {
        "parent": np.tile(parent, persons) + person * len(joints),
        "child": np.tile(child, persons) + person * len(joints),
        "along": np.tile(along, persons),
        "parts": np.tile(np.stack((part[parent], part[child]), -1), (persons, 1)),
        "side": np.tile(side[child], persons),
        "person": person,
        "present": np.ones(len(person), bool),
        "asked": np.tile(asked, persons) + np.repeat(np.arange(persons), len(asked)) * len(parent),
        "between": np.tile(between, (persons, 1)) + person[:, None] * len(asked),
        "share": np.tile(share, persons),
    }


def _braces(topology: Topology) -> list[tuple[int, int]]:
    """Across the shoulders and the hips of a body without a trunk between them (COCO), so that it does not fall apart."""
    braces = []
    for part, middles in (("shoulder", ("neck", "chest", "spine")), ("hip", ("pelvis",))):
        left, right = topology.find(part, "left"), topology.find(part, "right")
        if left is not None and right is not None and not set(middles) & set(topology.parts):
            braces.append((left, right))
    return braces
