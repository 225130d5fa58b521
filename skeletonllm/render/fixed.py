"""Renderers that do not learn, for comparison, through the same camera and rasteriser."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from skeletonllm.render.batch import Chance, RenderBatch, collate
from skeletonllm.render.camera import fit_to_clip
from skeletonllm.render.gaussians import MAX_OPACITY, GaussianCloud, on_limbs
from skeletonllm.render.prepare import PreparedClip
from skeletonllm.render.renderer import Renderer, draw
from skeletonllm.render.skinning import skin
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topology import SIDES

# Left, center, right.
_COLORS = ((1.0, 0.45, 0.15), (0.9, 0.9, 0.9), (0.2, 0.5, 1.0))
# The speed, on the canonical body, whose colour lies in the middle: that of a hand that waves slowly.
_MIDDLING_M_PER_S = 1.0
# Trajectories are drawn through so many places.
_SAMPLES = 96
_LEAST_LENGTH_M = 1e-4
# Keeps slopes finite where nothing moves.
_TINY = 1e-8


class Skeleton2D(Renderer):
    """Bones as lines of one colour per side: what a plot of the skeleton shows. No depth, no speed, no weights."""

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame."""
        limbs = skin(batch)
        shape = limbs.confidence.shape
        colors = limbs.means.new_tensor(_COLORS)[batch.side][:, None].expand(*shape, 3)
        thickness = torch.full_like(limbs.confidence, 0.6 * self.config.thickness_m)
        return on_limbs(limbs, thickness, torch.full_like(thickness, 0.95), colors, self.config.gaussians_per_bone)


