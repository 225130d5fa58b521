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

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "RenderBatch":
        """The same batch on a device."""
        moved = {field.name: getattr(self, field.name).to(device, non_blocking=non_blocking) for field in fields(self)}
        return RenderBatch(**moved)

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
    looks = _look(prepared, config, generator_of_each(generator, len(clips)))
    sample = _sample(prepared, looks)
    layouts = [layout_of(clip.topology, config.gaussians_per_bone, len(clip.positions)) for clip in prepared]
    return RenderBatch(
        **{name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in vars(sample).items()},
        turns=padded(_turns(prepared, sample, looks)),
        phase=torch.from_numpy((looks.frames / np.maximum(1, looks.last)).astype(np.float32)),
        times_s=torch.from_numpy((looks.frames / looks.fps).astype(np.float32)),
        center_m=torch.from_numpy(looks.center_m),
        half_width_m=torch.from_numpy(looks.half_width_m),
        **{name: padded([layout[name] for layout in layouts]) for name in layouts[0]},
    )


def generator_of_each(generator: Chance, num_clips: int) -> Sequence[torch.Generator | None]:
    """What each clip's jitter is drawn from."""
    return generator if isinstance(generator, Sequence) else [generator] * num_clips


def padded(arrays: Sequence[np.ndarray]) -> Tensor:
    """Arrays of any sizes side by side in one of the largest size, the rest 0."""
    return torch.from_numpy(_side_by_side(arrays))


def _side_by_side(arrays: Sequence[np.ndarray]) -> np.ndarray:
    shapes = [array.shape for array in arrays]
    if shapes.count(shapes[0]) == len(shapes):
        return np.stack(arrays)
    together = np.zeros((len(arrays), *map(max, zip(*shapes, strict=True))), arrays[0].dtype)
    for row, array in enumerate(arrays):
        together[(row, *map(slice, array.shape))] = array
    return together


@dataclass(frozen=True)
class _Looks:
    """When and from where the clips are looked at, `[batch, frames]`.

    Args:
        frames: numbers of the picked frames, not whole.
        before: a little before them.
        after: a little after them.
        fps: of each clip, `[batch, 1]`.
        last: number of each clip's last frame, `[batch, 1]`.
        yaws: how far the body is turned about the vertical, radians.
        center_m: what the camera looks at, `[batch, frames, 3]`.
        half_width_m: how much it sees to each side.
    """

    frames: np.ndarray
    before: np.ndarray
    after: np.ndarray
    fps: np.ndarray
    last: np.ndarray
    yaws: np.ndarray
    center_m: np.ndarray
    half_width_m: np.ndarray


@dataclass(frozen=True)
class _Sample:
    """Clips at the picked times, side by side: the fields of the batch that move."""

    joints: np.ndarray
    confidence: np.ndarray
    velocities: np.ndarray
    accelerations: np.ndarray
    roots: np.ndarray


def _look(clips: Sequence[PreparedClip], config: RenderConfig, generators: Sequence[torch.Generator | None]) -> _Looks:
    each = config.num_frames // config.num_views
    view = np.repeat(np.arange(config.num_views), each)
    lasts = [clip.positions.shape[1] - 1 for clip in clips]
    picked, views = [], []
    for clip, last, own in zip(clips, lasts, generators, strict=True):
        picked.append(np.concatenate([pick_times(last, each, own) for _ in range(config.num_views)]))
        views.append(place_cameras(clip, config, view, picked[-1] / max(1, last), own))
    frames, last, fps = np.stack(picked), np.array(lasts)[:, None], np.array([[clip.fps] for clip in clips])
    reach = np.maximum(_REACH_S * fps, 1.0)
    return _Looks(
        frames,
        np.maximum(frames - reach, 0),
        np.minimum(frames + reach, last),
        fps,
        last,
        np.stack([one.yaws for one in views]),
        np.stack([one.center_m for one in views]),
        np.stack([one.half_width_m for one in views]),
    )


def _sample(clips: Sequence[PreparedClip], looks: _Looks) -> _Sample:
    here, velocities, accelerations = _moving([clip.positions for clip in clips], looks)
    confidence, seen = _seen(clips, looks)
    velocities = np.where(seen, np.clip(velocities, -_MAX_SPEED, _MAX_SPEED), 0)
    accelerations = np.where(seen, np.clip(accelerations, -_MAX_ACCELERATION, _MAX_ACCELERATION), 0)
    _, roots, _ = _around([clip.roots[:, :, None] for clip in clips], looks)
    here, velocities, accelerations, roots = (
        turned(found.reshape(1, -1, *found.shape[2:]), looks.yaws.ravel()).reshape(found.shape)
        for found in (here, velocities, accelerations, roots)
    )
    return _Sample(here, confidence, velocities, accelerations, roots)


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
    batch, looks = collate([clip], config), _look([clip], config, [None])
    # Sampling and differences are linear in time: how each frame weighs is what comes out of the unit vectors.
    units = np.eye(positions.shape[1], dtype=np.float32)[None, :, :, None]
    weights = [positions.new_tensor(part[0, :, :, 0]) for part in _moving([units], looks)]
    here, velocities, accelerations = (torch.einsum("ft,ptjc->pfjc", weight, positions) for weight in weights)
    seen = torch.from_numpy(_seen([clip], looks)[1][0])
    seen = seen.unflatten(1, (len(clip.positions), -1)).transpose(0, 1)
    velocities = torch.where(seen, velocities.clamp(-_MAX_SPEED, _MAX_SPEED), 0)
    accelerations = torch.where(seen, accelerations.clamp(-_MAX_ACCELERATION, _MAX_ACCELERATION), 0)
    pelvis = list(joints_of(clip.topology, "pelvis")) or list(range(clip.topology.num_joints))
    turn = positions.new_tensor(rotations_y(looks.yaws[0]))
    moved = {
        "joints": here,
        "velocities": velocities,
        "accelerations": accelerations,
        "roots": here[:, :, pelvis].mean(2, keepdim=True),
    }
    flat = {name: (value @ turn.mT).transpose(0, 1).flatten(1, 2)[None] for name, value in moved.items()}
    return replace(batch, **flat)


