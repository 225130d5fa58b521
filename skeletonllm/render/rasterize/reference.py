"""The rasteriser's definition, in plain torch: tiles of 8 x 8 pixels, each with its Gaussians sorted by depth.

Letters: T tiles, G Gaussians of a tile, P the 64 pixels of a tile, C channels. Images are taken some at a time; tiles whose
lists are about as long are worked on together as dense [T, G, P] arrays. Nothing grows with images x height x width x
Gaussians, and nothing is kept for the backward pass but its inputs. It is written out, and checked by gradcheck.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 8
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
# No more floats in one [T, G, P] array: 2**19 float32 are 2 MiB, near the caches.
_CHUNK = 2**19
# No more Gaussians listed at a time, but for those of one image.
_LISTED = 2**13


def composite(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, order_key: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """See `skeletonllm.render.rasterize.rasterize`; here the images stand on one axis."""
    values = torch.cat((means2d, conics, opacities[..., None], colors), -1)
    picture: Any = _Composite.apply(values, order_key, height, width)
    return picture[:, :-1], picture[:, -1]


@torch.no_grad()
def _intersections(values: Tensor, order_key: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Pairs (tile, Gaussian) that share a pixel where alpha can reach 1/255, sorted by tile, then by depth."""
    means2d, opacities = values[..., :2], values[..., 5]
    xx, xy, yy = values[..., 2:5].unbind(-1)
    determinant = xx * yy - xy * xy
    reach = 2 * torch.log((opacities * 255).clamp_min(1))
    extent = torch.stack((reach * yy / determinant, reach * xx / determinant), -1).clamp_min(0).sqrt()
    limit = means2d.new_tensor((columns, rows))
    # A pixel's centre lies half a pixel inside it.
    first = torch.ceil((means2d - extent - 0.5) / TILE - 1 + 1 / TILE).clamp_min(0)
    last = torch.floor((means2d + extent - 0.5) / TILE).minimum(limit - 1)
    visible = (opacities >= MIN_ALPHA) & (last >= first).all(-1) & torch.isfinite(values).all(-1)
    visible &= (xx > 0) & (determinant > 0)
    spans = torch.where(visible[..., None], last - first + 1, 0).long().flatten(0, 1)
    counts = spans.prod(-1)
    gaussian_of = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    within = torch.arange(len(gaussian_of), device=counts.device) - (counts.cumsum(0) - counts)[gaussian_of]
    width = spans[gaussian_of, 0]
    corner = first.nan_to_num(0, 0, 0).long().flatten(0, 1)[gaussian_of]
    column, row = corner[:, 0] + within % width, corner[:, 1] + within // width
    image = gaussian_of // means2d.shape[1]
    tile_of = (image * rows + row) * columns + column
    # Each Gaussian's rank in its image; equal keys keep their order.
    rank = order_key.argsort(dim=1, stable=True).argsort(dim=1).flatten()
    order = (tile_of * means2d.shape[1] + rank[gaussian_of]).argsort()
    return tile_of[order], gaussian_of[order]


@dataclass(frozen=True)
class _Group:
    """Tiles that are worked on together: their numbers [T], corners in pixels [T, 2], and lists [T, G] with padding."""

    tiles: Tensor
    corners: Tensor
    gaussians: Tensor
    present: Tensor


