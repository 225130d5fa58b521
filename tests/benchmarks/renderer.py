"""The whole of DrAction beside its rasteriser alone and beside the vision encoder that sees its frames, in CPU time.

CPU time of all threads, least of the interleaved runs: other work on the machine does not count.
"""

import time
from collections.abc import Callable, Iterator

import torch

from skeletonllm.render.config import RenderConfig
from skeletonllm.render.draction import DrAction
from skeletonllm.render.gaussians import GaussianCloud
from skeletonllm.render.renderer import draw
from skeletonllm.skeleton.clip import Clip
from tests.benchmarks.measure import Row

_SIZES = {"A: 16 x 224 x 224": 224, "B: 16 x 448 x 448": 448}
# 25 joints and 16 on each of 24 bones: 409 Gaussians.
_PER_BONE = 16


def whole_renderer(clips: list[Clip], runs: int) -> Iterator[Row]:
    """Lifting, skinning, modulation, projection and splatting of one clip, forward and backward; a ViT-S/16's forward."""
    clip = next(clip for clip in clips if clip.topology.name == "kinect_v2_25" and clip.num_persons == 1)
    encoder = _encoder()
    for name, size in _SIZES.items():
        renderer = DrAction(RenderConfig(num_frames=16, size_px=size, gaussians_per_bone=_PER_BONE, backend="cpu"))
        prepared = renderer.prepare(clip)
        batch = renderer.collate([prepared])
        with torch.no_grad():
            cloud, frames = renderer.cloud(batch), renderer(batch)[0]
        leaves = {field: value.detach().requires_grad_() for field, value in vars(cloud).items()}
        gradient = torch.rand_like(frames[None])

        def splat(leaves=leaves, batch=batch, renderer=renderer, gradient=gradient) -> None:
            draw(GaussianCloud(**leaves), batch.center_m, batch.half_width_m, renderer.config).backward(gradient)

        def whole(renderer=renderer, prepared=prepared, gradient=gradient) -> None:
            renderer(renderer.collate([prepared])).backward(gradient)

        def encode(frames=frames) -> None:
            with torch.no_grad():
                encoder(frames, interpolate_pos_encoding=True)

        splatted, drawn = _interleaved([splat, whole], runs * 4)
        (encoded,) = _interleaved([encode], 1)
        yield _row(name, "project + splat, forward + backward", splatted, "CPU ms")
        yield _row(name, "whole DrAction, forward + backward", drawn, "CPU ms")
        yield _row(name, "ViT-S/16, forward", encoded, "CPU ms")
        yield _row(name, "whole DrAction / project + splat", drawn / splatted, "x")
        yield _row(name, "whole DrAction / ViT-S/16 forward", 100 * drawn / encoded, "%")


def _encoder() -> torch.nn.Module:
    """A ViT-S/16 with random weights: how long it takes does not depend on them."""
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536)
    return ViTModel(config).eval()


def _interleaved(works: list[Callable[[], None]], runs: int) -> list[float]:
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
    return Row(f"renderer, {name}", what, value, unit, value, value)
