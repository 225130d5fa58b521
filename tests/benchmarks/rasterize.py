"""The rasteriser's backends on the same scenes, in CPU time, beside a loop over Gaussians and beside the machine's floor.

Scenes: a simulated performer of 25 joints who moves, about N Gaussians on the 24 bones, opacities 0.25 to 0.95.
CPU time of all threads, least of the interleaved runs: other work on the machine does not count.
"""

import ctypes
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from skeletonllm.render.camera import project
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.fixed import Skeleton2D
from skeletonllm.render.rasterize import rasterize
from skeletonllm.render.rasterize.build import find_compiler
from skeletonllm.skeleton.clip import Clip
from tests.benchmarks.measure import Row

# Frames, pixels, Gaussians on a bone: 409, 409 and 985 Gaussians.
_CASES = {
    "A: 16 x 224 x 224, 409": (16, 224, 16),
    "B: 16 x 448 x 448, 409": (16, 448, 16),
    "C: 64 x 224 x 224, 985": (64, 224, 40),
}
# Floating-point operations of a pixel that a Gaussian reaches: exponent, power of two, cut, light, colour; and back.
_FLOPS = {"forward": 33, "backward": 87}
_PEAK_ROUNDS = 2_000_000
# Twelve vectors of sixteen floats, each multiplied and added to in every round.
_PEAK = """
typedef float Floats __attribute__((vector_size(64)));
Floats kept[12];
extern "C" void multiply(int rounds) {
    Floats x[12];
    for (int i = 0; i < 12; i++) x[i] = kept[i] + float(i);
    const Floats factor = Floats{} + 0.999f, term = Floats{} + 0.001f;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < 12; i++) x[i] = x[i] * factor + term;
    }
    for (int i = 0; i < 12; i++) kept[i] = x[i];
}
"""


class Scene(NamedTuple):
    """The rasteriser's arguments and the gradient of its image."""

    tensors: list[Tensor]
    keys: Tensor
    size: int
    gradient: Tensor


def scene(clip: Clip, frames: int, size: int, per_bone: int) -> Scene:
    """One clip's Gaussians in the image plane."""
    renderer = Skeleton2D(RenderConfig(num_frames=frames, size_px=size, gaussians_per_bone=per_bone))
    batch = renderer.collate([clip])
    cloud = renderer.cloud(batch)
    seen = project(
        cloud.means,
        cloud.axes,
        cloud.scale_across,
        cloud.scale_along,
        batch.center_m,
        batch.half_width_m,
        size,
        "orthographic",
    )
    generator = torch.Generator().manual_seed(0)
    opacities = 0.25 + 0.7 * torch.rand(seen.depth.shape, generator=generator)
    colors = torch.rand(cloud.colors.shape, generator=generator)
    keys = (1000 * seen.depth).round().long()[0]
    tensors = [value[0].contiguous() for value in (seen.means2d, seen.conics(), colors, opacities)]
    return Scene(tensors, keys, size, torch.randn(frames, 3, size, size, generator=generator))


def rasterisers(clips: list[Clip], runs: int) -> Iterator[Row]:
    """Forward and backward of `cpu` and `reference`, a loop over Gaussians, and how far `cpu` is from the floor."""
    clip = next(clip for clip in clips if clip.topology.name == "kinect_v2_25" and clip.num_persons == 1)
    peaks = _peaks()
    for name, case in _CASES.items():
        some = scene(clip, *case)
        fast, slow = _interleaved([lambda s=some: both(s, "cpu"), lambda s=some: both(s, "reference")], runs)
        (forward,) = _interleaved([lambda s=some: ahead(s)], runs * 3)
        (fast,) = _interleaved([lambda s=some: both(s, "cpu")], runs * 3)
        loop = _loop_time(some)
        floor = _floor(some, *peaks)
        yield _row(name, "cpu, forward", forward, "CPU ms")
        yield _row(name, "cpu, forward + backward", fast, "CPU ms")
        yield _row(name, "cpu / floor of this machine", fast / floor, "x")
        yield _row(name, "reference / cpu", slow / fast, "x")
        yield _row(name, "cpu, largest error of a pixel", _error(some, 0), "")
        yield _row(name, "cpu, largest relative error of a gradient", _error(some, 1), "")
        yield _row(name, "loop over Gaussians and all pixels / cpu", loop / fast, "x")


def ahead(some: Scene) -> None:
    """The picture."""
    with torch.no_grad():
        rasterize(*some.tensors, some.keys, some.size, some.size, "cpu")


