"""The rasteriser against a dense compositor that is too slow to use and too simple to be wrong."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import rasterize, reference
from tests.skeletonllm.render.rasterize.scenes import D, scene


def dense(
    means: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, keys: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """Every Gaussian at every pixel, front to back: the definition in five lines."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    order = keys.argsort(dim=1, stable=True)
    means, conics, colors = (v.gather(1, order[..., None].expand_as(v)) for v in (means, conics, colors))
    opacities = opacities.gather(1, order)[..., None, None]
    dx, dy = x - means[..., 0, None, None], y - means[..., 1, None, None]
    a, b, c = conics[..., None, None].unbind(2)
    alpha = (opacities * torch.exp(-(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy))).clamp(max=0.999)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0)
    after = (1 - alpha).cumprod(1)
    before = torch.cat((torch.ones_like(after[:, :1]), after[:, :-1]), 1)
    weight = torch.where(after > 1e-4, alpha * before, 0)
    return torch.einsum("inhw,inc->ichw", weight, colors), weight.sum(1)


@pytest.mark.parametrize(
    ("size", "gaussians", "largest_px"),
    [((20, 27), 40, 3.0), ((64, 64), 120, 2.0), ((8, 8), 1, 1.0), ((5, 3), 30, 20.0), ((33, 16), 200, 8.0)],
)
def test_it_equals_a_dense_compositor_in_value_and_gradient(size, gaussians, largest_px) -> None:
    *values, keys = scene(3, gaussians, size, largest_px=largest_px)
    values = [value.requires_grad_() for value in values]
    found = []
    for draw in (dense, rasterize):
        image, alpha = draw(*values, keys, *size)
        pull = torch.Generator().manual_seed(1)
        image_pull = torch.randn(image.shape, dtype=D, generator=pull)
        loss = (image * image_pull).sum() + (alpha * torch.randn(alpha.shape, dtype=D, generator=pull)).sum()
        found.append((image, alpha, *torch.autograd.grad(loss, values)))
    assert found[0][0].max() > 0.05
    for expected, got in zip(*found, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-10)


