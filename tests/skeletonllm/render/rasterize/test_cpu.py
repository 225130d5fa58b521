"""The fast kernel against the definition in double precision, and against itself."""

import random
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import rasterize
from tests.skeletonllm.render.rasterize.scenes import pulled, scene, single


def both(parts: list[Tensor], size: tuple[int, int]) -> tuple[list[Tensor], list[Tensor]]:
    """Image, coverage and gradients from the reference in doubles, and from the kernel."""
    *values, keys = single(parts)
    found = pulled(values, keys, size, "cpu", torch.float32)
    assert all(part.isfinite().all() for part in found)
    return pulled(values, keys, size, "reference", torch.float64), found


def largest(wanted: list[Tensor], found: list[Tensor]) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(wanted[:2], found[:2], strict=True))


@pytest.mark.slow
def test_a_thousand_random_scenes_equal_the_reference_in_value_and_gradient() -> None:
    draw = random.Random(0)
    wrong, total = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for seed in range(1000):
        size = (draw.randint(1, 40), draw.randint(1, 40))
        images, gaussians, channels = draw.randint(1, 3), draw.randint(1, 40), draw.randint(1, 8)
        parts = scene(images, gaussians, size, seed, 10 ** draw.uniform(-1, 1.5), channels)
        parts[3] *= 0.95
        wanted, found = both(parts, size)
        assert largest(wanted, found) < 1e-6
        for place, (a, b) in enumerate(zip(wanted[2:], found[2:], strict=True)):
            wrong[place] += (a - b).square().sum()
            total[place] += a.square().sum()
            # Random weights cancel: of few pixels little is left, and what is left is less exact.
            assert (a - b).norm() < 1e-4 * a.norm() + 1e-6
    assert (wrong / total).sqrt().max() < 2e-6


@settings(max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 60), st.floats(0.1, 60), st.integers(1, 8), st.booleans())
def test_any_size_and_number_of_channels_equals_the_reference(height, width, gaussians, largest_px, channels, opaque):
    parts = scene(2, gaussians, (height, width), gaussians, largest_px, channels)
    parts[3] = torch.ones_like(parts[3]) if opaque else parts[3]
    wanted, found = both(parts, (height, width))
    # An alpha within rounding of the cut may fall to its other side: a jump of at most 1/255.
    assert largest(wanted, found) < 1 / 255 + 1e-5
    assert (
        sum(int(((a - b).abs() > 1e-6).sum()) for a, b in zip(wanted[:2], found[:2], strict=True)) <= 2 * channels + 2
    )


@pytest.mark.parametrize("images", [1, 3, 20])
def test_the_bits_do_not_depend_on_the_number_of_threads_nor_on_the_run(images: int) -> None:
    *values, keys = single(scene(images, 80, (150, 90), largest_px=6.0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 3):
            torch.set_num_threads(threads)
            found.append(pulled(values, keys, (150, 90), "cpu", torch.float32))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_an_image_and_its_gradients_are_the_same_alone_and_among_others() -> None:
    *values, keys = single(scene(20, 90, (150, 40), largest_px=8.0))
    drawn = []
    for some in (slice(0, 20), slice(3, 4)):
        inputs = [value[some].clone().requires_grad_() for value in values]
        image, alpha = rasterize(*inputs, keys[some], 150, 40, "cpu")
        gradients = torch.autograd.grad((image * image).sum() + alpha.sum(), inputs)
        drawn.append([part if some.start else part[3:4] for part in (image, alpha, *gradients)])
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))


def test_an_image_in_bands_equals_the_reference() -> None:
    wanted, found = both(scene(2, 60, (200, 50), seed=5, largest_px=9.0), (200, 50))
    assert largest(wanted, found) < 1e-6
    for a, b in zip(wanted[2:], found[2:], strict=True):
        assert (a - b).norm() < 1e-5 * a.norm()


def test_huge_gaussians_and_points_equal_the_reference() -> None:
    parts = scene(1, 30, (40, 40), seed=2)
    parts[1][:, :10] *= 1e-6
    parts[1][:, 10:20] *= 1e4
    parts[0][:, 20:] = parts[0][:, 20:].round() + 0.5
    parts[1][:, 20:] *= 1e8
    wanted, found = both(parts, (40, 40))
    assert largest(wanted, found) < 1e-6


def test_equal_keys_keep_their_order_whatever_the_keys() -> None:
    *values, keys = single(scene(2, 50, (30, 30), largest_px=9.0))
    expected = pulled(values, torch.zeros_like(keys), (30, 30), "cpu", torch.float32)
    for key in (-(2**63), -1, 7, 2**63 - 1):
        same = torch.full_like(keys, key)
        found = pulled(values, same, (30, 30), "cpu", torch.float32)
        assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    wide = keys * 2**55 - 2**60
    narrow = pulled(values, keys, (30, 30), "cpu", torch.float32)
    assert torch.equal(narrow[0], pulled(values, wide, (30, 30), "cpu", torch.float32)[0])


