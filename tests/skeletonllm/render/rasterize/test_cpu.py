"""The kernel against the definition in double precision."""

import resource

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import rasterize
from tests.skeletonllm.render.rasterize.scenes import relative, scene

Drawn = tuple[Tensor, Tensor, tuple[Tensor, ...]]


def drawn(parts: list[Tensor], size: tuple[int, int], backend: str, dtype: torch.dtype = torch.float32) -> Drawn:
    """Image, coverage and all gradients of a loss that pulls at every pixel of both."""
    *values, keys = parts
    leaves = [value.detach().to(dtype).requires_grad_() for value in values]
    image, alpha = rasterize(*leaves, keys, *size, backend)
    pull = torch.Generator().manual_seed(7)
    pulls = [torch.randn(picture.shape, generator=pull).to(dtype) for picture in (image, alpha)]
    return image.detach(), alpha.detach(), torch.autograd.grad([image, alpha], leaves, pulls)


def errors(parts: list[Tensor], size: tuple[int, int]) -> tuple[float, float]:
    """The largest difference of a pixel from double precision, and the largest relative one of a gradient."""
    # Both begin with the same numbers, and opacities are capped as the renderer caps them.
    parts = [part.float().double() if part.is_floating_point() else part for part in parts]
    parts[3] = parts[3] * 0.98
    exact, found = drawn(parts, size, "reference", torch.float64), drawn(parts, size, "cpu")
    picture = max(float((found[place] - exact[place]).abs().max()) for place in (0, 1))
    return picture, max(relative(got, expected) for got, expected in zip(found[2], exact[2], strict=True))


def agree(parts: list[Tensor], size: tuple[int, int]) -> bool:
    """As exact as single precision allows."""
    picture, gradient = errors(parts, size)
    return picture < 1e-6 and gradient < 1e-4


@pytest.mark.slow
def test_a_thousand_random_scenes_agree_in_value_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    found = []
    for seed in range(1000):
        height, width, gaussians = (int(torch.randint(1, top, (), generator=generator)) for top in (40, 40, 60))
        largest = float(10 ** (2 * torch.rand((), generator=generator) - 0.7))
        found.append(errors(scene(2, gaussians, (height, width), seed, largest), (height, width)))
    picture, gradient = torch.tensor(found).T
    # Now and then an alpha lies so near 1/255 that rounding decides whether it is drawn.
    assert (picture < 1e-6).float().mean() >= 0.995
    assert picture.max() < 1 / 255 + 1e-5
    # Many opaque Gaussians on one pixel cancel: those few scenes have less exact gradients.
    assert gradient.median() < 5e-7
    assert (gradient < 2e-6).float().mean() > 0.85
    assert gradient[picture < 1e-6].max() < 3e-5


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 7, 8])
def test_any_number_of_channels_up_to_eight(channels) -> None:
    parts = scene(2, 30, (21, 19))
    parts[2] = torch.rand(2, 30, channels, generator=torch.Generator().manual_seed(0)).double()
    assert agree(parts, (21, 19))


@pytest.mark.parametrize("size", [(1, 1), (4, 8), (5, 9), (64, 8), (65, 7), (130, 33), (3, 200)])
def test_any_size(size) -> None:
    assert agree(scene(3, 40, size, seed=5, largest_px=6.0), size)


def test_one_gaussian_no_gaussian_and_no_image() -> None:
    assert agree(scene(1, 1, (9, 9), seed=2), (9, 9))
    for images, gaussians in ((2, 0), (0, 3)):
        image, alpha, gradients = drawn(scene(images, gaussians, (9, 9)), (9, 9), "cpu")
        assert image.shape == (images, 3, 9, 9)
        assert not image.any()
        assert not alpha.any()
        assert all(gradient.numel() == 0 for gradient in gradients)


def test_the_smaller_key_is_in_front_whatever_its_size_and_of_equal_keys_the_first() -> None:
    center, opacities = torch.full((1, 2, 2), 4.5), torch.full((1, 2), 0.98)
    conics = torch.tensor([0.01, 0.0, 0.01]).expand(1, 2, 3)
    colors = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0]]])
    for keys, front in (([0, 1], 0), ([1, 0], 1), ([7, 7], 0), ([-(2**60), 2**60], 0), ([5, -5], 1)):
        image, _ = rasterize(center, conics, colors, opacities, torch.tensor([keys]), 9, 9, "cpu")
        assert int(image[0, :, 4, 4].argmax()) == front