@settings(max_examples=25)
@given(
    st.integers(1, 40), st.integers(1, 30), st.integers(1, 50), st.floats(0.1, 30), st.integers(0, 10**6), st.booleans()
)
def test_any_picture_equals_the_dense_one(height, width, gaussians, largest_px, seed, opaque) -> None:
    means, conics, colors, opacities, keys = scene(1, gaussians, (height, width), seed, largest_px)
    opacities = torch.ones_like(opacities) if opaque else opacities
    expected = dense(means, conics, colors, opacities, keys, height, width)
    got = rasterize(means, conics, colors, opacities, keys, height, width)
    for wanted, found in zip(expected, got, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_the_written_gradients_agree_with_finite_differences() -> None:
    # Wide and faint enough that no pixel is near a cut, where finite differences mean nothing.
    means, conics, colors, opacities, keys = scene(2, 5, (8, 8), seed=3)
    conics = conics * 0.02
    inputs = [value.requires_grad_() for value in (means, conics, colors, 0.3 + 0.3 * opacities)]
    assert torch.autograd.gradcheck(lambda *values: rasterize(*values, keys, 8, 8), inputs)


def test_the_smaller_key_is_in_front_and_of_equal_keys_the_first() -> None:
    center = torch.full((1, 2, 2), 4.5)
    conics = torch.tensor([0.01, 0.0, 0.01]).expand(1, 2, 3)
    colors = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    opacities = torch.full((1, 2), 0.98)
    for keys, front in (([0, 1], 0), ([1, 0], 1), ([7, 7], 0)):
        image, _ = rasterize(center, conics, colors, opacities, torch.tensor([keys]), 9, 9)
        assert int(image[0, :, 4, 4].argmax()) == front


def test_what_cannot_be_drawn_is_left_out_and_gets_no_gradient() -> None:
    means, conics, colors, opacities, keys = scene(1, 8, (16, 16))
    clean = rasterize(means, conics, colors, opacities, keys, 16, 16)[0]
    nan, inf = float("nan"), float("inf")
    bad_means = torch.tensor([[[nan, 4], [inf, 4], [1e30, 4], [4, 4], [4, 4], [4, 4]]], dtype=D)
    bad_conics = torch.tensor([[[1, 0, 1]] * 3 + [[nan, 0, 1], [0, 0, 0], [1, 0, 1]]], dtype=D)
    bad_opacities = torch.tensor([[1, 1, 1, 1, 1, 0.0]], dtype=D)
    both = [
        torch.cat(pair, 1).requires_grad_()
        for pair in (
            (means, bad_means),
            (conics, bad_conics),
            (colors, torch.ones(1, 6, 3, dtype=D)),
            (opacities, bad_opacities),
        )
    ]
    image, alpha = rasterize(*both, torch.cat((keys, torch.zeros(1, 6, dtype=torch.long)), 1), 16, 16)
    torch.testing.assert_close(image, clean)
    for gradient in torch.autograd.grad(image.sum() + alpha.sum(), both):
        assert gradient.isfinite().all()
        assert (gradient[:, 8:] == 0).all()


def test_an_empty_picture_is_black_and_can_be_back_propagated() -> None:
    means, conics, colors, opacities, keys = scene(2, 3, (9, 9))
    opacities = torch.zeros_like(opacities).requires_grad_()
    image, alpha = rasterize(means, conics, colors, opacities, keys, 9, 9)
    assert image.shape == (2, 3, 9, 9)
    assert not image.any()
    assert not alpha.any()
    (gradient,) = torch.autograd.grad(image.sum(), opacities)
    assert not gradient.any()


def test_images_may_stand_on_several_axes() -> None:
    parts = scene(6, 10, (12, 12))
    flat, covered = rasterize(*parts, 12, 12)
    image, alpha = rasterize(*[part.unflatten(0, (2, 3)) for part in parts], 12, 12)
    torch.testing.assert_close(image, flat.unflatten(0, (2, 3)))
    torch.testing.assert_close(alpha, covered.unflatten(0, (2, 3)))


def test_the_picture_does_not_depend_on_the_working_memory(monkeypatch) -> None:
    parts = scene(2, 60, (24, 24))
    whole = rasterize(*parts, 24, 24)[0]
    monkeypatch.setattr(reference, "_CHUNK", 1)
    torch.testing.assert_close(rasterize(*parts, 24, 24)[0], whole, rtol=0, atol=1e-12)


def test_single_precision_is_close_to_double() -> None:
    *values, keys = scene(2, 80, (40, 40))
    double = rasterize(*values, keys, 40, 40)[0]
    single = rasterize(*[value.float() for value in values], keys, 40, 40)[0]
    # One step of the cut at 1/255 may fall to the other side.
    assert (double - single).abs().max() < 1 / 255 + 1e-5
    assert (double - single).abs().mean() < 1e-6


def test_an_unknown_backend_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(BackendError, match=r"'opengl' is not known.*'reference'"):
        rasterize(*scene(1, 1, (8, 8)), 8, 8, backend="opengl")


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_pixels_that_gaussians_cover() -> None:
    kept = []
    for largest_px in (1.0, 12.0):
        *values, keys = scene(1, 60, (64, 64), largest_px=largest_px)
        total = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, total=total: total.append(t.numel()) or t, lambda t: t):
            rasterize(*[value.requires_grad_() for value in values], keys, 64, 64)
        kept.append(sum(total))
    assert kept[0] == kept[1]


_PEAK = """
import resource, sys, torch
from tests.skeletonllm.render.rasterize.scenes import scene, single
from skeletonllm.render.rasterize import rasterize
torch.set_num_threads(1)
*values, keys = single(scene(4, int(sys.argv[1]), (64, 64), largest_px=2.0))
image, _ = rasterize(*[value.requires_grad_() for value in values], keys, 64, 64)
image.sum().backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_gaussians() -> None:
    few, many = (
        int(subprocess.run([sys.executable, "-c", _PEAK, number], capture_output=True, check=True).stdout)
        for number in ("1000", "8000")
    )
    # Their inputs, and the lists of one image's tiles; the alphas of 28,000 more Gaussians would be 2 GB.
    assert many - few < 60e6