def test_what_cannot_be_drawn_is_left_out_and_gets_no_gradient() -> None:
    *values, keys = single(scene(1, 9, (16, 16)))
    clean = rasterize(*values, keys, 16, 16, "cpu")[0]
    nan, inf = float("nan"), float("inf")
    good: list[list[float]] = [[4, 4], [1, 0, 1], [1, 1, 1], [1]]
    bad = {
        0: [[nan, 4], [4, inf], [1e30, 4], [-1e30, -1e30], [3e38, 3e38]],
        1: [[nan, 0, 1], [0, 0, 0], [1, 1, 1], [-1, 0, -1], [inf, 0, inf], [1, inf, 1], [3e38, 3e38, 3e38]],
        2: [[nan, 1, 1], [1, 1, inf]],
        3: [[nan], [inf], [-inf], [0], [-1], [1 / 256]],
    }
    rows = [[*good[:at], row, *good[at + 1 :]] for at, some in bad.items() for row in some]
    columns = [torch.tensor([[row[part] for row in rows]]) for part in range(4)]
    columns[3] = columns[3][..., 0]
    inputs = [torch.cat(pair, 1).requires_grad_() for pair in zip(values, columns, strict=True)]
    keys = torch.cat((keys, torch.zeros(1, len(rows), dtype=torch.long)), 1)
    for backend in ("cpu", "reference"):
        image, alpha = rasterize(*inputs, keys, 16, 16, backend)
        torch.testing.assert_close(image, clean, rtol=0, atol=1e-5)
        for gradient in torch.autograd.grad(image.sum() + alpha.sum(), inputs):
            assert gradient.isfinite().all()
            assert not gradient[:, 9:].any()


@settings(max_examples=40)
@given(st.lists(st.floats(width=32), min_size=18, max_size=18), st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2))
def test_any_numbers_at_all_give_a_finite_picture_and_finite_gradients(numbers, keys) -> None:
    values = torch.tensor(numbers).view(1, 2, 9)
    parts = [values[..., :2], values[..., 2:5], values[..., 5:8], values[..., 8]]
    *found, _, _ = pulled(parts, torch.tensor([keys[:2]]), (20, 20), "cpu", torch.float32)
    colors_fit = parts[2].isfinite().all() and parts[2].abs().max() < 1e30
    assert found[1].isfinite().all()
    assert not colors_fit or all(part.isfinite().all() for part in found[:1])


def test_nothing_to_draw_is_black_and_can_be_back_propagated() -> None:
    for images, gaussians in ((0, 5), (2, 0), (2, 3)):
        *values, keys = single(scene(images, gaussians, (9, 9)))
        values[3] *= 0
        found = pulled(values, keys, (9, 9), "cpu", torch.float32)
        assert found[0].shape == (images, 3, 9, 9)
        assert not any(part.any() for part in found)


def test_only_one_output_needs_a_gradient_and_any_strides_do() -> None:
    *values, keys = single(scene(2, 30, (20, 20)))
    inputs = [value.requires_grad_() for value in values]
    image, alpha = rasterize(*[value.mT.contiguous().mT for value in inputs[:3]], inputs[3], keys, 20, 20, "cpu")
    for output, part in ((image, 0), (alpha, 1)):
        pull = [torch.zeros_like(image), torch.zeros_like(alpha)]
        pull[part] += 1
        wanted = torch.autograd.grad((image, alpha), inputs, pull, retain_graph=True)
        found = torch.autograd.grad(output.sum(), inputs, retain_graph=True, allow_unused=True)
        for a, b in zip(wanted, found, strict=True):
            torch.testing.assert_close(b, a)


def test_other_types_and_too_many_channels_are_errors_with_a_remedy() -> None:
    *values, keys = scene(1, 4, (8, 8))
    with pytest.raises(BackendError, match=r"torch\.float64 on cpu, must be torch\.float32 on cpu.*'reference'"):
        rasterize(*values, keys, 8, 8, "cpu")
    *values, keys = single(scene(1, 4, (8, 8), channels=9))
    with pytest.raises(BackendError, match=r"9 channels, must be 1 to 8"):
        rasterize(*values, keys, 8, 8, "cpu")


_PEAK = """
import resource, torch
from tests.skeletonllm.render.rasterize.scenes import pulled, scene, single
from skeletonllm.render.rasterize import rasterize
torch.set_num_threads(2)
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
*values, keys = single(scene(16, 1000, (224, 224), largest_px=4.0))
inputs = [value.requires_grad_() for value in values]
rasterize(*[value[:1, :9] for value in inputs], keys[:1, :9], 224, 224, "cpu")[0].sum().backward()
weight = torch.ones(16, 3, 224, 224)
torch.ones(16, 4, 224, 224) * 1
before = peak()
image, alpha = rasterize(*inputs, keys, 224, 224, "cpu")
image.backward(weight)
print(peak() - before - (image.nbytes + alpha.nbytes + sum(value.nbytes for value in inputs)))
"""


def test_memory_beyond_inputs_and_outputs_is_under_8_mb() -> None:
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 8e6
