"""NW-UCLA JSON files: one person, Kinect v1, 20 joints, metres, 30 fps.

The layout is the one that CTR-GCN made usual: `{"file_name", "skeletons": [frames][20][3], "label": 1...10}`.
"""

import json
import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source, mask_unseen
from skeletonllm.skeleton.formats.common import Declared, Format, brief, problem, read_text
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
_ANY = Source(format="nwucla", fps_from="format", space="m, +y up")
_TOPOLOGY = TOPOLOGIES["kinect_v1_20"]
_NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_v(\d{2})")


def action_number(name: str) -> int | None:
    """The action's number in a file name: 1 to 12, where 7 and 10 do not occur."""
    match = _NAME.search(name)
    return int(match[1]) if match else None


def source_of(name: str) -> Source:
    """Subject, repetition and camera (view) from a file name; empty where it has another name."""
    match = _NAME.search(name)
    if match is None:
        return _ANY
    _, subject, repetition, view = match.groups()
    return Source(
        format="nwucla",
        fps_from="format",
        space="m, +y up",
        subject=f"S{subject}",
        camera=str(int(view)),
        repetition=str(int(repetition)),
    )


def sniff(path: Path, head: bytes) -> bool:
    """A JSON object that speaks of skeletons."""
    return head.lstrip()[:1] == b"{" and b'"skeletons"' in head


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file. Kinect's frame is kept: right-handed, metres, +y up.

    Raises:
        FormatError: not JSON, or not 20 joints of three numbers per frame.
    """
    try:
        content = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise problem(path, "", f"no JSON ({error})", "one JSON object") from error
    skeletons = content.get("skeletons") if isinstance(content, dict) else None
    if not isinstance(skeletons, list) or not skeletons:
        raise problem(path, "key 'skeletons'", brief(skeletons), "a list of frames")
    positions, confidence = mask_unseen(_frames(path, skeletons)[None])
    if not confidence.any():
        raise problem(path, "key 'skeletons'", "zeros only", "positions in metres", "leave the recording out")
    return [Clip(path.stem, _TOPOLOGY, positions, confidence, FPS, source=source_of(path.stem))]


def _frames(path: Path, skeletons: list[object]) -> np.ndarray:
    try:
        frames = np.array(skeletons, np.float64)
        if frames.shape[1:] == (20, 3):
            return frames.astype(np.float32)
    except (ValueError, TypeError):
        pass
    for number, frame in enumerate(skeletons):
        found = f"{len(frame)} joints" if isinstance(frame, list) else brief(frame)
        if not isinstance(frame, list) or len(frame) != 20:
            raise problem(path, f"frame {number}", found, "20 joints")
        for joint, place in enumerate(frame):
            if not (isinstance(place, list) and len(place) == 3 and all(isinstance(v, int | float) for v in place)):
                raise problem(path, f"frame {number}, joint {joint}", brief(place), "three numbers")
    raise problem(path, "key 'skeletons'", "numbers that do not fit", "[frames][20][3] numbers")


def write(clip: Clip, path: Path, label: int = 0, name: str | None = None) -> None:
    """The first person of a clip in the sensor's frame as the data set's files have it.

    Raises:
        FormatError: the topology is another one.
    """
    if clip.topology is not _TOPOLOGY:
        raise problem(path, "", f"topology {clip.topology.name}", _TOPOLOGY.name, "convert the clip first")
    frames = clip.positions[0].astype(np.float64)
    # Six significant digits, as in the data set.
    numbers = ("%.6g " * frames.size % tuple(frames.ravel().tolist())).split()
    joints = [f"[{', '.join(numbers[start : start + 3])}]" for start in range(0, len(numbers), 3)]
    rows = [f"[{', '.join(joints[start : start + 20])}]" for start in range(0, len(joints), 20)]
    body = f'{{"file_name": {json.dumps(name or path.stem)}, "skeletons": [{", ".join(rows)}], "label": {label}}}'
    path.write_bytes(body.encode())


FORMAT = Format("nwucla", (".json",), "NW-UCLA JSON (Kinect v1, 20 joints)", sniff, read)
