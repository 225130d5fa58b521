"""The paper's released renderer: its weights, read from their file, and its picture, for comparison.

Everything is as its authors draw it and not as DrAction does: metres of the sensor as they are, a camera at the sensor with
60 degrees, no rotations, joints that know no body part. So it draws NTU's 25 joints only.

Letters: P persons, G the 265 Gaussians of one person.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from skeletonllm.errors import CheckpointError, DataError
from skeletonllm.render.batch import Chance, RenderBatch, generator_of_each, layout_of, padded, pick_times
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.gaussians import GaussianCloud
from skeletonllm.render.prepare import PreparedClip
from skeletonllm.render.renderer import Renderer
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import fill_unseen
from skeletonllm.skeleton.topologies import TOPOLOGIES

_TOPOLOGY = TOPOLOGIES["kinect_v2_25"]
_PER_BONE = 10
_GAUSSIANS = _TOPOLOGY.num_joints + _PER_BONE * len(_TOPOLOGY.bones)
_MAX_PERSONS = 2
# A velocity is how far a joint moves in four frames of 30 a second.
_VELOCITY_S = 4 / 30
_FIELD_OF_VIEW = math.radians(60)
_LOW_PASS = 1e-5
# No sensor sees what is nearer, and no picture what lies farther aside (in depths) or away.
_NEAREST_M = 0.2
_MOST_ASIDE = 8.0
_FARTHEST_M = 1000.0
# Farther from its centre than this, in standard deviations, a Gaussian adds less than 1e-13 to a pixel.
_REACH = 7.75
# A Gaussian that hangs by more than this on a joint without a place has no place either.
_HANGS = 0.01
# Nothing beyond this is a weight; one released file holds numbers of 1e34.
_LARGEST_WEIGHT = 1e4
# Pixels are composited in squares of so many, each with the Gaussians that reach it.
_TILE_PX = 32

_SHAPES = {
    "appearance_head.0.weight": (64, 3),
    "appearance_head.0.bias": (64,),
    "appearance_head.2.weight": (4, 64),
    "appearance_head.2.bias": (4,),
    "nfm.0.weight": (64, 10),
    "nfm.0.bias": (64,),
    "nfm.2.weight": (5, 64),
    "nfm.2.bias": (5,),
    "canonical_features": (_GAUSSIANS, 3),
    "canonical_joints": (_TOPOLOGY.num_joints, 3),
    "canonical_means": (_GAUSSIANS, 3),
    "canonical_quats": (_GAUSSIANS, 4),
    "canonical_scales": (_GAUSSIANS, 3),
    "lbs_weights_logits": (_GAUSSIANS, _TOPOLOGY.num_joints),
    "depth_mix_logit": (),
}


class PaperRenderer(Renderer):
    """What the paper's public code draws with the weights of a file.

    Where a recording is not whole it differs, because the public code draws a joint at (0, 0, 0), on the sensor, over the
    whole picture: here an unseen joint of somebody who is seen is held in time, and what has no place is not drawn. Of
    several bodies a clip holds those that its reader took for people, not the first two of the file.

    Source: arXiv 2603.18003 and its released weights (`skeletonllm-draction-v1`).

    Raises:
        CheckpointError: the file cannot be read, or does not hold these weights.
    """

    skinning: Tensor
    offsets: Tensor
    covariances: Tensor

    def __init__(self, config: RenderConfig) -> None:
        super().__init__(config)
        weights = read_weights(Path(config.paper_weights))
        self.appearance_head = _mlp(weights, "appearance_head")
        self.nfm = _mlp(weights, "nfm")
        self.features = nn.Parameter(weights["canonical_features"])
        self.depth_mix = nn.Parameter(weights["depth_mix_logit"].reshape(1))
        skinning = weights["lbs_weights_logits"].softmax(-1)
        self.register_buffer("skinning", skinning)
        # Without rotations a Gaussian stays where it was beside the mean of its joints.
        self.register_buffer("offsets", weights["canonical_means"] - skinning @ weights["canonical_joints"])
        axes = _rotation(weights["canonical_quats"]) * weights["canonical_scales"][:, None]
        self.register_buffer("covariances", axes @ axes.mT)

    def prepare(self, clip: Clip) -> PreparedClip:
        """The clip as the sensor saw it.

        Raises:
            DataError: it does not have NTU's joints.
        """
        if clip.topology != _TOPOLOGY:
            raise DataError(
                f"clip {clip.clip_id}: topology {clip.topology.name}, but the paper's renderer draws {_TOPOLOGY.name} "
                "only; choose another renderer"
            )
        positions = np.clip(clip.positions[:_MAX_PERSONS], -_FARTHEST_M, _FARTHEST_M)
        confidence = clip.confidence[:_MAX_PERSONS]
        seen = confidence > 0
        depths = positions[seen, 2]
        if len(depths) and abs(float(np.median(depths))) < 0.5:
            positions = positions + np.array((0, 0, 1), np.float32)
        placed = np.any(seen, axis=1)[:, None] & np.any(seen, axis=2)[..., None]
        positions = np.where(placed[..., None], fill_unseen(positions, confidence), 0)
        return PreparedClip(
            topology=clip.topology,
            positions=positions,
            confidence=placed.astype(np.float32),
            roots=positions[:, :, 0],
            turns=None,
            fps=clip.fps,
            center_m=np.zeros(3, np.float32),
            half_width_m=np.float32(1),
        )

    def collate(self, clips: Sequence[Clip | PreparedClip], generator: Chance = None) -> RenderBatch:
        """One recorded frame from each equal segment of the clip."""
        prepared = [clip if isinstance(clip, PreparedClip) else self.prepare(clip) for clip in clips]
        frames = [
            np.rint(pick_times(clip.positions.shape[1] - 1, self.config.num_frames, own)).astype(int)
            for clip, own in zip(prepared, generator_of_each(generator, len(clips)), strict=True)
        ]
        return self.collate_at(prepared, frames)

    def collate_at(self, clips: Sequence[PreparedClip], frames: Sequence[np.ndarray]) -> RenderBatch:
        """The given frames of each clip, by number."""
        rows = [_row(*parts) for parts in zip(clips, frames, strict=True)]
        return RenderBatch(**{name: padded([row[name] for row in rows]) for name in rows[0]})

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame, in metres of the sensor."""
        joints, velocities = (_by_person(value) for value in (batch.joints, batch.velocities))
        places = self.skinning @ joints
        speeds = self.skinning @ (velocities * _VELOCITY_S)
        means = places + self.offsets
        base = self.appearance_head(self.features).expand(*places.shape[:-1], 4)
        changes = self.nfm(torch.cat((places, speeds, base), -1))
        learned = (torch.sigmoid(base[..., :3]) + changes[..., :3]).clamp(0, 1)
        opacities = torch.sigmoid(torch.sigmoid(base[..., 3]) + changes[..., 3]) * torch.sigmoid(changes[..., 4])
        nowhere = (_by_person(batch.confidence[..., None]) <= 0).to(means)
        seen = (self.skinning @ nowhere)[..., 0] < _HANGS
        mix = torch.sigmoid(self.depth_mix)
        colors = (1 - mix) * learned + mix * _depth_ramp(means[..., 2], seen)
        scale = self.covariances.diagonal(dim1=-2, dim2=-1).mean(-1).sqrt().expand(means.shape[:-1])
        return GaussianCloud(
            means=means.flatten(2, 3),
            axes=torch.zeros_like(means).flatten(2, 3),
            scale_across=scale.flatten(2, 3),
            scale_along=scale.flatten(2, 3),
            opacities=torch.where(seen, opacities, 0).flatten(2, 3),
            colors=colors.flatten(2, 3),
        )

    def forward(self, batch: RenderBatch) -> Float[Tensor, "batch frames 3 height width"]:
        """Frames in [0, 1] on black."""
        size = self.config.size_px
        with torch.autocast(batch.joints.device.type, enabled=False):
            cloud = self.cloud(batch)
            persons = cloud.means.shape[2] // _GAUSSIANS
            order = cloud.means[..., 2].detach().argsort(dim=-1, stable=True)
            means2d, conics, reach = _project(cloud.means, self.covariances.repeat(persons, 1, 1), size)
            reach = torch.where(cloud.opacities[..., None] > 0, reach, -1)
            parts = [
                value.gather(2, order[..., None].expand_as(value)).flatten(0, 1)
                for value in (means2d, conics, cloud.colors, cloud.opacities[..., None], reach)
            ]
            frames = [_composite(frame, size) for frame in zip(*parts, strict=True)]
            return torch.stack(frames).view(*cloud.means.shape[:2], 3, size, size)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The released weights of a file, as float32.

    Raises:
        CheckpointError: it cannot be read, or a tensor is missing, of another shape, or holds what is no weight.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); give a .safetensors file of the paper") from error
    weights = {}
    for name, shape in _SHAPES.items():
        if name not in stored:
            raise CheckpointError(f"{path}: no tensor {name!r}; give a file of the paper's renderer with its modulator")
        if tuple(stored[name].shape) != shape:
            raise CheckpointError(f"{path}: {name} has shape {tuple(stored[name].shape)}, must be {shape}")
        weights[name] = stored[name].float()
        largest = float(weights[name].abs().max())
        if not largest < _LARGEST_WEIGHT:
            raise CheckpointError(f"{path}: {name} holds {largest:.3g}, which is no weight; the file is damaged")
    return weights


