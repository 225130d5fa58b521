"""JHMDB as DD-Net has it: one pickle of two lists, `pose` (arrays `[frames, 15, 2]`) and `label` (names).

Annotated joints, not estimated ones. x and y are relative to the person and of no unit, y down; 25 fps (the data set's
videos).
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem
from skeletonllm.skeleton.formats.flat import FARTHEST_PX, to_metres
from skeletonllm.skeleton.formats.unpickle import load_pickle
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 25.0
_TOPOLOGY = TOPOLOGIES["jhmdb_15"]
# A pickled dictionary whose first key is `pose` or `label`.
_HEAD = re.compile(
    rb"\x80[\x02-\x05](?:\x95.{8})?[}](?:q.|\x94)?\(?(?:X....|\x8c.)(?:pose|label)(?:q.|\x94)", re.DOTALL
)


def sniff(path: Path, head: bytes) -> bool:
    """A pickle of a dictionary that begins with `pose` or `label`."""
    return _HEAD.match(head) is not None


def read(path: Path, declared: Declared) -> list[Clip]:
    """All clips of one file, one person each; their ids are the file's name and a number.

    Raises:
        FormatError: it is not such a pickle, or one clip is damaged (its number is named).
    """
    content = load_pickle(path)
    poses, labels = (content.get("pose"), content.get("label")) if isinstance(content, dict) else (None, None)
    if not isinstance(poses, list) or not isinstance(labels, list) or not poses or len(poses) != len(labels):
        found = f"{brief(poses)} and {brief(labels)}"
        raise problem(path, "keys 'pose' and 'label'", found, "two lists of the same length")
    return [_clip(path, number, *pair) for number, pair in enumerate(zip(poses, labels, strict=True))]


def _clip(path: Path, number: int, pose: object, label: object) -> Clip:
    where = f"clip {number}"
    if not isinstance(pose, np.ndarray) or pose.dtype.kind not in "fiu" or pose.ndim != 3 or pose.shape[1:] != (15, 2):
        found = f"shape {pose.shape} of {pose.dtype}" if isinstance(pose, np.ndarray) else brief(pose)
        raise problem(path, where, found, "an array of numbers [frames, 15, 2]")
    if not isinstance(label, str) or not label:
        raise problem(path, where, brief(label), "the name of an action")
    points = pose[None].astype(np.float64)
    seen = np.isfinite(points).all(-1) & (points != 0).any(-1)
    points = np.where(seen[..., None], points, 0)
    if np.abs(points).max(initial=0) > FARTHEST_PX:
        raise problem(path, where, f"the number {np.abs(points).max():.3g}", "places of joints")
    confidence = seen.astype(np.float32)
    places = to_metres(points, confidence, _TOPOLOGY, None)
    source = Source(format="jhmdb", fps_from="format", space="relative to the person, -y up (metres by body size)")
    name = f"{path.stem}_{number:04d}"
    return build_clip(path, name, _TOPOLOGY, places, confidence, fps=FPS, source=source, action=label, where=where)


FORMAT = Format(
    "jhmdb",
    (".pkl", ".pickle"),
    "JHMDB pickle of DD-Net (15 joints)",
    sniff,
    read,
    origin="JHMDB (Jhuang et al. 2013), as published with DD-Net; annotations for research use",
)
