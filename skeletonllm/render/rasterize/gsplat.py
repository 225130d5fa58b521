"""The rasteriser on a GPU: gsplat's CUDA kernels, one call for all images of all clips.

gsplat 1.5 caps alpha at 0.999 as the reference does, 1.6 at 0.99: with both, opacities up to 0.98 give the same picture.
"""

import math

import torch
from torch import Tensor

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import reference
from skeletonllm.render.rasterize.reference import depth_rank, half_extents

_TILE = 16
# What gsplat 1.5 and 1.6 both compile; other numbers are filled up.
_CHANNELS = (1, 2, 3, 4, 5, 8, 9, 16, 17, 32)
# Ranks are handed over as float32, which counts so far without a gap.
_MOST_GAUSSIANS = 2**24
_LARGEST_RADIUS = 2**24


def composite(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, order_key: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """See `skeletonllm.render.rasterize.rasterize`; here the images stand on one axis.

    The image is a view of gsplat's [images, H, W, C]: contiguous in torch.channels_last.

    Raises:
        BackendError: no CUDA, tensors not float32 on a GPU, or gsplat cannot be imported.
    """
    _check(means2d, colors)
    from gsplat import isect_offset_encode, isect_tiles, rasterize_to_pixels

    images, gaussians, channels = colors.shape
    if not images * gaussians:
        return reference.composite(means2d, conics, colors, opacities, order_key, height, width)
    columns, rows = math.ceil(width / _TILE), math.ceil(height / _TILE)
    radii = whole_radii(half_extents(means2d, conics, colors, opacities))
    _, tile_ids, gaussian_ids = isect_tiles(means2d, radii, depth_rank(order_key).float(), _TILE, columns, rows)
    offsets = isect_offset_encode(tile_ids, images, columns, rows)
    image, cover = rasterize_to_pixels(
        means2d, conics, fill_channels(colors), opacities, width, height, _TILE, offsets, gaussian_ids
    )
    return image[..., :channels].movedim(-1, -3), cover[..., 0]


def whole_radii(extents: Tensor) -> Tensor:
    """Half extents [..., 2] as gsplat takes them: whole pixels, int32; 0 for what cannot be drawn, which it leaves out."""
    return torch.where(extents < 0, 0, extents.ceil().clamp(1, _LARGEST_RADIUS)).int()


def fill_channels(colors: Tensor) -> Tensor:
    """Colours with channels of 0 at the end, up to the next number that gsplat has compiled."""
    channels = colors.shape[-1]
    wanted = next((number for number in _CHANNELS if number >= channels), channels)
    return torch.nn.functional.pad(colors, (0, wanted - channels))


def _check(means2d: Tensor, colors: Tensor) -> None:
    """gsplat is imported on a GPU only: elsewhere it tries to compile its kernels."""
    if not torch.cuda.is_available():
        raise BackendError(
            "rasteriser 'gsplat': torch finds no CUDA device; run on a GPU, or set render.backend to 'cpu'"
        )
    if means2d.device.type != "cuda" or means2d.dtype != torch.float32:
        raise BackendError(
            f"rasteriser 'gsplat': the Gaussians are {means2d.dtype} on {means2d.device}, must be torch.float32 on cuda; "
            "move them there, or set render.backend to 'cpu'"
        )
    if colors.shape[1] >= _MOST_GAUSSIANS:
        raise BackendError(
            f"rasteriser 'gsplat': {colors.shape[1]} Gaussians of an image, must be fewer than {_MOST_GAUSSIANS}"
        )