def _mlp(weights: dict[str, Tensor], name: str) -> nn.Sequential:
    layers = []
    for number in (0, 2):
        weight, bias = weights[f"{name}.{number}.weight"], weights[f"{name}.{number}.bias"]
        layer = nn.Linear(weight.shape[1], weight.shape[0])
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _row(clip: PreparedClip, frames: np.ndarray) -> dict[str, np.ndarray]:
    """One row of the batch, by the names of its fields."""
    last = clip.positions.shape[1] - 1
    step = max(1, round(_VELOCITY_S * clip.fps))
    joints = clip.positions[:, frames]
    # At the end of the clip the public code divides by as much time as before.
    velocities = (clip.positions[:, np.minimum(frames + step, last)] - joints) * np.float32(clip.fps / step)
    flat = [np.swapaxes(value, 0, 1).reshape(len(frames), -1, 3) for value in (joints, velocities)]
    confidence = np.swapaxes(clip.confidence[:, frames], 0, 1).reshape(len(frames), -1)
    none = np.zeros_like(flat[0])
    return {
        "joints": flat[0],
        "confidence": confidence,
        "velocities": flat[1],
        "accelerations": none,
        "turns": np.concatenate((np.ones_like(none[..., :1]), none), -1),
        "roots": np.swapaxes(clip.roots[:, frames], 0, 1),
        "phase": (frames / max(1, last)).astype(np.float32),
        "times_s": (frames / clip.fps).astype(np.float32),
        **layout_of(clip.topology, _PER_BONE, len(clip.positions)),
        "center_m": np.zeros((len(frames), 3), np.float32),
        "half_width_m": np.ones(len(frames), np.float32),
    }


