"""gsplat: what is handed to it, on any machine; its pictures and gradients, on a GPU and against a file made on one."""

import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import rasterize
from skeletonllm.render.rasterize.gsplat import fill_channels, whole_radii
from skeletonllm.render.rasterize.reference import depth_rank, half_extents
from tests.golden.make_splat import CASES, GOLDEN, case
from tests.skeletonllm.render.rasterize.scenes import pulled, scene, single


def assert_agrees(wanted: list[Tensor], found: list[Tensor]) -> None:
    """The promise: 1e-5 on 99.999 % of values, never more than the cut at 1/255, 1e-5 of the gradients' length."""
    off = torch.cat([(a - b).abs().flatten() for a, b in zip(wanted[:2], found[:2], strict=True)])
    assert (off > 1e-5).double().mean() <= 1e-5
    assert off.max() <= 1 / 255 + 1e-5
    assert off.mean() <= 1e-7
    for a, b in zip(wanted[2:], found[2:], strict=True):
        assert (a - b).norm() <= 1e-5 * a.norm()


def test_without_cuda_it_is_an_error_with_the_remedy_and_gsplat_is_not_imported(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "gsplat", None)
    with pytest.raises(BackendError, match=r"'gsplat': torch finds no CUDA device.*render\.backend to 'cpu'"):
        rasterize(*single(scene(1, 4, (8, 8))), 8, 8, "gsplat")


def test_tensors_that_are_not_on_the_gpu_are_an_error_with_the_remedy(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(BackendError, match=r"torch\.float32 on cpu, must be torch\.float32 on cuda"):
        rasterize(*single(scene(1, 4, (8, 8))), 8, 8, "gsplat")


def test_radii_hold_every_pixel_that_the_reference_draws() -> None:
    height, width = 30, 40
    for seed in range(20):
        means, conics, colors, opacities, keys = scene(1, 1, (height, width), seed, 6.0)
        _, alpha = rasterize(means, conics, colors, opacities, keys, height, width)
        radii = whole_radii(half_extents(means, conics, colors, opacities))
        assert radii.dtype == torch.int32
        rows, columns = alpha[0].nonzero(as_tuple=True)
        for seen, axis in ((columns, 0), (rows, 1)):
            distance = (seen + 0.5 - means[0, 0, axis]).abs()
            assert (distance <= radii[0, 0, axis]).all()


def test_what_cannot_be_drawn_has_radius_0_and_what_is_huge_still_counts() -> None:
    nan = float("nan")
    extents = torch.tensor([[-1.0, -1], [0, 0], [0.2, 3], [1e30, float("inf")]])
    assert whole_radii(extents).tolist() == [[0, 0], [1, 1], [1, 3], [2**24, 2**24]]
    means, conics = torch.tensor([[nan, 1.0], [1, 1]]), torch.tensor([[1.0, 0, 1], [1, 2, 1]])
    assert (half_extents(means, conics, torch.ones(2, 3), torch.ones(2)) == -1).all()


def test_ranks_are_exact_as_float_bits_and_ties_keep_their_order() -> None:
    keys = torch.tensor([[5, -(2**62), 5, 2**62, 0]])
    assert depth_rank(keys).tolist() == [[2, 0, 3, 4, 1]]
    # gsplat sorts the bits of a float as an unsigned number.
    ranks = torch.randperm(100_000).float()
    assert torch.equal(ranks.view(torch.int32).argsort(), ranks.argsort())
    assert torch.equal(torch.tensor([2.0**24 - 1]).long(), torch.tensor([2**24 - 1]))


def test_channels_are_filled_up_to_what_gsplat_has() -> None:
    for channels, filled in ((1, 1), (3, 3), (5, 5), (6, 8), (7, 8), (8, 8), (10, 16)):
        colors = torch.rand(2, 4, channels)
        assert fill_channels(colors).shape == (2, 4, filled)
        assert torch.equal(fill_channels(colors)[..., :channels], colors)


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
    monkeypatch.setattr("skeletonllm.render.rasterize.gsplat._check", lambda *_: None)
    parts = single(scene(6, 9, (33, 50), channels=6))
    image, alpha = rasterize(*[part.unflatten(0, (2, 3)) for part in parts], 33, 50, "gsplat")
    assert image.shape == (2, 3, 6, 33, 50)
    assert alpha.shape == (2, 3, 33, 50)
    (tiles, offsets, pixels) = calls
    assert tiles[1:3] == ((6, 9, 2), (6, 9, 2))
    assert torch.equal(tiles[3], depth_rank(parts[4]).float())
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