class Skeleton3DVelocity(Renderer):
    """Bones in depth, coloured by their speed: blue is still, red is fast, near is light and far is dark. No weights.

    Hue goes along the rainbow with v² / (v² + 1), v in m/s: a sensor's jitter stays blue, 1 m/s is green, 3 m/s nearly red.
    Light falls to 0.4 over the depth of the view, and what is nearer hides what is behind. The paper compares with a
    "3D+Velocity" picture and does not say how it is made; this one is ours.
    """

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame."""
        limbs = skin(batch)
        square = limbs.velocities.square().sum(-1) / _MIDDLING_M_PER_S**2
        near = torch.sigmoid(4 * limbs.depth)[..., None]
        colors = (0.2 + 0.8 * rainbow(square / (1 + square))) * (0.4 + 0.6 * near)
        thickness = torch.full_like(limbs.confidence, 0.8 * self.config.thickness_m)
        return on_limbs(limbs, thickness, torch.full_like(thickness, 0.95), colors, self.config.gaussians_per_bone)


class JointTrajectoryMaps(Renderer):
    """The paths of all joints from the start to each frame: a third of the frames from the front, the side and above.

    Hue is time: along the rainbow for the right side, backwards for the left, grey for the middle; light and saturation
    rise with speed. Where paths cross, the later one lies above. No weights.

    Source: Wang et al., Action Recognition Based on Joint Trajectory Maps Using Convolutional Neural Networks (2016); here
    a map grows from frame to frame, because a model sees several.
    """

    def collate(self, clips: Sequence[Clip | PreparedClip], generator: Chance = None) -> RenderBatch:
        """Many places of each path, not only those at the frames' times, and a view that is wide enough for all planes."""
        batch = collate(clips, replace(self.config, num_frames=_SAMPLES, num_views=1, view="fitted"), generator)
        bodies = zip(batch.joints.numpy(), batch.confidence.numpy(), strict=True)
        deep = [float(fit_to_clip(joints[None, ..., ::-1], confidence[None])[1]) for joints, confidence in bodies]
        return replace(batch, half_width_m=torch.maximum(batch.half_width_m, torch.tensor(deep)[:, None]))

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """A Gaussian for each step of each path; those after the frame have opacity 0."""
        start, end = batch.joints[:, :-1], batch.joints[:, 1:]
        way = end - start
        length = (way.square().sum(-1) + _TINY**2).sqrt()
        speed = length / (batch.times_s[:, 1:] - batch.times_s[:, :-1]).clamp_min(1e-6)[..., None]
        # Relative to the fastest step of the clip.
        pace = (speed / speed.amax((1, 2), keepdim=True).clamp_min(1e-6) + _TINY).sqrt()
        colors = self._colors(batch, pace)
        seen = batch.confidence[:, :-1] * batch.confidence[:, 1:] * (length > _LEAST_LENGTH_M)
        axes = way / length.clamp_min(_LEAST_LENGTH_M)[..., None]
        thickness = 0.3 * self.config.thickness_m
        return self._in_planes(batch, (start + end) / 2, axes, thickness + 0.3 * length, thickness, seen, colors)

    def forward(self, batch: RenderBatch) -> Float[Tensor, "batch frames 3 height width"]:
        """Frames in [0, 1] on black."""
        center = torch.zeros(len(batch), self.config.num_frames, 3, device=batch.joints.device)
        half_width = batch.half_width_m[:, :1].expand(center.shape[:2])
        with torch.autocast(batch.joints.device.type, enabled=False):
            return draw(self.cloud(batch), center, half_width, replace(self.config, camera="orthographic"))

    def _colors(self, batch: RenderBatch, pace: Tensor) -> Tensor:
        time = batch.phase[:, 1:, None].expand(pace.shape)
        side = batch.side.gather(1, _own_gaussian(batch))[:, None, :, None]
        hue = torch.where(side == SIDES.index("right"), rainbow(time), rainbow(1 - time))
        hue = torch.where(side == SIDES.index("center"), (0.3 + 0.6 * time)[..., None].expand_as(hue), hue)
        strength = (0.35 + 0.65 * pace)[..., None]
        return strength * (strength * hue + (1 - strength) * 0.8)

    def _in_planes(
        self,
        batch: RenderBatch,
        means: Tensor,
        axes: Tensor,
        along: Tensor,
        across: float,
        seen: Tensor,
        colors: Tensor,
    ) -> GaussianCloud:
        frames = self.config.num_frames
        plane = torch.arange(frames) * 3 // frames
        place = torch.stack([(plane[:frame] == plane[frame]).sum() for frame in range(frames)])
        share = (place + 1) / torch.stack([(plane == one).sum() for one in plane])
        means = means - batch.center_m[:, :1, None]
        views = [_plane(means.flatten(1, 2), int(one)) for one in plane]
        ways = [_plane(axes.flatten(1, 2), int(one)) for one in plane]
        time = batch.phase[:, 1:, None].expand(seen.shape).flatten(1)
        # Only the order depends on depth: later is nearer.
        flat = [torch.cat((view[..., :2], 0.2 * time[..., None]), -1) for view in views]
        drawn = time[:, None] <= share.to(time)[None, :, None] + 1e-6
        shape = drawn.shape
        return GaussianCloud(
            torch.stack(flat, 1),
            torch.stack(ways, 1),
            torch.full(shape, across, dtype=means.dtype, device=means.device),
            along.flatten(1)[:, None].expand(shape),
            (MAX_OPACITY * seen.flatten(1))[:, None] * drawn,
            colors.flatten(1, 2)[:, None].expand(*shape, 3),
        )


def rainbow(share: Float[Tensor, "*places"]) -> Float[Tensor, "*places 3"]:
    """Bright colours from blue (0) over green to red (1)."""
    peaks = share.new_tensor((4.0, 2.0, 0.0))
    return (2 - (4 * share[..., None] - peaks).abs()).clamp(0, 1)


def _plane(vectors: Tensor, number: int) -> Tensor:
    """As seen from the front (0), from the person's left (1), from above (2)."""
    x, y, z = vectors.unbind(-1)
    return torch.stack(((x, y, z), (-z, y, x), (x, -z, y))[number], -1)


def _own_gaussian(batch: RenderBatch) -> Tensor:
    """The number of the Gaussian that sits on each joint, `[batch, joints]`; padding gets any."""
    on_joint = (batch.parent == batch.child) & batch.present
    index = torch.zeros(len(batch), batch.joints.shape[2], dtype=torch.long, device=batch.parent.device)
    numbers = torch.arange(batch.parent.shape[1], device=index.device).expand_as(batch.parent)
    joints = torch.where(on_joint, batch.parent, index.shape[1])
    return torch.cat((index, index[:, :1]), 1).scatter(1, joints, numbers)[:, :-1]
