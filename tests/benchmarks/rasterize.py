"""How fast the rasterisers are, and how near to what the processor could do: `python -m tests.benchmarks rasterize`.

All times are CPU time of one forward and backward, the least of the runs, taken in turns in one process, on one thread. The
loop is timed on some Gaussians of one frame and scaled to all.
"""

import ctypes
import math
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.table import Table
from torch import Tensor

from skeletonllm.render.rasterize import rasterize
from skeletonllm.render.rasterize.build import find_compiler

# Frames, width and height in pixels, Gaussians of a frame.
SIZES = {"A": (16, 224, 400), "B": (16, 448, 400), "C": (64, 224, 1000)}
_COMPARED_FRAMES, _LOOP_GAUSSIANS, _COUNTED_FRAMES = 4, 25, 2
# Of a pair of a Gaussian and a pixel that it touches, forward and backward (exponent, exponential, cut, light, colour; and
# back): what no arrangement of the work can leave out.
_FLOPS_OF_PAIR = 87
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
# Joints of a standing body of height 1, x to the right and y down, and whose child each is.
_JOINTS = """
    0 0.47, 0 0.33, 0 0.18, 0 0.07, -0.1 0.2, -0.13 0.34, -0.15 0.47, -0.155 0.53, 0.1 0.2,
    0.13 0.34, 0.15 0.47, 0.155 0.53, -0.06 0.5, -0.07 0.72, -0.075 0.93, -0.1 0.97, 0.06 0.5, 0.07 0.72,
    0.075 0.93, 0.1 0.97, 0 0.2, -0.16 0.57, -0.13 0.54, 0.16 0.57, 0.13 0.54
"""
_PARENTS = (-1, 0, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 1, 7, 7, 11, 11)


class Peaks(NamedTuple):
    """What one core does of each, per second of CPU time."""

    flops: float
    written: float
    read: float