@settings(max_examples=40)
@given(
    st.integers(0, 10**6),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 0.0, 1e-30, -1.0]),
    st.integers(0, 3),
)
def test_what_is_no_gaussian_leaves_picture_and_gradients_finite(seed, bad, place) -> None:
    parts = [part.float() if part.is_floating_point() else part for part in scene(2, 20, (17, 23), seed)]
    if place != 2:
        parts[place][:, ::3] = bad
    image, alpha, gradients = drawn(parts, (17, 23), "cpu")
    for tensor in (image, alpha, *gradients):
        assert tensor.isfinite().all()


def test_opacities_of_zero_and_one() -> None:
    for opacity in (0.0, 1 / 300, 1.0):
        parts = scene(2, 30, (24, 24))
        parts[3] = torch.full_like(parts[3], opacity)
        assert agree(parts, (24, 24))


def test_the_bits_do_not_depend_on_the_number_of_threads_nor_on_the_run() -> None:
    parts = scene(5, 300, (200, 70), largest_px=10.0)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3, 3):
            torch.set_num_threads(threads)
            found.append(drawn(parts, (200, 70), "cpu"))
    finally:
        torch.set_num_threads(before)
    for image, alpha, gradients in found[1:]:
        assert torch.equal(image, found[0][0])
        assert torch.equal(alpha, found[0][1])
        assert all(torch.equal(one, other) for one, other in zip(gradients, found[0][2], strict=True))


def test_an_image_is_the_same_alone_and_among_others() -> None:
    parts = scene(6, 500, (40, 40))
    together, _, gradients = drawn(parts, (40, 40), "cpu")
    alone, _ = rasterize(
        *[part[3:4].float() if part.is_floating_point() else part[3:4] for part in parts], 40, 40, "cpu"
    )
    assert torch.equal(alone[0], together[3])
    assert all(gradient.shape[0] == 6 for gradient in gradients)


def test_views_and_strides_do_not_matter() -> None:
    parts = [part.float() if part.is_floating_point() else part for part in scene(4, 20, (16, 16))]
    plain, _ = rasterize(*parts, 16, 16, "cpu")
    strided = [part.repeat_interleave(2, 0)[::2] for part in parts]
    strided[2] = strided[2].flip(-1).contiguous().flip(-1)
    assert torch.equal(
        rasterize(*[part.unflatten(0, (2, 2)) for part in strided], 16, 16, "cpu")[0].flatten(0, 1), plain
    )


def test_working_memory_is_small() -> None:
    parts = scene(64, 1000, (64, 64), largest_px=4.0)
    drawn(parts, (64, 64), "cpu")
    drawn(parts, (64, 64), "cpu")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(5):
        drawn(parts, (64, 64), "cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda parts: [part.double() if part.is_floating_point() else part for part in parts], "takes float32"),
        (lambda parts: [*parts[:2], torch.rand(1, 3, 9), *parts[3:]], "not 9"),
    ],
)
def test_what_it_cannot_take_is_one_clear_error(change, says) -> None:
    parts = [part.float() if part.is_floating_point() else part for part in scene(1, 3, (8, 8))]
    with pytest.raises(BackendError, match=says):
        rasterize(*change(parts), 8, 8, "cpu")


def test_auto_is_the_kernel_on_a_cpu_and_says_so(caplog) -> None:
    from skeletonllm.render import rasterize as package

    package._choice.cache_clear()
    parts = [part.float() if part.is_floating_point() else part for part in scene(1, 30, (16, 16))]
    with caplog.at_level("INFO"):
        images = [rasterize(*parts, 16, 16, backend)[0] for backend in ("auto", "auto", "cpu")]
    assert torch.equal(images[0], images[2])
    assert [record.message for record in caplog.records] == ["rasteriser 'auto': tensors are on cpu, so it is 'cpu'"]
