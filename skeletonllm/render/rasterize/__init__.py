"""Gaussians in the image plane to pixels, behind one signature. A backend is named by the caller, never swapped."""

import functools
import importlib
import logging
import math
from collections.abc import Callable

from jaxtyping import Float, Int64
from torch import Tensor

from skeletonllm.errors import BackendError

BACKENDS = ("reference", "cpu", "gsplat")
_log = logging.getLogger(__name__)


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
        backend: `reference`, plain torch, any device and dtype; `cpu`, a fast kernel, float32; `gsplat`, float32 on a GPU;
            `auto`: `gsplat` for tensors on a GPU, else `cpu`.

    Returns:
        The image on black, and how much of each pixel is covered.

    Raises:
        BackendError: no such backend, it cannot be had on this machine, or it does not take such tensors.
    """
    images = opacities.shape[:-1]
    count, gaussians = math.prod(images), opacities.shape[-1]
    image, alpha = _composite(backend, means2d.device.type)(
        means2d.reshape(count, gaussians, 2),
        conics.reshape(count, gaussians, 3),
        colors.reshape(count, gaussians, colors.shape[-1]),
        opacities.reshape(count, gaussians),
        order_key.reshape(count, gaussians),
        height,
        width,
    )
    return image.reshape(*images, *image.shape[1:]), alpha.reshape(*images, height, width)


def _composite(backend: str, device: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """The backend's function; each is imported only when it is asked for."""
    if backend == "auto":
        backend = _choice(device)
    if backend not in BACKENDS:
        known = ", ".join(map(repr, BACKENDS))
        raise BackendError(f"rasteriser {backend!r} is not known; set render.backend to one of {known}, or to 'auto'")
    return importlib.import_module(f"{__name__}.{backend}").composite


@functools.cache
def _choice(device: str) -> str:
    backend = "gsplat" if device == "cuda" else "cpu"
    _log.info("rasteriser 'auto': %r for tensors on %s", backend, device)
    return backend
