"""Clips to frames: DrAction and the fixed renderers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skeletonllm.render.draction import Renderer as Renderer
    from skeletonllm.render.draction import build_renderer as build_renderer

__all__ = ["Renderer", "build_renderer"]


def __getattr__(name: str) -> Any:
    # Late, so that recipes can read `render.config` without importing torch.
    if name in __all__:
        from skeletonllm.render import draction

        return getattr(draction, name)
    raise AttributeError(name)
