"""Verbs about recordings: make samples, render."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

_READING = Reading()
_FolderArgument = Annotated[Path, tyro.conf.Positional]


def sample_data(folder: _FolderArgument = Path("sample-data"), performers: int = 16, seed: int = 0) -> None:
    """Simulate performers and write their recordings in five file formats, as the sensors would.

    Args:
        folder: where to write; files that are there are kept.
        performers: how many people take part.
        seed: of every random choice.
    """
    from skeletonllm.log import set_up_logging

    set_up_logging()
    print(f"{simulate(folder, performers, seed)} clips in {folder}")


def simulate(folder: Path, performers: int = 16, seed: int = 0) -> int:
    """Write the sample data, with progress; how many clips they are."""
    from skeletonllm.log import progress
    from skeletonllm.skeleton.simulate import write_sample_data

    with progress("sample data", 100, "%") as tick:
        return write_sample_data(
            folder, performers, seed=seed, progress=lambda done, total: tick(100 * done // max(total, 1))
        )


def render(
    clip: _FolderArgument,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("clip.gif"),
    checkpoint: Path | None = None,
    renderer: Literal["draction", "skeleton_2d"] = "draction",
    size_px: int = 224,
    num_frames: int = 24,
    index: int = 0,
    reading: ReadingArgument = _READING,
) -> None:
    """Draw a recording as the model sees it.

    Args:
        clip: a recording in any known format.
        output: .gif, .mp4 or .png (a strip of frames).
        checkpoint: draw with its trained renderer.
        renderer: without a checkpoint, which renderer; `draction` is then as it is before training.
        size_px: width and height.
        num_frames: frames drawn, spread over the clip.
        index: which clip of a file that holds several.
        reading: what the recording does not say itself.
    """
    from dataclasses import replace

    import torch

    from skeletonllm.errors import ConfigError
    from skeletonllm.render import build_renderer
    from skeletonllm.render.config import RenderConfig
    from skeletonllm.render.picture import save_picture
    from skeletonllm.skeleton.labels import read_labelled

    clips = read_labelled(clip, reading.format, reading.declared())
    if not 0 <= index < len(clips):
        raise ConfigError(f"--index is {index}, but {clip} holds clips 0 to {len(clips) - 1}")
    if checkpoint is None:
        drawer = build_renderer(RenderConfig(renderer=renderer, size_px=size_px, num_frames=num_frames))
    else:
        from skeletonllm.model.student import SkeletonLLM

        trained = SkeletonLLM.from_pretrained(checkpoint).renderer
        drawer = build_renderer(replace(trained.config, size_px=size_px, num_frames=num_frames))
        drawer.load_state_dict(trained.state_dict())
    with torch.inference_mode():
        frames = drawer(drawer.collate([clips[index]]))[0]
    save_picture(frames, output, fps=max(1.0, num_frames / max(clips[index].duration_s, 0.5)))
    print(f"{output}: {clips[index].clip_id}, {clips[index].action or 'no action'}")
