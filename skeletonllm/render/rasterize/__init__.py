"""Gaussians in the image plane to pixels, behind one signature. A backend is named by the caller, never swapped."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from skeletonllm.errors import BackendError


def rasterize(
    means2d: Float[Tensor, "images gaussians 2"],
    conics: Float[Tensor, "images gaussians 3"],
    colors: Float[Tensor, "images gaussians channels"],
    opacities: Float[Tensor, "images gaussians"],
    order_key: Int64[Tensor, "images gaussians"],
    height: int,
    width: int,
    backend: str = "reference",
) -> tuple[Float[Tensor, "images channels height width"], Float[Tensor, "images height width"]]:
    """Composite Gaussians front to back, each image by itself.

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
        backend: `reference`, plain torch.

    Returns:
        The image on black, and how much of each pixel is covered.

    Raises:
        BackendError: no such backend.
    """
    if backend != "reference":
        raise BackendError(f"rasteriser {backend!r} is not on this machine; this version has 'reference'")
    from skeletonllm.render.rasterize.reference import composite

    keys = order_key.to(torch.int64)
    return composite(means2d, conics, colors, opacities, keys, height, width)
