"""gsplat against the kernel. What needs no GPU is tested everywhere."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import cuda, rasterize
from skeletonllm.render.rasterize.cuda import filled_up, radii, ranks
from tests.golden.make_splat import CASES, GOLDEN, case
from tests.skeletonllm.render.rasterize.scenes import pulled, relative, scene, single


def assert_agrees(wanted: list[Tensor], found: list[Tensor]) -> None:
    """The promise: 1e-5 on 99.999 % of values, never more than the cut at 1/255, 1e-5 of the gradients' length."""
    off = torch.cat([(a - b).abs().flatten() for a, b in zip(wanted[:2], found[:2], strict=True)])
    assert (off > 1e-5).double().mean() <= 1e-5
    assert off.max() <= 1 / 255 + 1e-5
    assert off.mean() <= 1e-7
    for a, b in zip(wanted[2:], found[2:], strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm()


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


def test_channels_are_filled_up_to_what_gsplat_has() -> None:
    for channels, filled in ((1, 1), (3, 3), (5, 5), (6, 8), (7, 8), (8, 8), (10, 16)):
        colors = torch.rand(2, 4, channels)
        assert filled_up(colors).shape == (2, 4, filled)
        assert torch.equal(filled_up(colors)[..., :channels], colors)


def test_one_call_gets_all_images_in_gsplats_form(monkeypatch) -> None:
    calls = []

    class Gsplat:
        @staticmethod
        def isect_tiles(means2d, radii, depths, tile_size, tile_width, tile_height):
            calls.append(("tiles", means2d.shape, radii.shape, depths, tile_size, tile_width, tile_height))
            return None, torch.zeros(7, dtype=torch.int64), torch.arange(7, dtype=torch.int32)

        @staticmethod
        def isect_offset_encode(isect_ids, n_images, tile_width, tile_height):
            calls.append(("offsets", len(isect_ids), n_images, tile_width, tile_height))
            return torch.zeros(n_images, tile_height, tile_width, dtype=torch.int32)

        @staticmethod
        def rasterize_to_pixels(
            means2d, conics, colors, opacities, image_width, image_height, tile_size, isect_offsets, flatten_ids
        ):
            calls.append(("pixels", colors.shape, image_width, image_height, tile_size, isect_offsets.shape))
            shape = (len(means2d), image_height, image_width)
            return torch.rand(*shape, colors.shape[-1]), torch.rand(*shape, 1)

    monkeypatch.setitem(sys.modules, "gsplat", Gsplat)
    monkeypatch.setattr(cuda, "_check", lambda *_: None)
    parts = single(scene(6, 9, (33, 50), channels=6))
    image, alpha = cuda.composite(*parts, 33, 50)
    assert image.shape == (6, 6, 33, 50)
    assert alpha.shape == (6, 33, 50)
    (tiles, offsets, pixels) = calls
    assert tiles[1:3] == ((6, 9, 2), (6, 9, 2))
    assert torch.equal(tiles[3], ranks(parts[4]))
    assert tiles[4:] == (16, math.ceil(50 / 16), math.ceil(33 / 16))
    assert offsets == ("offsets", 7, 6, 4, 3)
    assert pixels == ("pixels", (6, 9, 8), 50, 33, 16, (6, 3, 4))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", sorted(CASES))
def test_gsplat_agrees_with_the_reference(name: str) -> None:
    values, keys, size = case(name)
    wanted = pulled(values, keys, size, "reference", torch.float64)
    found = pulled([value.cuda() for value in values], keys.cuda(), size, "gsplat", torch.float32)
    assert_agrees(wanted, [part.cpu() for part in found])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gsplat_leaves_out_what_cannot_be_drawn() -> None:
    values, keys, size = case("bodies")
    bad = [value.clone() for value in values]
    bad[0][:, 0], bad[1][:, 1], bad[2][:, 2], bad[3][:, 3] = float("nan"), 0, float("inf"), 0
    values[3][:, :4] = 0
    wanted = pulled(values, keys, size, "reference", torch.float64)
    found = pulled([value.cuda() for value in bad], keys.cuda(), size, "gsplat", torch.float32)
    assert all(part.isfinite().all() for part in found)
    assert (wanted[0] - found[0].cpu()).abs().mean() <= 1e-7


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_the_pictures_and_gradients_of_a_gpu_are_drawn_here_too(name: str, backend: str) -> None:
    if not GOLDEN.exists():
        pytest.skip(f"{GOLDEN.name} is not there yet: `python -m tests.golden.make_splat` makes it on a GPU")
    with np.load(GOLDEN) as golden:
        *values, keys = [torch.from_numpy(golden[f"{name}.input.{place}"]) for place in range(5)]
        made = [torch.from_numpy(golden[f"{name}.{place}"]).double() for place in range(6)]
    dtype = torch.float64 if backend == "reference" else torch.float32
    assert_agrees(made, pulled(values, keys, CASES[name][2], backend, dtype))