def moving_body(frames: int, size: int, gaussians: int) -> list[Tensor]:
    """25 joints that move, Gaussians on 24 bones; orthographic, 86 % of the height; opacities 0.25 to 0.95."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    phase = torch.linspace(0, 1, frames)[:, None]
    swing = (
        torch.sin(2 * math.pi * (1.5 * phase[..., None] + rand(1, 25, 2))) * torch.linspace(0.012, 0.06, 25)[:, None]
    )
    places = [[float(number) for number in joint.split()] for joint in _JOINTS.split(",")]
    joints = torch.tensor(places) + swing
    depths = 0.1 * torch.sin(2 * math.pi * (phase + rand(1, 25)))
    child = torch.arange(gaussians) % 24 + 1
    parent = torch.tensor(_PARENTS)[child]
    along = rand(gaussians)
    bone = joints[:, child] - joints[:, parent]
    length = bone.norm(dim=-1).clamp_min(1e-3)
    # More Gaussians are smaller.
    finer = (400 / gaussians) ** 0.15
    means = joints[:, parent] + along[:, None] * bone + 0.016 * torch.randn(gaussians, 2, generator=generator)
    wide = (0.007 + 0.006 * rand(gaussians)) * finer
    long = (0.19 * length).clamp_min(0.01) * finer
    pixels = 0.86 * size
    turn = bone / length[..., None]
    frame = torch.stack((turn, turn.flip(-1) * torch.tensor([-1.0, 1.0])), -1)
    spread = torch.stack((long, wide.expand_as(long)), -1) * pixels
    covariance = (frame * spread[..., None, :] ** 2) @ frame.mT + 0.3 * torch.eye(2)
    inverse = torch.linalg.inv(covariance)
    conics = torch.stack((inverse[..., 0, 0], inverse[..., 0, 1], inverse[..., 1, 1]), -1)
    keys = (1000 * torch.lerp(depths[:, parent], depths[:, child], along)).round().long()
    means = means * pixels + torch.tensor([0.5, 0.07]) * size
    return [means, conics, rand(frames, gaussians, 3), 0.25 + 0.7 * rand(frames, gaussians), keys]


def loop(means: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, size: int) -> Tensor:
    """One frame as a loop over its Gaussians, each at every pixel."""
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    image, light = torch.zeros(3, size, size), torch.ones(size, size)
    for (mx, my), (a, b, c), color, opacity in zip(means, conics, colors, opacities, strict=True):
        dx, dy = x - mx, y - my
        alpha = (opacity * torch.exp(-(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy))).clamp_max(0.999)
        alpha = torch.where((alpha >= 1 / 255) & (light * (1 - alpha) > 1e-4), alpha, 0)
        image = image + light * alpha * color[:, None, None]
        light = light * (1 - alpha)
    return image


def table(runs: int) -> Table:
    """All sizes: times, ratios, distance from the floor, accuracy."""
    threads = torch.get_num_threads()
    # torch's other threads wait by running, which would count.
    torch.set_num_threads(1)
    try:
        peaks = _peaks()
        rows = [(name, *_measured(name, peaks, runs)) for name in SIZES]
    finally:
        torch.set_num_threads(threads)
    title = f"rasterisers, CPU ms forward + backward; one core: {peaks.flops / 1e9:.0f} GFLOP/s, writes "
    title += f"{peaks.written / 1e9:.0f} GB/s, reads {peaks.read / 1e9:.0f} GB/s; {runs} runs, the least of each"
    result = Table(title=title, title_justify="left")
    names = ("", "pairs", "floor", "cpu", "forward", "x floor", "reference", "x cpu", "loop*", "x cpu")
    for name in (*names, "image off by", "pixels at a cut", "gradients off by"):
        result.add_column(name, justify="right")
    for row in rows:
        result.add_row(*row)
    result.caption = "* timed on 25 Gaussians of one frame, and scaled"
    return result


def _measured(name: str, peaks: Peaks, runs: int) -> list[str]:
    frames, size, gaussians = SIZES[name]
    *values, keys = moving_body(*SIZES[name])
    values = [value.requires_grad_() for value in values]
    few = [value.detach()[0, :_LOOP_GAUSSIANS].requires_grad_() for value in values]
    pull = torch.randn(frames, 3, size, size)
    seconds: dict[str, list[float]] = {"cpu": [], "forward": [], "reference": [], "loop": []}
    for _ in range(runs):
        for _ in range(3):
            forward, (image, _) = _cpu_time(lambda: rasterize(*values, keys, size, size, "cpu"))
            backward, _ = _cpu_time(lambda image=image: torch.autograd.grad(image, values, pull))
            seconds["forward"].append(forward)
            seconds["cpu"].append(forward + backward)
            del image
        slow, _ = _cpu_time(
            lambda: torch.autograd.grad(rasterize(*values, keys, size, size, "reference")[0], values, pull)
        )
        seconds["reference"].append(slow)
        slower, _ = _cpu_time(lambda: torch.autograd.grad(loop(*few, size), few, pull[0]))
        seconds["loop"].append(slower * frames * gaussians / _LOOP_GAUSSIANS)
    cpu, forward, reference, naive = (1e3 * min(seconds[key]) for key in ("cpu", "forward", "reference", "loop"))
    pairs, covered = _count(values, keys, size)
    floor = 1e3 * _floor(pairs, covered, frames * size * size, peaks)
    numbers = f"{pairs / 1e6:.2f} M", f"{floor:.1f}", f"{cpu:.1f}", f"{forward:.1f}", f"{cpu / floor:.1f}"
    ratios = f"{reference:,.0f}", f"{reference / cpu:,.0f}", f"{naive:,.0f}", f"{naive / cpu:,.0f}"
    return [*numbers, *ratios, *_accuracy(values, keys, size, pull)]


def _cpu_time(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.process_time()
    done = work()
    return time.process_time() - started, done


def _count(values: list[Tensor], keys: Tensor, size: int) -> tuple[float, float]:
    """Pairs whose alpha reaches 1/255, and the share of pixels that have one; of some frames, scaled to all."""
    means, conics, _, opacities = (value.detach() for value in values)
    y, x = torch.meshgrid(torch.arange(size) + 0.5, torch.arange(size) + 0.5, indexing="ij")
    step = len(means) // _COUNTED_FRAMES
    pairs, covered = 0, 0.0
    for frame in range(0, len(means), step):
        touched = torch.zeros(size, size, dtype=torch.int64)
        for (mx, my), (a, b, c), opacity in zip(means[frame], conics[frame], opacities[frame], strict=True):
            dx, dy = x - mx, y - my
            touched += opacity * torch.exp(-(0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy)) >= 1 / 255
        pairs += int(touched.sum())
        covered += float((touched > 0).double().mean())
    return pairs * step, covered / _COUNTED_FRAMES


def _floor(pairs: float, covered: float, pixels: int, peaks: Peaks) -> float:
    """CPU seconds: the arithmetic of the pairs; image and coverage written, and read with their gradients where covered."""
    picture = 4 * pixels * 4
    return pairs * _FLOPS_OF_PAIR / peaks.flops + picture / peaks.written + 2 * covered * picture / peaks.read


def _accuracy(values: list[Tensor], keys: Tensor, size: int, pull: Tensor) -> tuple[str, str, str]:
    """Against the reference in doubles; pixels where an alpha falls to the other side of a cut are counted and left out."""
    frames = _COMPARED_FRAMES
    drawn = []
    for backend, dtype in (("cpu", torch.float32), ("reference", torch.float64)):
        inputs = [value.detach()[:frames].to(dtype).requires_grad_() for value in values]
        drawn.append((inputs, rasterize(*inputs, keys[:frames], size, size, backend)[0]))
    off = (drawn[0][1] - drawn[1][1]).detach().abs()
    same = (off <= 1e-5).all(1, keepdim=True)
    found, wanted = (torch.autograd.grad(image, inputs, (pull[:frames] * same).to(image)) for inputs, image in drawn)
    gradients = max(float((a - b).norm() / b.norm()) for a, b in zip(found, wanted, strict=True))
    return f"{float((off * same).max()):.1e}", f"{int((~same).sum())}", f"{gradients:.1e}"


def _peaks() -> Peaks:
    """Measured: products and sums with a loop of our own, memory with torch's fill and sum."""
    many = torch.ones(2**25)
    filled, summed = (
        min(_cpu_time(work)[0] for _ in range(8)) for work in (lambda: many.fill_(1.0), lambda: many.sum())
    )
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "peak.cpp", Path(folder) / "peak.so"
        source.write_text(_PEAK)
        native = "-march=native" if platform.machine() in ("x86_64", "AMD64") else "-mcpu=native"
        flags = ["-O3", native, "-ffp-contract=fast", "-shared", "-fPIC"]
        subprocess.run([*find_compiler(), *flags, str(source), "-o", str(library)], check=True)
        multiply = ctypes.CDLL(str(library)).multiply
        multiplied = min(_cpu_time(lambda: multiply(_PEAK_ROUNDS))[0] for _ in range(8))
    return Peaks(_PEAK_ROUNDS * 12 * 16 * 2 / multiplied, many.nbytes / filled, many.nbytes / summed)
