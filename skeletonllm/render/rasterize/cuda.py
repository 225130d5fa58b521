"""The rasteriser on CUDA: gsplat's kernels, one batched call for all images.

gsplat is imported for tensors on a GPU only: elsewhere it tries to compile its kernels.
"""

import math

import torch
from torch import Tensor

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import reference

_TILE = 16
_MIN_ALPHA = 1 / 255
_CHANNELS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32)


def composite(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, order_key: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """See `skeletonllm.render.rasterize.rasterize`; here the images stand on one axis.

    The image comes as a view with the channels last, as gsplat writes it. gsplat 1.5 caps alpha at 0.999 as the reference
    does, 1.6 at 0.99: opacities up to 0.98 are the same in both.

    Raises:
        BackendError: the tensors are not float32 on a CUDA device, or gsplat is not installed.

    Source: Ye et al., gsplat: An Open-Source Library for Gaussian Splatting (2024).
    """
    _check(means2d, conics, colors, opacities)
    try:
        from gsplat import isect_offset_encode, isect_tiles, rasterize_to_pixels
    except ImportError as error:
        raise BackendError(
            f"rasteriser 'gsplat' is not on this machine ({error}); install gsplat, or set render.backend to 'reference'"
        ) from error
    if not opacities.numel():
        return reference.composite(means2d, conics, colors, opacities, order_key, height, width)
    columns, rows = math.ceil(width / _TILE), math.ceil(height / _TILE)
    reached = radii(means2d, conics, opacities, height, width) * torch.isfinite(colors).all(-1, keepdim=True)
    _, tiles, gaussians = isect_tiles(means2d, reached, ranks(order_key), _TILE, columns, rows)
    offsets = isect_offset_encode(tiles, len(means2d), columns, rows)
    image, alpha = rasterize_to_pixels(
        means2d, conics, filled_up(colors), opacities, width, height, _TILE, offsets, gaussians
    )
    return image[..., : colors.shape[-1]].permute(0, 3, 1, 2), alpha[..., 0]


def filled_up(colors: Tensor) -> Tensor:
    """Colours with channels of 0 at the end, as many as the next number that every version of gsplat has compiled."""
    channels = colors.shape[-1]
    wanted = next((number for number in _CHANNELS if number >= channels), channels)
    return torch.nn.functional.pad(colors, (0, wanted - channels))


@torch.no_grad()
def radii(means2d: Tensor, conics: Tensor, opacities: Tensor, height: int, width: int) -> Tensor:
    """How far each Gaussian's alpha reaches 1/255 to each side, whole pixels, `[images, gaussians, 2]`; 0: not drawn."""
    a, b, c = conics.unbind(-1)
    determinant = a * c - b * b
    drawn = (opacities >= _MIN_ALPHA) & (a > 0) & (determinant > 0)
    drawn &= torch.isfinite(means2d).all(-1) & torch.isfinite(conics).all(-1) & torch.isfinite(opacities)
    reach = 2 * torch.log((255 * opacities).clamp_min(1))
    extent = torch.ceil((reach[..., None] * torch.stack((c, a), -1) / determinant[..., None]).sqrt() + 0.01)
    limit = means2d.new_tensor((width, height))
    drawn &= ((means2d + extent > 0) & (means2d - extent < limit)).all(-1)
    return torch.where(drawn[..., None], extent.clamp_max(2**20), 0).int()


@torch.no_grad()
def ranks(order_key: Tensor) -> Tensor:
    """Each Gaussian's place from front to back in its image, from 1; equal keys keep their order.

    gsplat sorts by the bits of a float32 depth, which whole numbers up to 2**24 survive exactly.
    """
    places = torch.empty_like(order_key)
    numbers = torch.arange(1, order_key.shape[1] + 1, device=order_key.device).expand_as(order_key)
    return places.scatter_(1, order_key.argsort(dim=1, stable=True), numbers).float()


def _check(*tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.dtype != torch.float32 or tensor.device.type != "cuda":
            raise BackendError(
                f"rasteriser 'gsplat' takes float32 on a CUDA device, not {tensor.dtype} on {tensor.device.type}; move the "
                "student to a GPU, or set render.backend to 'cpu'"
            )
