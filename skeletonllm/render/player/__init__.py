"""A clip as people look at it: one HTML file with the joints in 3D beside the frames, to be played, turned and searched.

Nothing is fetched from anywhere; the file can be sent and kept.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from skeletonllm.plain import write_whole
from skeletonllm.render.picture import png_frames
from skeletonllm.skeleton.clip import Clip

_LARGEST = 32767


@dataclass(frozen=True)
class Scene:
    """One clip to be shown.

    Args:
        title: what it is called in the list.
        clip: its joints are shown as they are, metres, +y up.
        frames: what the model sees, in [0, 1].
        times_s: when in the clip each frame is; seconds.
        saliency: how much each joint matters in each frame of the clip; 0 is nothing, the scale is free.
        note: a sentence under the title.
    """

    title: str
    clip: Clip
    frames: Float[Tensor, "frames 3 height width"]
    times_s: Sequence[float]
    saliency: Float32[np.ndarray, "persons times joints"] | None = None
    note: str = ""


def write_player(path: Path, scenes: Sequence[Scene]) -> None:
    """Write a player whole or not at all."""
    write_whole(path, player_html(scenes))


def player_html(scenes: Sequence[Scene]) -> str:
    """The player as text.

    Titles and joint names come from files that may be hostile: they travel as JSON in which no tag can begin, and the page
    puts them into text nodes only.
    """
    folder = files("skeletonllm.render.player")
    page, style, script = ((folder / name).read_text() for name in ("player.html", "player.css", "player.js"))
    data = json.dumps([_plain(scene) for scene in scenes], separators=(",", ":")).replace("<", "\\u003c")
    return page.replace("/*STYLE*/", style).replace("/*SCRIPT*/", script).replace("/*DATA*/", data)


def _plain(scene: Scene) -> dict[str, Any]:
    clip = scene.clip
    positions = np.nan_to_num(clip.positions.astype(np.float64), posinf=0, neginf=0)
    seen = positions[clip.confidence > 0]
    # Percentiles, because a joint that jumps away must not cost all others their precision.
    low, high = np.percentile(seen, (0.1, 99.9), axis=0) if len(seen) else (np.zeros(3), np.ones(3))
    center, reach = (low + high) / 2, max(float((high - low).max()), 1e-3)
    whole = np.clip((positions - center) / reach, -1, 1) * _LARGEST * (clip.confidence > 0)[..., None]
    saliency = scene.saliency
    if saliency is not None:
        saliency = 255 * saliency / max(float(saliency.max()), 1e-30)
    return {
        "title": scene.title,
        "note": scene.note,
        "action": clip.action or "",
        "topology": clip.topology.name,
        "fps": clip.fps,
        "shape": list(clip.positions.shape[:3]),
        "names": list(clip.topology.joint_names),
        "parents": list(clip.topology.parents),
        "sides": list(clip.topology.sides),
        "center": center.tolist(),
        "reach": reach,
        "positions": _base64(whole.round().astype("<i2")),
        "confidence": _base64((255 * np.clip(clip.confidence, 0, 1)).round().astype(np.uint8)),
        "saliency": None if saliency is None else _base64(saliency.round().astype(np.uint8)),
        "times": [float(time) for time in scene.times_s],
        "images": [base64.b64encode(png).decode() for png in png_frames(scene.frames)],
    }


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
