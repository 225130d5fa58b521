"""DrAction, the renderer that learns what to show.

Clip -> canonical body -> Gaussians on the bones -> skinning -> modulation -> projection -> splat -> frames in [0, 1].
"""

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.gaussians import GaussianCloud, on_limbs
from skeletonllm.render.modulator import Modulator
from skeletonllm.render.renderer import Renderer
from skeletonllm.render.skinning import skin


class DrAction(Renderer):
    """The renderer that learns what to show.

    Source: arXiv 2603.18003, sections 3.1 and 3.2, with the differences that DESIGN of this project names.
    """

    def __init__(self, config: RenderConfig) -> None:
        super().__init__(config)
        self.modulator = Modulator(config)

    def cloud(self, batch: RenderBatch) -> GaussianCloud:
        """The Gaussians of every frame, coloured and weighted by the modulator."""
        limbs = skin(batch, self.modulator.rest_offsets(batch))
        look = self.modulator(batch, limbs)
        thickness = self.config.thickness_m * look.scale
        return on_limbs(limbs, thickness, look.opacities, look.colors, self.config.gaussians_per_bone)
