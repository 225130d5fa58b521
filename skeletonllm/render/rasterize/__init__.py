"""Gaussians in the image plane to pixels, behind one signature. A backend is named by the caller, never swapped."""

import functools
import logging
import math
from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor

from skeletonllm.errors import BackendError

logger = logging.getLogger(__name__)


def rasterize(
    means2d: Float[Tensor, "*images gaussians 2"],
    conics: Float[Tensor, "*images gaussians 3"],
    colors: Float[Tensor, "*images gaussians channels"],
    opacities: Float[Tensor, "*images gaussians"],
    order_key: Int64[Tensor, "*images gaussians"],
    height: int,
    width: int,
    backend: str = "reference",
) -> tuple[Float[Tensor, "*images channels height width"], Float[Tensor, "*images height width"]]:
    """Composite Gaussians front to back, each image by itself; images stand on any number of leading axes.

    The image formation is gsplat's: alpha = min(0.999, opacity * exp(-sigma)) with sigma = half the squared Mahalanobis
    distance from the pixel's centre, alphas below 1/255 are left out, and a pixel is done when less than 1e-4 of the light
    passes.

    Args:
        means2d: pixels; the centre of the first pixel is (0.5, 0.5).
        conics: inverse covariances (xx, xy, yy), 1/pixel².
        colors: 0 to 1.
        opacities: 0 to 1; 0 is left out.
        order_key: smaller is in front. Whole numbers, because ties and rounding of depths change pictures.
        height: pixels.
        width: pixels.
        backend: `reference`, plain torch of any type on any device; `cpu`, the fast kernel; `gsplat`, for CUDA; `auto`,
            which takes `gsplat` for tensors on a GPU, else `cpu`, and says so in the log.

    Returns:
        The image on black, and how much of each pixel is covered.

    Raises:
        BackendError: no such backend, or it cannot work here.
    """
    composite = _composite_of(backend, means2d.device.type)
    images = opacities.shape[:-1]
    count, gaussians = math.prod(images), opacities.shape[-1]
    image, alpha = composite(
        means2d.reshape(count, gaussians, 2),
        conics.reshape(count, gaussians, 3),
        colors.reshape(count, gaussians, colors.shape[-1]),
        opacities.reshape(count, gaussians),
        order_key.reshape(count, gaussians),
        height,
        width,
    )
    return image.reshape(*images, *image.shape[1:]), alpha.reshape(*images, height, width)


def _composite_of(backend: str, device: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """The function of a backend; imported when it is asked for, because each needs something that may not be there."""
    if backend == "auto":
        backend = _choice(device)
    if backend == "reference":
        from skeletonllm.render.rasterize.reference import composite
    elif backend == "cpu":
        from skeletonllm.render.rasterize.cpu import composite
    elif backend == "gsplat":
        from skeletonllm.render.rasterize.cuda import composite
    else:
        raise BackendError(
            f"rasteriser {backend!r} is not known; set render.backend to 'cpu', 'gsplat', 'reference' or 'auto'"
        )
    return composite


@functools.cache
def _choice(device: str) -> str:
    backend = "gsplat" if device == "cuda" else "cpu"
    logger.info("rasteriser 'auto': tensors are on %s, so it is %r", device, backend)
    return backend
