"""Pictures for people: `python -m tests.figures --data FOLDER --out FOLDER`.

`formats.png`: a row for each folder of recordings, as DrAction draws it. `renderers.png`: some movements, a row for each
renderer. `thinning.png`: one movement with 25, 20, 17 and 13 joints. Needs real recordings, so it is no test.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from skeletonllm.errors import SkeletonLLMError
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.picture import to_bytes
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import find_recordings
from skeletonllm.skeleton.labels import read_labelled
from skeletonllm.skeleton.simulate import perform
from tests.thinning import thinned

_PX, _FRAMES, _LABEL_PX = 128, 8, 330
_RENDERERS = ("draction", "skeleton_2d", "skeleton_3d_velocity", "jtm")
_MOVEMENTS = ("wave", "kick", "push")


def strip(clip: Clip, renderer: str = "draction") -> np.ndarray:
    """The frames of a clip side by side."""
    made = build_renderer(RenderConfig(renderer=renderer, num_frames=_FRAMES, size_px=_PX))
    with torch.inference_mode():
        return np.concatenate(to_bytes(made(made.collate([clip]))[0]), 1)


def labelled(text: str, row: np.ndarray) -> np.ndarray:
    """A row with words on its left."""
    label = Image.new("RGB", (_LABEL_PX, len(row)), (24, 24, 28))
    ImageDraw.Draw(label).multiline_text((10, len(row) // 2 - 24), text, fill=(235, 235, 235), font_size=15)
    return np.concatenate((np.asarray(label), row), 1)


def save(rows: Sequence[np.ndarray], path: Path) -> None:
    """Rows under one another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(rows)).save(path)
    print(path)


def formats(data: Path) -> list[np.ndarray]:
    """Of each folder that one of its first recordings in which most is seen."""
    rows = []
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        clips = [clip for recording in find_recordings(folder)[:8] for clip in readable(recording)[:1]]
        if clips:
            clip = max(clips, key=lambda clip: float((clip.confidence > 0).mean()))
            words = (
                f"{folder.name}\n{clip.topology.name}, {clip.topology.num_joints} joints\n{(clip.action or '')[:40]}"
            )
            rows.append(labelled(words, strip(clip)))
    return rows


def readable(recording: Path) -> list[Clip]:
    """Its clips; none where it cannot be read."""
    try:
        return read_labelled(recording)
    except SkeletonLLMError:
        return []


def renderers() -> list[np.ndarray]:
    """Simulated movements, each as every renderer draws it."""
    return [
        labelled(f"{action}\n{renderer}", strip(perform(action, 0, 0, 0), renderer))
        for action in _MOVEMENTS
        for renderer in _RENDERERS
    ]


def thinning(data: Path) -> list[np.ndarray]:
    """A clip of NTU with fewer and fewer joints."""
    recording = find_recordings(data / "ntu_skeleton")[6]
    clip = read_labelled(recording)[0]
    rows = []
    for joints in (25, 20, 17, 13):
        words = f"{joints} joints\n{clip.action}"
        rows.append(labelled(words, strip(thinned(clip, joints))))
    return rows


def main() -> None:
    """Draw them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of folders of recordings")
    parser.add_argument("--out", type=Path, default=Path("figures"))
    asked = parser.parse_args()
    save(renderers(), asked.out / "renderers.png")
    save(formats(asked.data), asked.out / "formats.png")
    save(thinning(asked.data), asked.out / "thinning.png")


if __name__ == "__main__":
    main()
