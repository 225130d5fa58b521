"""Renderers that do not learn, for comparison, through the same camera and rasteriser."""

import torch

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.gaussians import GaussianCloud, on_limbs
from skeletonllm.render.renderer import Renderer
from skeletonllm.render.skinning import skin

# Left, center, right.
_COLORS = ((1.0, 0.45, 0.15), (0.9, 0.9, 0.9), (0.2, 0.5, 1.0))


class Skeleton2D(Renderer):
    """Bones as lines of one colour per side: what a plot of the skeleton shows. No depth, no speed, no weights."""

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame."""
        limbs = skin(batch)
        shape = limbs.confidence.shape
        colors = limbs.means.new_tensor(_COLORS)[batch.side][:, None].expand(*shape, 3)
        thickness = torch.full_like(limbs.confidence, 0.6 * self.config.thickness_m)
        return on_limbs(limbs, thickness, torch.full_like(thickness, 0.95), colors, self.config.gaussians_per_bone)
