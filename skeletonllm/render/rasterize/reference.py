"""The rasteriser's definition, in plain torch: tiles of 8 x 8 pixels, each with its Gaussians sorted by depth.

Letters: T tiles, G Gaussians of a tile, P the 64 pixels of a tile, C channels. Tiles whose lists are about as long are
worked on together as dense [T, G, P] arrays; nothing grows with images x height x width x Gaussians.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 8
MIN_ALPHA = 1 / 255
MAX_ALPHA = 0.999
MIN_TRANSMITTANCE = 1e-4
# No more floats at once in one [T, G, P] array, so that memory stays flat: 2**22 float32 are 16 MiB.
_CHUNK = 2**22


def composite(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, order_key: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """See `skeletonllm.render.rasterize.rasterize`."""
    images, gaussians, channels = colors.shape
    rows, columns = math.ceil(height / TILE), math.ceil(width / TILE)
    tile_of, gaussian_of = _intersections(means2d, conics, opacities, order_key, rows, columns)
    flat = torch.cat((means2d, conics, opacities[..., None], colors), -1).reshape(images * gaussians, -1)
    canvas = flat.new_zeros(images * rows * columns, channels + 1, TILE * TILE)
    tiles, counts = torch.unique_consecutive(tile_of, return_counts=True)
    starts = counts.cumsum(0) - counts
    for some in _buckets(counts):
        slots = torch.arange(int(counts[some].max()), device=flat.device)
        present = slots < counts[some, None]
        index = gaussian_of[(starts[some, None] + slots).clamp(max=len(gaussian_of) - 1)]
        # Gathered on one axis, so that the backward pass is one index_add.
        values = flat.index_select(0, index.flatten()).view(*index.shape, -1)
        place = tiles[some] % (rows * columns)
        corner = torch.stack((place % columns, place // columns), -1) * TILE
        centre = values[..., :2] - corner[:, None].to(values.dtype)
        opacity = values[..., 5] * present
        drawn = _Tiles.apply(centre, values[..., 2:5], opacity, values[..., 6:])
        canvas = canvas.index_copy(0, tiles[some], drawn)
    picture = canvas.view(images, rows, columns, channels + 1, TILE, TILE).permute(0, 3, 1, 4, 2, 5)
    picture = picture.reshape(images, channels + 1, rows * TILE, columns * TILE)[..., :height, :width]
    return picture[:, :channels], picture[:, channels]


@torch.no_grad()
def _intersections(
    means2d: Tensor, conics: Tensor, opacities: Tensor, order_key: Tensor, rows: int, columns: int
) -> tuple[Tensor, Tensor]:
    """Pairs (tile, Gaussian) that share a pixel where alpha can reach 1/255, sorted by tile, then by depth."""
    xx, xy, yy = conics.unbind(-1)
    determinant = (xx * yy - xy * xy).clamp_min(torch.finfo(conics.dtype).tiny)
    reach = 2 * torch.log((opacities * 255).clamp_min(1))
    extent = torch.stack((reach * yy / determinant, reach * xx / determinant), -1).clamp_min(0).sqrt()
    limit = means2d.new_tensor((columns, rows))
    # A pixel's centre lies half a pixel inside it.
    first = torch.ceil((means2d - extent - 0.5) / TILE - 1 + 1 / TILE).clamp_min(0)
    last = torch.floor((means2d + extent - 0.5) / TILE).minimum(limit - 1)
    visible = (opacities >= MIN_ALPHA) & (last >= first).all(-1) & torch.isfinite(means2d).all(-1)
    visible &= torch.isfinite(conics).all(-1)
    spans = torch.where(visible[..., None], last - first + 1, 0).long().flatten(0, 1)
    counts = spans.prod(-1)
    gaussian_of = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)
    within = torch.arange(len(gaussian_of), device=counts.device) - (counts.cumsum(0) - counts)[gaussian_of]
    width = spans[gaussian_of, 0]
    corner = first.nan_to_num().long().flatten(0, 1)[gaussian_of]
    column, row = corner[:, 0] + within % width, corner[:, 1] + within // width
    image = gaussian_of // means2d.shape[1]
    tile_of = (image * rows + row) * columns + column
    # Each Gaussian's rank in its image; equal keys keep their order.
    rank = order_key.argsort(dim=1, stable=True).argsort(dim=1).flatten()
    order = (tile_of * means2d.shape[1] + rank[gaussian_of]).argsort()
    return tile_of[order], gaussian_of[order]


def _buckets(counts: Tensor) -> list[Tensor]:
    """Tiles with lists of about the same length, in chunks that fit the memory bound."""
    # Powers of the square root of two: at most 41 % of a dense array is padding.
    sizes = (2 * torch.log2(counts.double())).ceil().long()
    chunks = []
    for size in torch.unique(sizes).tolist():
        tiles = (sizes == size).nonzero()[:, 0]
        longest = int(counts[tiles].max())
        chunks += tiles.split(max(1, _CHUNK // (longest * TILE * TILE)))
    return chunks


def _basis(like: Tensor) -> Tensor:
    """1, x, y, x², xy, y² at the 64 pixel centres of a tile: [6, P]."""
    steps = torch.arange(TILE, device=like.device, dtype=like.dtype) + 0.5
    y, x = (grid.flatten() for grid in torch.meshgrid(steps, steps, indexing="ij"))
    return torch.stack((torch.ones_like(x), x, y, x * x, x * y, y * y))


class _Tiles(torch.autograd.Function):
    """Composite the sorted Gaussians of each tile; the backward pass is written out, and checked by gradcheck.

    sigma is a polynomial of the second degree in the pixel's place, so it is one matrix product with `_basis`, and its
    gradients are another.
    """

    @staticmethod
    def forward(ctx: Any, centre: Tensor, conic: Tensor, opacity: Tensor, color: Tensor) -> Tensor:
        """[T, G, 2], [T, G, 3], [T, G], [T, G, C] -> [T, C + 1, P]; the last channel is coverage."""
        alpha, falloff = _alphas(centre, conic, opacity)
        weight, before = _weights(alpha)
        image = torch.bmm(color.transpose(1, 2), weight)
        ctx.save_for_backward(centre, conic, color, alpha, falloff, weight, before)
        return torch.cat((image, weight.sum(1, keepdim=True)), 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradients of the four inputs."""
        (gradient,) = gradients
        centre, conic, color, alpha, falloff, weight, before = ctx.saved_tensors
        of_image, of_cover = gradient[:, :-1], gradient[:, -1:]
        d_color = torch.bmm(weight, of_image.transpose(1, 2))
        value = torch.bmm(color, of_image) + of_cover
        shown = weight * value
        behind = shown.sum(1, keepdim=True) - shown.cumsum(1)
        # Raising an alpha shows more of this Gaussian and dims, by one factor, all that lies behind it.
        d_alpha = before * value - behind / (1 - alpha)
        d_alpha = torch.where((weight > 0) & (alpha < MAX_ALPHA), d_alpha, 0)
        d_opacity = (d_alpha * falloff).sum(-1)
        d_sigma = -d_alpha * alpha
        return *_sigma_gradients(d_sigma, centre, conic), d_opacity, d_color


