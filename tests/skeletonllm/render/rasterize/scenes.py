"""Scenes for rasterisers, and how gradients are compared."""

import torch
from torch import Tensor

from skeletonllm.render.rasterize import rasterize

D = torch.float64


def scene(
    images: int, gaussians: int, size: tuple[int, int], seed: int = 0, largest_px: float = 3.0, channels: int = 3
) -> list[Tensor]:
    """Means, conics, colours, opacities, and keys with ties; some Gaussians are off the picture."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> Tensor:
        return torch.rand(images, gaussians, *shape, dtype=D, generator=generator)

    height, width = size
    means = (rand(2) * 1.4 - 0.2) * torch.tensor([width, height], dtype=D)
    roots = (rand(2, 2) - 0.5) * 2 * largest_px
    covariance = roots @ roots.mT + 0.3 * torch.eye(2, dtype=D)
    inverse = torch.linalg.inv(covariance)
    conics = torch.stack((inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1]), -1)
    keys = (rand() * gaussians / 2).long()
    return [means, conics, rand(channels), rand(), keys]


def pulled(
    values: list[Tensor], keys: Tensor, size: tuple[int, int], backend: str, dtype: torch.dtype, seed: int = 0
) -> list[Tensor]:
    """Image, coverage, and the four gradients of a random weighting of both, as doubles."""
    inputs = [value.detach().to(dtype).requires_grad_() for value in values]
    drawn = rasterize(*inputs, keys, *size, backend)
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(part.shape, generator=generator).to(part) for part in drawn]
    gradients = torch.autograd.grad(drawn, inputs, weights)
    return [part.detach().double() for part in (*drawn, *gradients)]


def single(parts: list[Tensor]) -> list[Tensor]:
    """The same in single precision; keys as they are."""
    return [part.float() if part.is_floating_point() else part for part in parts]


def relative(found: Tensor, expected: Tensor) -> float:
    """The length of the difference by the length of what is expected."""
    return float((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-30))