def _by_person(values: Float[Tensor, "batch frames joints size"]) -> Float[Tensor, "batch frames persons each size"]:
    return values.unflatten(2, (-1, _TOPOLOGY.num_joints))


def _depth_ramp(
    depth: Float[Tensor, "batch frames persons gaussians"], seen: Bool[Tensor, "batch frames persons gaussians"]
) -> Float[Tensor, "batch frames persons gaussians 3"]:
    """Over each person's own depths in each frame: near is blue, the middle green, far red."""
    low = torch.where(seen, depth, _FARTHEST_M).amin(-1, keepdim=True)
    high = torch.where(seen, depth, -_FARTHEST_M).amax(-1, keepdim=True)
    share = ((depth - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    return torch.stack((share, 1 - 2 * (share - 0.5).abs(), 1 - share), -1)


def _rotation(quaternions: Float[Tensor, "gaussians 4"]) -> Float[Tensor, "gaussians 3 3"]:
    w, x, y, z = nn.functional.normalize(quaternions, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def _project(means: Tensor, covariances: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres, pixels, whose first is 0; inverse covariances (xx, xy, yy); how far each reaches, -1 where out of sight."""
    focal = size / 2 / math.tan(_FIELD_OF_VIEW / 2)
    x, y, z = means.unbind(-1)
    in_sight = (z > _NEAREST_M) & (torch.maximum(x.abs(), y.abs()) < _MOST_ASIDE * z)
    x, y, z = torch.where(in_sight, x, 0), torch.where(in_sight, y, 0), torch.where(in_sight, z, 1)
    means2d = torch.stack((focal * x / z, -focal * y / z), -1) + size / 2
    none = torch.zeros_like(z)
    rows = (
        torch.stack((focal / z, none, -focal * x / z**2), -1),
        torch.stack((none, -focal / z, focal * y / z**2), -1),
    )
    jacobian = torch.stack(rows, -2)
    seen = jacobian @ covariances @ jacobian.mT
    xx, xy, yy = seen[..., 0, 0] + _LOW_PASS, seen[..., 0, 1], seen[..., 1, 1] + _LOW_PASS
    conics = torch.stack((yy, -xy, xx), -1) / (xx * yy - xy * xy)[..., None]
    reach = _REACH * torch.stack((xx, yy), -1).detach().sqrt()
    return means2d, conics, torch.where(in_sight[..., None], reach, -1)


def _composite(frame: Sequence[Tensor], size: int) -> Float[Tensor, "3 size size"]:
    """One frame, front to back, a square of pixels at a time; what it keeps for the gradient is worked out again.

    Args:
        frame: centres, inverse covariances, colours, opacities and reach of the Gaussians, the nearest first.
        size: pixels.
    """
    *drawn_with, reach = frame
    means2d = drawn_with[0]
    low, high = (means2d.detach() - reach, means2d.detach() + reach)
    drawn = (reach >= 0).all(-1)
    rows = []
    for top in range(0, size, _TILE_PX):
        bottom, row = min(top + _TILE_PX, size), []
        in_row = drawn & (low[:, 1] < bottom) & (high[:, 1] >= top)
        for left in range(0, size, _TILE_PX):
            right = min(left + _TILE_PX, size)
            some = (in_row & (low[:, 0] < right) & (high[:, 0] >= left)).nonzero()[:, 0]
            parts = [part[some] for part in drawn_with]
            place = (left, right, top, bottom)
            row.append(checkpoint(_tile, *parts, place, use_reentrant=False, preserve_rng_state=False))
        rows.append(torch.cat(row, 2))
    return torch.cat(rows, 1)


def _tile(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, place: tuple[int, int, int, int]
) -> Float[Tensor, "3 height width"]:
    """Some pixels: alpha = 1 - exp(-opacity exp(-d²/2)), so the light that passes is a sum in the exponent."""
    left, right, top, bottom = place
    x = torch.arange(left, right, device=means2d.device, dtype=means2d.dtype)
    y = torch.arange(top, bottom, device=means2d.device, dtype=means2d.dtype)
    dx, dy = (x - means2d[:, :1])[:, None], (y - means2d[:, 1:])[..., None]
    a, b, c = conics[:, :, None, None].unbind(1)
    across = 0.5 * a * dx**2 + b * dx * dy + 0.5 * c * dy**2
    depth = opacities[..., None] * torch.exp(-across)
    before = depth.cumsum(0) - depth
    weight = torch.exp(-before) * -torch.expm1(-depth)
    return torch.einsum("ghw,gc->chw", weight, colors)
