"""Makes `splat_gpu.npz`: `python -m tests.golden.make_splat`, on a machine with a GPU and gsplat 1.5.

Holds the inputs, gsplat's image and coverage, and its gradients, so that machines without a GPU can compare for ever.
"""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.skeletonllm.render.rasterize.scenes import pulled, scene, single

GOLDEN = Path(__file__).with_name("splat_gpu.npz")
# Images, Gaussians, height and width, largest Gaussian in pixels, channels.
CASES = {
    "bodies": (3, 120, (64, 48), 5.0, 3),
    "wide": (1, 40, (50, 70), 25.0, 3),
    "points": (2, 200, (40, 40), 0.3, 3),
    "channels": (1, 60, (33, 31), 6.0, 6),
}


def case(name: str) -> tuple[list[Tensor], Tensor, tuple[int, int]]:
    """Values, keys and size of a scene; opacities are below what any version of gsplat cuts off."""
    images, gaussians, size, largest_px, channels = CASES[name]
    *values, keys = single(scene(images, gaussians, size, 11, largest_px, channels))
    values[3] = 0.02 + 0.96 * values[3]
    return values, keys, size


def main() -> None:
    """Draw all cases with gsplat and keep them."""
    if not torch.cuda.is_available():
        raise SystemExit("make_splat: torch finds no CUDA device; run it on a machine with a GPU")
    arrays = {
        "made_by": np.array(f"gsplat {version('gsplat')}, torch {torch.__version__}, {torch.cuda.get_device_name()}")
    }
    for name in CASES:
        values, keys, size = case(name)
        drawn = pulled([value.cuda() for value in values], keys.cuda(), size, "gsplat", torch.float32)
        arrays |= {f"{name}.input.{place}": value.numpy() for place, value in enumerate([*values, keys])}
        arrays |= {f"{name}.{place}": part.float().cpu().numpy() for place, part in enumerate(drawn)}
    np.savez_compressed(GOLDEN, **arrays)
    print(f"{GOLDEN}: {GOLDEN.stat().st_size} bytes, {arrays['made_by']}")


if __name__ == "__main__":
    main()