@torch.no_grad()
def _group(tile_of: Tensor, gaussian_of: Tensor, rows: int, columns: int) -> list[_Group]:
    """Tiles with lists of about the same length, in chunks that fit the memory bound."""
    tiles, counts = torch.unique_consecutive(tile_of, return_counts=True)
    starts = counts.cumsum(0) - counts
    # Powers of the square root of two: at most 41 % of a dense array is padding.
    sizes = (2 * torch.log2(counts.double())).ceil().long()
    groups = []
    for size in torch.unique(sizes).tolist():
        alike = (sizes == size).nonzero()[:, 0]
        longest = int(counts[alike].max())
        for some in alike.split(max(1, _CHUNK // (longest * TILE * TILE))):
            slots = torch.arange(longest, device=tiles.device)
            present = slots < counts[some, None]
            gaussians = gaussian_of[(starts[some, None] + slots).clamp(max=len(gaussian_of) - 1)]
            place = tiles[some] % (rows * columns)
            corners = torch.stack((place % columns, place // columns), -1) * TILE
            groups.append(_Group(tiles[some], corners, gaussians, present))
    return groups


class _Composite(torch.autograd.Function):
    """Values of Gaussians [images, N, 6 + C] to pictures [images, C + 1, H, W]; the last channel is coverage."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, order_key: Tensor, height: int, width: int) -> Tensor:
        """Front to back, group by group."""
        picture = values.new_zeros(len(values), values.shape[-1] - 5, height, width)
        for images, some, groups in _listed(values, order_key, height, width):
            canvas = _to_tiles(picture[images])
            for group in groups:
                centre, conic, opacity, color = _unpack(some, group)
                alpha = _alphas(centre, conic, opacity)
                weight = _weights(alpha, _light(alpha))
                canvas[group.tiles, :-1] = torch.bmm(color.transpose(1, 2), weight)
                canvas[group.tiles, -1] = weight.sum(1)
            picture[images] = _from_tiles(canvas, picture[images].shape)
        ctx.size = (height, width)
        ctx.save_for_backward(values, order_key)
        return picture

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  the decorator's type forgets the argument's name
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None, None]:
        """Raising an alpha shows more of its Gaussian and dims, by one factor, all that lies behind it."""
        (of_picture,) = gradients
        values, order_key = ctx.saved_tensors
        d_values = torch.zeros_like(values)
        for images, some, groups in _listed(values, order_key, *ctx.size):
            of_canvas, d_some = _to_tiles(of_picture[images]), d_values[images].flatten(0, 1)
            for group in groups:
                d_some.index_add_(0, group.gaussians.flatten(), _pull(some, group, of_canvas[group.tiles]))
            d_values[images] = d_some.view_as(d_values[images])
        return d_values, None, None, None


def _listed(values: Tensor, order_key: Tensor, height: int, width: int) -> Iterator[tuple[slice, Tensor, list[_Group]]]:
    """Some images at a time: which, their Gaussians [M, 6 + C], and the groups of their tiles."""
    rows, columns = math.ceil(height / TILE), math.ceil(width / TILE)
    step = max(1, _LISTED // max(1, values.shape[1]))
    for start in range(0, len(values), step):
        images = slice(start, start + step)
        pairs = _intersections(values[images], order_key[images], rows, columns)
        yield images, values[images].flatten(0, 1), _group(*pairs, rows, columns)


def _to_tiles(picture: Tensor) -> Tensor:
    """[images, channels, H, W] to [all tiles, channels, P], black beyond the edges."""
    _, channels, height, width = picture.shape
    picture = torch.nn.functional.pad(picture, (0, -width % TILE, 0, -height % TILE))
    tiles = picture.unflatten(3, (-1, TILE)).unflatten(2, (-1, TILE)).permute(0, 2, 4, 1, 3, 5)
    return tiles.reshape(-1, channels, TILE * TILE)


def _from_tiles(canvas: Tensor, shape: torch.Size) -> Tensor:
    """The other way round."""
    images, channels, height, width = shape
    rows, columns = math.ceil(height / TILE), math.ceil(width / TILE)
    picture = canvas.view(images, rows, columns, channels, TILE, TILE).permute(0, 3, 1, 4, 2, 5)
    return picture.reshape(images, channels, rows * TILE, columns * TILE)[..., :height, :width]


def _pull(values: Tensor, group: _Group, of_canvas: Tensor) -> Tensor:
    """From the gradient of a group's tiles [T, C + 1, P] to that of its listed Gaussians [T x G, 6 + C]."""
    centre, conic, opacity, color = _unpack(values, group)
    alpha = _alphas(centre, conic, opacity)
    light = _light(alpha)
    weight = _weights(alpha, light)
    of_image, of_cover = of_canvas[:, :-1], of_canvas[:, -1:]
    d_color = torch.bmm(weight, of_image.transpose(1, 2))
    value = torch.baddbmm(of_cover, color, of_image)
    shown = weight * value
    behind = shown.sum(1, keepdim=True) - shown.cumsum(1)
    d_alpha = value.mul_(light[:, :-1]).sub_(behind.div_(1 - alpha))
    d_alpha.masked_fill_((weight <= 0) | (alpha >= MAX_ALPHA), 0)
    d_sigma = d_alpha.mul_(alpha).neg_()
    d_centre, d_conic, total = _sigma_gradients(d_sigma, centre, conic)
    d_opacity = -total / opacity.clamp_min(MIN_ALPHA)
    return torch.cat((d_centre, d_conic, d_opacity[..., None], d_color), -1).flatten(0, 1)


def _unpack(values: Tensor, group: _Group) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Centres from the tile's corner [T, G, 2], conics [T, G, 3], opacities [T, G], colours [T, G, C]."""
    picked = values[group.gaussians]
    centre = picked[..., :2] - group.corners[:, None].to(values.dtype)
    return centre, picked[..., 2:5], picked[..., 5] * group.present, picked[..., 6:]


def _basis(like: Tensor) -> Tensor:
    """1, x, y, x², xy, y² at the 64 pixel centres of a tile: [6, P].

    sigma is a polynomial of the second degree in the pixel's place: one matrix product with this, its gradients another.
    """
    steps = torch.arange(TILE, device=like.device, dtype=like.dtype) + 0.5
    y, x = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    return torch.stack((torch.ones_like(x), x, y, x * x, x * y, y * y))


def _alphas(centre: Tensor, conic: Tensor, opacity: Tensor) -> Tensor:
    """How much of the light that reaches it each Gaussian takes at each pixel: [T, G, P]."""
    x, y = centre.unbind(-1)
    a, b, c = conic.unbind(-1)
    constant = 0.5 * (a * x * x + c * y * y) + b * x * y
    factors = torch.stack((constant, -(a * x + b * y), -(b * x + c * y), 0.5 * a, b, 0.5 * c), -1)
    sigma = factors @ _basis(centre)
    alpha = sigma.clamp_min_(0).neg_().exp_().mul_(opacity[..., None]).clamp_max_(MAX_ALPHA)
    return alpha.masked_fill_(alpha < MIN_ALPHA, 0)


def _light(alpha: Tensor) -> Tensor:
    """The light that reaches each Gaussian and, in the last place, the background: [T, G + 1, P]."""
    light = alpha.new_empty(alpha.shape[0], alpha.shape[1] + 1, alpha.shape[2])
    light[:, 0] = 1
    torch.cumprod(1 - alpha, 1, out=light[:, 1:])
    return light


def _weights(alpha: Tensor, light: Tensor) -> Tensor:
    """How much of each Gaussian a pixel shows: [T, G, P]. Light only falls, so once a pixel is done it stays done."""
    return (alpha * light[:, :-1]).masked_fill_(light[:, 1:] <= MIN_TRANSMITTANCE, 0)


def _sigma_gradients(d_sigma: Tensor, centre: Tensor, conic: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """From the gradient of sigma to those of centre and conic, through its moments over the tile's pixels; and its sum."""
    x, y = centre.unbind(-1)
    a, b, c = conic.unbind(-1)
    one, px, py, pxx, pxy, pyy = (d_sigma @ _basis(centre).T).unbind(-1)
    dx, dy = x * one - px, y * one - py
    dxx = x * x * one - 2 * x * px + pxx
    dyy = y * y * one - 2 * y * py + pyy
    dxy = x * y * one - x * py - y * px + pxy
    d_centre = torch.stack((a * dx + b * dy, b * dx + c * dy), -1)
    return d_centre, torch.stack((0.5 * dxx, dxy, 0.5 * dyy), -1), one