def both(some: Scene, backend: str) -> None:
    """The picture and all gradients."""
    leaves = [tensor.clone().requires_grad_() for tensor in some.tensors]
    image, _ = rasterize(*leaves, some.keys, some.size, some.size, backend)
    image.backward(some.gradient)


def _error(some: Scene, place: int) -> float:
    """Of the first four frames, against the reference in double precision: of a pixel (0) or of a gradient (1)."""
    found = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        leaves = [tensor[:4].to(dtype).requires_grad_() for tensor in some.tensors]
        image, _ = rasterize(*leaves, some.keys[:4], some.size, some.size, backend)
        gradients = torch.autograd.grad(image, leaves, some.gradient[:4].to(dtype))
        found.append([image.detach(), *gradients])
    (image, *gradients), (exact, *expected) = found
    if place == 0:
        return float((image - exact).abs().max())
    return max(float((got - wanted).norm() / wanted.norm()) for got, wanted in zip(gradients, expected, strict=True))


def _loop(means: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, order: Tensor, size: int) -> Tensor:
    """One frame as the public renderer draws it: every Gaussian over every pixel, one after the other."""
    places = torch.arange(size) + 0.5
    y, x = torch.meshgrid(places, places, indexing="ij")
    image, light = torch.zeros(3, size, size), torch.ones(size, size)
    for i in order.tolist():
        dx, dy = x - means[i, 0], y - means[i, 1]
        power = -0.5 * (conics[i, 0] * dx * dx + conics[i, 2] * dy * dy) - conics[i, 1] * dx * dy
        alpha = (opacities[i] * torch.exp(power)).clamp(max=0.999)
        image = image + (light * alpha) * colors[i, :, None, None]
        light = light * (1 - alpha)
    return image


def _loop_time(some: Scene) -> float:
    """CPU milliseconds of all frames, from the first one times their number."""
    leaves = [tensor[0].clone().requires_grad_() for tensor in some.tensors]
    started = time.process_time()
    _loop(*leaves, some.keys[0].argsort(), some.size).backward(some.gradient[0])
    return 1000 * (time.process_time() - started) * len(some.keys)


def _peaks() -> tuple[float, float]:
    """Floating-point operations per CPU millisecond, from products and sums in registers; bytes, from a copy."""
    to, source = torch.empty(1 << 24), torch.rand(1 << 24)
    with tempfile.TemporaryDirectory() as folder:
        code, library = Path(folder) / "peak.cpp", Path(folder) / "peak.so"
        code.write_text(_PEAK)
        native = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
        flags = ["-O3", native, "-ffp-contract=fast", "-shared", "-fPIC"]
        subprocess.run([*find_compiler(), *flags, str(code), "-o", str(library)], check=True)
        multiply = ctypes.CDLL(str(library)).multiply
        multiplied, copied = _interleaved([lambda: multiply(_PEAK_ROUNDS), lambda: to.copy_(source)], 10)
    return _PEAK_ROUNDS * 12 * 16 * 2 / multiplied, 2 * 4 * (1 << 24) / copied


def _floor(some: Scene, flops_per_ms: float, bytes_per_ms: float) -> float:
    """CPU milliseconds that the arithmetic of all reached pixels and the bytes of pictures and gradients take."""
    pairs = 0
    places = torch.arange(some.size) + 0.5
    means, conics, _, opacities = some.tensors
    for frame in range(len(some.keys)):
        dx, dy = (places[:, None] - means[frame, :, axis] for axis in (0, 1))
        a, b, c = conics[frame].unbind(-1)
        power = -0.5 * (a * dx * dx)[None] - 0.5 * (c * dy * dy)[:, None] - b * dx[None] * dy[:, None]
        pairs += int((opacities[frame] * torch.exp(power) >= 1 / 255).sum())
    pixels = some.gradient.numel() // 3
    # Image and coverage are written; they and the image's gradient are read where something is drawn, a quarter.
    moved = 4 * pixels * (4 + 7 / 4)
    return pairs * sum(_FLOPS.values()) / flops_per_ms + moved / bytes_per_ms


def _interleaved(works: list[Callable[[], object]], runs: int) -> list[float]:
    """CPU milliseconds of each work, least of the runs; they take turns."""
    least = [float("inf")] * len(works)
    for run in range(runs + 1):
        for place, work in enumerate(works):
            started = time.process_time()
            work()
            if run:
                least[place] = min(least[place], 1000 * (time.process_time() - started))
    return least


def _row(name: str, what: str, value: float, unit: str) -> Row:
    return Row(f"rasteriser, {name}", what, value, unit, value, value)
