"""What every renderer shares: clips in, frames out, differentiably, through one camera and one rasteriser."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from skeletonllm.render.batch import Chance, RenderBatch, collate
from skeletonllm.render.camera import project
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.gaussians import GaussianCloud
from skeletonllm.render.prepare import PreparedClip
from skeletonllm.render.prepare import prepare as prepare_clip
from skeletonllm.render.rasterize import rasterize
from skeletonllm.skeleton.clip import Clip

# Depths are compared in whole millimetres: finer differences are noise, and would change pictures between machines.
_KEYS_PER_M = 1000.0


class Renderer(nn.Module):
    """Clips to frames. What is drawn is said by `cloud`; how it is seen is the same for all renderers."""

    def __init__(self, config: RenderConfig) -> None:
        super().__init__()
        self.config = config

    def prepare(self, clip: Clip) -> PreparedClip:
        """What does not change from step to step; a loop that draws a clip often keeps this in its place."""
        return prepare_clip(clip)

    def collate(self, clips: Sequence[Clip | PreparedClip], generator: Chance = None) -> RenderBatch:
        """Clips as one padded batch; with a generator, or one for each, times are jittered, else it is deterministic."""
        return collate(clips, self.config, generator)

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame."""
        raise NotImplementedError

    def forward(self, batch: RenderBatch) -> Float[Tensor, "batch frames 3 height width"]:
        """Frames in [0, 1] on black."""
        with torch.autocast(batch.joints.device.type, enabled=False):
            return draw(self.cloud(batch), batch.center_m, batch.half_width_m, self.config)


def draw(
    cloud: GaussianCloud,
    center_m: Float[Tensor, "batch frames 3"],
    half_width_m: Float[Tensor, "batch frames"],
    config: RenderConfig,
) -> Float[Tensor, "batch frames 3 height width"]:
    """Project and composite the Gaussians of every frame; all persons of a clip in one depth order.

    Args:
        cloud: Gaussians.
        center_m: what the camera looks at.
        half_width_m: how much it sees to each side.
        config: size, camera, backend.
    """
    seen = project(
        cloud.means,
        cloud.axes,
        cloud.scale_across,
        cloud.scale_along,
        center_m,
        half_width_m,
        config.size_px,
        config.camera,
    )
    keys = (seen.depth.detach() * _KEYS_PER_M).round().long()
    opacities = cloud.opacities * seen.fading() if config.antialiased else cloud.opacities
    if config.camera == "perspective":
        opacities = torch.where(seen.depth > 0, opacities, 0)
    size = config.size_px
    image, _ = rasterize(seen.means2d, seen.conics(), cloud.colors, opacities, keys, size, size, config.backend)
    return image
