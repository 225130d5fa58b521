"""Small text files of the Kinect family, made by hand, and what MANIFEST.json says of the real ones."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.topologies import TOPOLOGIES

DATA = Path(__file__).parents[5] / "shared" / "data"
_HEIGHTS_M = {
    "head": 0.7,
    "neck": 0.5,
    "chest": 0.48,
    "shoulder": 0.45,
    "spine": 0.1,
    "elbow": 0.2,
    "wrist": -0.02,
    "hand": -0.1,
    "pelvis": 0.0,
    "hip": -0.05,
    "knee": -0.45,
    "ankle": -0.85,
    "foot": -0.9,
}


def standing(topology: str, frames: int = 3) -> np.ndarray:
    """Somebody who stands 2.5 m before a Kinect and faces it, their left at -x: `[frames, joints, 3]`, metres."""
    skeleton = TOPOLOGIES[topology]
    places = np.zeros((frames, skeleton.num_joints, 3))
    for joint, (part, side) in enumerate(zip(skeleton.parts, skeleton.sides, strict=True)):
        sign = {"left": -1.0, "center": 0.0, "right": 1.0}[side]
        places[:, joint] = (0.05 + 0.2 * sign, _HEIGHTS_M[part], 2.5 - 0.15 * (part == "foot"))
    return places + 0.01 * np.arange(frames)[:, None, None] + 0.001 * np.arange(skeleton.num_joints)[:, None]


def write_rows(path: Path, rows: np.ndarray, sep: str = " ", end: str = "") -> Path:
    """A table as text, one row per line."""
    lines = [sep.join(f"{value:.9g}" for value in row) for row in np.asarray(rows).tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}{end}\n" for line in lines))
    return path


def edited(path: Path, number: int, line: str) -> Path:
    """The file with another line at `number` (from 1)."""
    lines = path.read_text().split("\n")
    lines[number - 1] = line
    path.write_text("\n".join(lines))
    return path


def manifest(dataset: str, formats: Iterable[str]) -> list[dict]:
    """The entries of a data set's recordings."""
    entries = json.loads((DATA / "MANIFEST.json").read_text())
    return [entry for entry in entries if entry["dataset"] == dataset and entry["format"] in set(formats)]
