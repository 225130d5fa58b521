"""SkeletonLLM: any human-skeleton recording, seen by a multimodal LLM through a differentiable renderer.

import skeletonllm

clips = skeletonllm.read("S001C001P001R001A008.skeleton")     # or any other recording, or a folder of them
clips = skeletonllm.read("poses.npy", topology="coco_17", fps=25)
"""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skeletonllm.skeleton.clip import Clip

__all__ = ["read"]


def read(
    path: "str | Path",
    *,
    format: str | None = None,
    topology: str | None = None,
    fps: float | None = None,
    unit: str | None = None,
    up: str | None = None,
) -> "list[Clip]":
    """All clips of a recording, or of all recordings below a folder: metres, right-handed, +y up, with their labels.

    A `recordings.toml` beside the recordings is obeyed; what is given here wins over it.

    Args:
        path: the recording, or a folder of recordings.
        format: one of `skeletonllm.skeleton.formats.formats()`; by default the content decides.
        topology: of files that do not say it: a name such as "coco_17", or a .toml file with joints and parents.
        fps: frames per second; wins over the file.
        unit: of files that do not say it: m, cm, mm, in, ft.
        up: the axis that points up in files that do not say it, such as "+z".

    Raises:
        FormatError: a file is damaged, or of no known format.
        ConfigError: an option is unknown, or the format says that itself.
    """
    from skeletonllm.skeleton.formats.declared import declared_by
    from skeletonllm.skeleton.labels import read_labelled

    return read_labelled(Path(path), format, declared_by(topology, fps, unit, up))
