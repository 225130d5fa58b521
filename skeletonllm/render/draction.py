"""DrAction, and what every renderer shares: clips in, frames out, differentiably.

Clip -> canonical body -> Gaussians on the bones -> skinning -> modulation -> projection -> splat -> frames in [0, 1].
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from skeletonllm.render.batch import RenderBatch, collate
from skeletonllm.render.camera import project
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.gaussians import GaussianCloud, skin
from skeletonllm.render.modulator import Modulator
from skeletonllm.render.rasterize import rasterize
from skeletonllm.skeleton.clip import Clip

# Depths are compared in whole millimetres: finer differences are noise, and would change pictures between machines.
_KEYS_PER_M = 1000.0


class Renderer(nn.Module):
    """Clips to frames. What is drawn is said by `cloud`; how it is seen is the same for all renderers."""

    def __init__(self, config: RenderConfig) -> None:
        super().__init__()
        self.config = config

    def collate(self, clips: Sequence[Clip], generator: torch.Generator | None = None) -> RenderBatch:
        """Clips as one padded batch; with a generator (training) times are jittered, else it is deterministic."""
        return collate(clips, self.config, generator)

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame."""
        raise NotImplementedError

    def forward(self, batch: RenderBatch) -> Float[Tensor, "batch frames 3 height width"]:
        """Frames in [0, 1] on black."""
        with torch.autocast(batch.joints.device.type, enabled=False):
            cloud = self.cloud(batch)
            return draw(cloud, batch, self.config)


class DrAction(Renderer):
    """The renderer that learns what to show.

    Source: arXiv 2603.18003, sections 3.1 and 3.2, with the differences that DESIGN of this project names.
    """

    def __init__(self, config: RenderConfig) -> None:
        super().__init__(config)
        self.modulator = Modulator(config.hidden, config.modulator)

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame, coloured and weighted by the modulator."""
        limbs = skin(batch, self.modulator.rest_offsets(batch))
        look = self.modulator(batch, limbs)
        across = self.config.thickness_m * look.scale
        # Neighbours along a bone stand length / (n + 1) apart; 0.6 of that makes an even limb.
        along = across + 0.6 * limbs.length_m / (self.config.gaussians_per_bone + 1)
        return GaussianCloud(limbs.means, limbs.axes, across, along, look.opacities, look.colors)


def draw(
    cloud: GaussianCloud, batch: RenderBatch, config: RenderConfig
) -> Float[Tensor, "batch frames 3 height width"]:
    """Project and composite the Gaussians of every frame; all persons of a clip in one depth order."""
    means2d, conics, depth = project(
        cloud.means,
        cloud.axes,
        cloud.scale_across,
        cloud.scale_along,
        batch.center_m,
        batch.half_width_m,
        config.size_px,
        config.camera,
    )
    keys = (depth.detach().nan_to_num(0, 0, 0).clamp(-1e6, 1e6) * _KEYS_PER_M).round().long()
    opacities = torch.where(depth > 0, cloud.opacities, 0) if config.camera == "perspective" else cloud.opacities
    shape = depth.shape[:2]
    image, _ = rasterize(
        means2d.flatten(0, 1),
        conics.flatten(0, 1),
        cloud.colors.flatten(0, 1),
        opacities.flatten(0, 1),
        keys.flatten(0, 1),
        config.size_px,
        config.size_px,
        config.backend,
    )
    return image.unflatten(0, shape).clamp(0, 1)


def build_renderer(config: RenderConfig) -> Renderer:
    """The renderer that the configuration names."""
    if config.renderer == "draction":
        return DrAction(config)
    from skeletonllm.render.fixed import Skeleton2D

    return Skeleton2D(config)
