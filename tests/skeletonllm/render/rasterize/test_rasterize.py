"""The front of the rasterisers: which backend draws, and what all of them share."""

import logging

import pytest
import torch

from skeletonllm.render import rasterize as package
from skeletonllm.render.rasterize import rasterize
from tests.skeletonllm.render.rasterize.scenes import scene, single


def test_auto_draws_with_the_kernel_on_a_cpu_and_says_so_once(caplog) -> None:
    package._choice.cache_clear()
    parts = single(scene(1, 9, (16, 16)))
    with caplog.at_level(logging.INFO, "skeletonllm"):
        found = [rasterize(*parts, 16, 16, "auto")[0] for _ in range(2)]
    assert torch.equal(found[0], rasterize(*parts, 16, 16, "cpu")[0])
    assert [record.getMessage() for record in caplog.records] == [
        "rasteriser 'auto': tensors are on cpu, so it is 'cpu'"
    ]


def test_auto_on_a_gpu_is_gsplat() -> None:
    assert package._choice("cuda") == "gsplat"


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_images_may_stand_on_any_number_of_axes(backend: str) -> None:
    parts = single(scene(6, 10, (12, 12)))
    flat, covered = rasterize(*parts, 12, 12, backend)
    for axes in ((2, 3), (1, 3, 2), (6, 1)):
        image, alpha = rasterize(*[part.unflatten(0, axes) for part in parts], 12, 12, backend)
        assert torch.equal(image, flat.unflatten(0, axes))
        assert torch.equal(alpha, covered.unflatten(0, axes))
    image, alpha = rasterize(*[part[0] for part in parts], 12, 12, backend)
    torch.testing.assert_close(image, flat[0])
    torch.testing.assert_close(alpha, covered[0])
