"""Clips to frames: DrAction, the fixed renderers, and the paper's own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skeletonllm.render.config import RenderConfig
    from skeletonllm.render.renderer import Renderer


def build_renderer(config: "RenderConfig") -> "Renderer":
    """The renderer that the configuration names."""
    # Late, so that recipes can read `render.config` without importing torch.
    if config.renderer == "draction":
        from skeletonllm.render.draction import DrAction

        return DrAction(config)
    if config.renderer == "paper":
        from skeletonllm.render.paper import PaperRenderer

        return PaperRenderer(config)
    from skeletonllm.render.fixed import JointTrajectoryMaps, Skeleton2D, Skeleton3DVelocity

    fixed = {"skeleton_2d": Skeleton2D, "skeleton_3d_velocity": Skeleton3DVelocity, "jtm": JointTrajectoryMaps}
    return fixed[config.renderer](config)
