"""A clip as people look at it: one HTML file with the joints in 3D beside the frames, to be played, turned and searched.

Nothing is fetched from anywhere, and the page itself forbids it; the file can be sent and kept.
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32
from torch import Tensor

from skeletonllm.errors import DataError
from skeletonllm.plain import write_whole
from skeletonllm.render.picture import webp_frames
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import facing_yaw

_LARGEST = 32767
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{}'"


@dataclass(frozen=True)
class Scene:
    """One clip to be shown.

    Args:
        title: what it is called in the list.
        clip: its joints are shown as they are, metres, +y up.
        frames: what the model sees, in [0, 1]; of several cameras one camera's frames after the other's.
        times_s: when in the clip each frame is; seconds. Where they go back, the next camera's frames begin.
        saliency: how much each joint matters in each frame of the clip; 0 is nothing, the scale is free.
        note: a sentence under the title.

    Raises:
        DataError: there is not one time for each frame, or not one saliency for each joint of the clip.
    """

    title: str
    clip: Clip
    frames: Float[Tensor, "frames 3 height width"]
    times_s: Sequence[float]
    saliency: Float32[np.ndarray, "persons times joints"] | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if len(self.frames) != len(self.times_s):
            raise DataError(f"scene {self.title}: {len(self.frames)} frames, but {len(self.times_s)} times")
        wanted = self.clip.confidence.shape
        if self.saliency is not None and self.saliency.shape != wanted:
            raise DataError(f"scene {self.title}: saliency has shape {self.saliency.shape}, must be {wanted}")


def write_player(path: Path, scenes: Sequence[Scene]) -> None:
    """Write a player whole or not at all.

    Raises:
        DataError: there is no scene.
    """
    write_whole(path, player_html(scenes))


def player_html(scenes: Sequence[Scene]) -> str:
    """The player as text.

    Titles and joint names come from files that may be hostile: they travel as JSON in which no tag can begin, the page
    puts them into text nodes only, and no script runs but the page's own.

    Raises:
        DataError: there is no scene.
    """
    if not scenes:
        raise DataError("player: no scene to show; give at least one")
    folder = files("skeletonllm.render.player")
    page, style, space, script = (
        (folder / name).read_text() for name in ("player.html", "player.css", "space.js", "player.js")
    )
    script = f'"use strict";\n{space}\n{script}'
    policy = _POLICY.format(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode())
    data = json.dumps([_plain(scene) for scene in scenes], separators=(",", ":")).replace("<", "\\u003c")
    # The data are last, so that nothing in them is taken for a place to be filled.
    for place, text in (("POLICY", policy), ("/*STYLE*/", style), ("/*SCRIPT*/", script), ("/*DATA*/", data)):
        page = page.replace(place, text, 1)
    return page


def _plain(scene: Scene) -> dict[str, Any]:
    clip = scene.clip
    confidence = np.clip(np.nan_to_num(clip.confidence), 0, 1)
    center, reach, whole = _whole_numbers(clip.positions.astype(np.float64), confidence > 0)
    return {
        "title": scene.title,
        "note": scene.note,
        "action": clip.action or "",
        "topology": clip.topology.name,
        "dims": clip.topology.dims,
        "fps": clip.fps,
        "shape": list(clip.positions.shape[:3]),
        "names": list(clip.topology.joint_names),
        "parents": list(clip.topology.parents),
        "parts": list(clip.topology.parts),
        "sides": list(clip.topology.sides),
        "facing": 0.0 if clip.topology.dims == 2 else facing_yaw(clip),
        "center": center,
        "reach": reach,
        "positions": _base64(whole),
        # Rounded up: what was seen, however badly, stays seen.
        "confidence": _base64(np.ceil(255 * confidence).astype(np.uint8)),
        "saliency": None if scene.saliency is None else _base64(_shares(scene.saliency)),
        "times": [float(time) for time in scene.times_s],
        "images": [base64.b64encode(webp).decode() for webp in webp_frames(scene.frames)],
    }


def _whole_numbers(positions: np.ndarray, seen: np.ndarray) -> tuple[list[float], float, np.ndarray]:
    """The middle of what was seen, its extent, and positions as 16-bit numbers: shares of the extent from the middle."""
    places = positions[seen]
    # Percentiles, because a joint that jumps away must not cost all others their precision.
    low, high = np.percentile(places, (0.1, 99.9), axis=0) if len(places) else (np.zeros(3), np.zeros(3))
    center, reach = (low + high) / 2, max(float((high - low).max()), 1e-3)
    whole = np.clip((positions - center) / reach, -1, 1) * _LARGEST * seen[..., None]
    return center.tolist(), reach, whole.round().astype("<i2")


def _shares(saliency: Float32[np.ndarray, "persons times joints"]) -> np.ndarray:
    """Saliency as shares of its largest, 8 bits."""
    positive = np.nan_to_num(np.maximum(saliency.astype(np.float64), 0), posinf=0)
    return (255 * positive / max(float(positive.max()), 1e-300)).round().astype(np.uint8)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()