def _alphas(centre: Tensor, conic: Tensor, opacity: Tensor) -> tuple[Tensor, Tensor]:
    """alpha and exp(-sigma): [T, G, P]."""
    x, y = centre.unbind(-1)
    a, b, c = conic.unbind(-1)
    factors = torch.stack(
        (
            0.5 * (a * x * x + c * y * y) + b * x * y,
            -(a * x + b * y),
            -(b * x + c * y),
            0.5 * a,
            b,
            0.5 * c,
        ),
        -1,
    )
    falloff = torch.exp(-(factors @ _basis(centre)).clamp_min(0))
    alpha = (opacity[..., None] * falloff).clamp(max=MAX_ALPHA)
    return torch.where(alpha >= MIN_ALPHA, alpha, 0), falloff


def _weights(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """How much of each Gaussian a pixel shows, and how much light reaches it: [T, G, P] each."""
    after = (1 - alpha).cumprod(1)
    before = torch.cat((torch.ones_like(after[:, :1]), after[:, :-1]), 1)
    # Light only falls along the list, so once a pixel is done it stays done.
    return torch.where(after > MIN_TRANSMITTANCE, alpha * before, 0), before


def _sigma_gradients(d_sigma: Tensor, centre: Tensor, conic: Tensor) -> tuple[Tensor, Tensor]:
    """From the gradient of sigma to those of centre and conic, through its moments over the tile's pixels."""
    x, y = centre.unbind(-1)
    a, b, c = conic.unbind(-1)
    one, px, py, pxx, pxy, pyy = (d_sigma @ _basis(centre).T).unbind(-1)
    dx, dy = x * one - px, y * one - py
    dxx = x * x * one - 2 * x * px + pxx
    dyy = y * y * one - 2 * y * py + pyy
    dxy = x * y * one - x * py - y * px + pxy
    return torch.stack((a * dx + b * dy, b * dx + c * dy), -1), torch.stack((0.5 * dxx, dxy, 0.5 * dyy), -1)
