"""NTU RGB+D recordings that the usual `txt2npy` script has made numpy files of.

The file holds one pickled dictionary: `file_name`, `nbodys` (bodies in each frame), `njoints` (25) and for each body
`skel_bodyK`, `[frames, 25, 3]` metres in Kinect's frame (right-handed, +y up), zeros where the body was not seen; 30 fps.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import ntu
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem
from skeletonllm.skeleton.formats.flat import FARTHEST_PX, most_moving
from skeletonllm.skeleton.formats.unpickle import holds_objects, load_object_array
from skeletonllm.skeleton.topologies import TOPOLOGIES

_TOPOLOGY = TOPOLOGIES["kinect_v2_25"]
_BODY = re.compile(r"skel_body(\d+)")


def sniff(path: Path, head: bytes) -> bool:
    """A numpy file of one Python object that names bodies or joints as the script does."""
    return holds_objects(head) and b"file_name" in head and (b"nbodys" in head or b"njoints" in head)


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file: at most two persons, the one who moves most first.

    Raises:
        FormatError: it is not such a file, or nobody was seen.
    """
    held = load_object_array(path)
    content = held.item() if held.shape == () else None
    if not isinstance(content, dict):
        raise problem(path, "", brief(content), "one dictionary")
    bodies = [
        _body(path, key, value) for key, value in content.items() if isinstance(key, str) and _BODY.fullmatch(key)
    ]
    if not bodies:
        keys = brief(sorted(map(str, content)))
        raise problem(path, "", f"the keys {keys}", "'skel_body0', the joints of a body", "leave the recording out")
    if len({body.shape for body in bodies}) > 1:
        raise problem(path, "", f"bodies of {[len(body) for body in bodies]} frames", "all of the same length")
    places = np.stack(bodies)
    confidence = (places != 0).any(-1).astype(np.float32)
    persons = most_moving(places, confidence) or [0]
    source = replace(ntu.source_of(path.name), format="ntu_npy", fps_from="format", space="m, +y up")
    name = path.name.removesuffix(".npy").removesuffix(".skeleton")
    return [build_clip(path, name, _TOPOLOGY, places[persons], confidence[persons], fps=ntu.FPS, source=source)]


def _body(path: Path, key: str, value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.shape[1:] != (25, 3):
        found = f"shape {value.shape} of {value.dtype}" if isinstance(value, np.ndarray) else brief(value)
        raise problem(path, f"key {key!r}", found, "an array [frames, 25, 3]")
    body = value.astype(np.float64)
    body = np.where(np.isfinite(body).all(-1, keepdims=True), body, 0)
    if np.abs(body).max(initial=0) > FARTHEST_PX:
        raise problem(path, f"key {key!r}", f"the number {np.abs(body).max():.3g}", "metres")
    return body


FORMAT = Format(
    "ntu_npy",
    (".npy",),
    "NTU RGB+D numpy file of the txt2npy script (Kinect v2, 25 joints)",
    sniff,
    read,
    origin="NTU RGB+D (ROSE Lab): academic research only, no redistribution",
)