def _moving(values: Sequence[np.ndarray], looks: _Looks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places, velocities (m/s) and accelerations (m/s²) at the picked times."""
    past, here, future = _around(values, looks)
    return here, *_motion(past, here, future, looks.frames - looks.before, looks.after - looks.frames, looks.fps)


def _seen(clips: Sequence[PreparedClip], looks: _Looks) -> tuple[np.ndarray, np.ndarray]:
    """Confidence at the picked times, and whether a joint is seen before, at and after them, with a last axis of 1."""
    past, here, future = _around([clip.confidence for clip in clips], looks)
    return here, ((past > 0) & (here > 0) & (future > 0))[..., None]


def _turns(clips: Sequence[PreparedClip], sample: _Sample, looks: _Looks) -> list[np.ndarray]:
    """Turns of the joints: the file's, or found from the places for all such clips of a topology at once."""
    found: dict[int, np.ndarray] = {}
    alike: dict[Topology, list[int]] = {}
    for row, clip in enumerate(clips):
        if clip.turns is None:
            alike.setdefault(clip.topology, []).append(row)
        else:
            turns = _unit(_at(clip.turns, looks.frames[row]))
            found[row] = _flat(turned_rotations(turns, looks.yaws[row]))
    for topology, rows in alike.items():
        counts = [len(clips[row].positions) for row in rows]
        positions, confidence = (
            np.concatenate(
                [_by_person(values[row], num, topology.num_joints) for row, num in zip(rows, counts, strict=True)]
            )
            for values in (sample.joints, sample.confidence)
        )
        turns = joint_turns(positions, confidence, topology)
        for row, part in zip(rows, np.split(turns, np.cumsum(counts)[:-1]), strict=True):
            found[row] = _flat(part)
    return [found[row] for row in range(len(clips))]


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


def _around(values: Sequence[np.ndarray], looks: _Looks) -> np.ndarray:
    """Each clip's `[persons, frames, joints, ...]` a little before, at and a little after the picked times, linearly.

    Returns:
        `[3, batch, frames, persons * joints, ...]`.
    """
    # All clips at once: for so little data it is the number of calls that costs.
    when = np.stack((looks.before, looks.frames, looks.after))
    start = when.astype(int)
    share = (when - start).astype(np.float32)
    whole = np.concatenate((start, np.minimum(start + 1, looks.last))).swapaxes(0, 1)
    found = [_flat(np.take(own, frames.ravel(), 1)) for own, frames in zip(values, whole, strict=True)]
    found = _side_by_side(found).reshape(len(values), 2, 3, when.shape[2], -1, *values[0].shape[3:])
    before, after = found.transpose(1, 2, 0, *range(3, found.ndim))
    return before + (after - before) * share.reshape(*share.shape, *[1] * (before.ndim - 3))


def _motion(
    past: np.ndarray, here: np.ndarray, future: np.ndarray, back: np.ndarray, ahead: np.ndarray, fps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Velocities (m/s) and accelerations (m/s²) from three places; one-sided or zero at the ends of the clip."""
    back_s, ahead_s = ((span / fps).astype(np.float32)[..., None, None] for span in (back, ahead))
    least = np.float32(1e-6)
    velocities = (future - past) / np.maximum(back_s + ahead_s, least)
    change = (future - here) / np.maximum(ahead_s, least) - (here - past) / np.maximum(back_s, least)
    accelerations = np.where((back_s > 1e-3) & (ahead_s > 1e-3), 2 * change / np.maximum(back_s + ahead_s, least), 0)
    return velocities, accelerations


def _unit(turns: np.ndarray) -> np.ndarray:
    return turns / np.sqrt((turns**2).sum(-1, keepdims=True))


def _flat(values: np.ndarray) -> np.ndarray:
    """`[persons, frames, joints, ...]` to `[frames, persons * joints, ...]`."""
    moved = np.swapaxes(values, 0, 1)
    return moved.reshape(moved.shape[0], -1, *moved.shape[3:]).astype(np.float32, copy=False)


def _by_person(values: np.ndarray, num_persons: int, num_joints: int) -> np.ndarray:
    """`[frames, persons * joints, ...]`, perhaps padded, to `[persons, frames, joints, ...]`."""
    own = values[:, : num_persons * num_joints]
    return own.reshape(len(values), num_persons, num_joints, *values.shape[2:]).swapaxes(0, 1)


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
