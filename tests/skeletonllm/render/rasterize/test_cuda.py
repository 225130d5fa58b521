"""gsplat against the kernel. What needs no GPU is tested everywhere."""

import pytest
import torch

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import rasterize
from skeletonllm.render.rasterize.cuda import radii, ranks
from tests.skeletonllm.render.rasterize.scenes import relative, scene


def test_without_cuda_tensors_it_is_one_clear_error() -> None:
    parts = [part.float() if part.is_floating_point() else part for part in scene(1, 3, (8, 8))]
    with pytest.raises(BackendError, match=r"'gsplat' takes float32 on a CUDA device, not torch.float32 on cpu"):
        rasterize(*parts, 8, 8, "gsplat")


def test_radii_hold_every_pixel_that_a_gaussian_reaches_and_are_zero_where_it_reaches_none() -> None:
    means, conics, _, opacities, _ = scene(3, 80, (40, 50), largest_px=6.0)
    found = radii(means, conics, opacities, 40, 50)
    y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(50) + 0.5, indexing="ij")
    dx, dy = x - means[..., 0, None, None], y - means[..., 1, None, None]
    a, b, c = conics[..., None, None].unbind(2)
    alpha = opacities[..., None, None] * torch.exp(-(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy))
    reached = alpha >= 1 / 255
    for distance, radius in ((dx, found[..., 0]), (dy, found[..., 1])):
        assert (distance.abs()[reached] <= radius[..., None, None].expand_as(reached)[reached]).all()
    assert (found.min(-1).values == 0)[~reached.any((-2, -1)) & (opacities < 1 / 255)].all()
    nothing = radii(torch.full((1, 2, 2), float("nan")), torch.ones(1, 2, 3), torch.ones(1, 2), 8, 8)
    assert not nothing.any()


def test_ranks_are_whole_and_keep_the_order_of_equal_keys() -> None:
    keys = torch.tensor([[5, -3, 5, 2**40], [0, 0, 0, 0]])
    assert ranks(keys).tolist() == [[2, 1, 3, 4], [1, 2, 3, 4]]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("size", "largest_px"), [((64, 64), 3.0), ((100, 75), 12.0), ((224, 224), 6.0)])
def test_gsplat_and_the_kernel_draw_the_same(size, largest_px) -> None:
    *values, keys = scene(4, 300, size, largest_px=largest_px)
    values[3] = values[3] * 0.98
    found = []
    for device, backend in (("cpu", "cpu"), ("cuda", "gsplat")):
        leaves = [value.float().to(device).requires_grad_() for value in values]
        image, alpha = rasterize(*leaves, keys.to(device), *size, backend)
        pull = torch.Generator().manual_seed(0)
        loss = (image * torch.randn(image.shape, generator=pull).to(device)).sum() + alpha.sum()
        found.append([image.cpu(), *(gradient.cpu() for gradient in torch.autograd.grad(loss, leaves))])
    difference = (found[0][0] - found[1][0]).abs()
    assert (difference <= 1e-5).float().mean() >= 0.99999
    assert difference.max() < 1 / 255 + 1e-5
    for got, expected in zip(found[1][1:], found[0][1:], strict=True):
        assert relative(got, expected) < 1e-5
