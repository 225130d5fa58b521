"""NW-UCLA (Northwestern-UCLA Multiview Action3D): one person, Kinect v1, 20 joints, metres, 30 fps; JSON and text.

JSON, the layout that CTR-GCN made usual: `{"file_name", "skeletons": [frames][20][3], "label": 1...10}`.
Text, the original layout: a folder `view_V/aAA_sSS_eEE` with a file `frame_N_tc_T_skeletons.txt` per frame and
`fileList.txt`. For each body a file has one line of one value and 20 lines `x,y,z,state`; without a body it is empty. The
first body is kept. This grammar is that of three public readers; it was not checked on original files.
Source: Wang et al. (2014).
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from skeletonllm.skeleton.actions import NW_UCLA_NUMBERS
from skeletonllm.skeleton.clip import Clip, Source, mask_unseen
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem, read_text
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
_ANY = Source(format="nwucla", fps_from="format", space="m, +y up")
_TOPOLOGY = TOPOLOGIES["kinect_v1_20"]
_NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_v(\d{2})")
_FRAME = re.compile(r"frame_(\d{1,9})_tc_(\d{1,18})_skeletons\.txt", re.ASCII)
_VIEW = re.compile(r"view_(\d{1,2})", re.ASCII)
_LIST_FILE = "fileList.txt"


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


def sniff_text(path: Path, head: bytes) -> bool:
    """A file of one frame: a line of one value, then `x,y,z,state`; or the list beside such files."""
    if path.name == _LIST_FILE and path.is_file():
        return any(_FRAME.fullmatch(file.name) for file in path.parent.iterdir())
    if _FRAME.fullmatch(path.name) is None:
        return False
    first, _, rest = head.partition(b"\n")
    return not head or (b"," not in first and len(numbers_in_line(rest, ",")) == 4)


def read_text_folder(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one folder, `aAA_sSS_eEE_vVV`. State 0, 1, 2 gives confidence 0, 0.5, 1; no body means nobody is seen.

    Raises:
        FormatError: no file of a frame, a damaged one, or nobody was seen.
    """
    if not path.is_dir():
        raise problem(path, "", "a file", "the folder of a clip", "give the folder")
    files = sorted((int(match[1]), file) for file in path.iterdir() if (match := _FRAME.fullmatch(file.name)))
    if not files:
        raise problem(path, "", "no file of a frame", "files frame_N_tc_T_skeletons.txt", "give a folder of one clip")
    rows = np.stack([_first_body(file) for _, file in files])
    view = _VIEW.fullmatch(path.absolute().parent.name)
    clip_id = f"{path.absolute().name}_v{int(view[1]):02d}" if view else path.absolute().name
    return [
        build_clip(
            path,
            clip_id,
            _TOPOLOGY,
            rows[None, ..., :3],
            rows[None, ..., 3] / 2,
            fps=FPS,
            source=replace(source_of(clip_id), format="nwucla_text"),
            action=NW_UCLA_NUMBERS.get(action_number(clip_id) or 0),
        )
    ]


def _first_body(path: Path) -> Float64[np.ndarray, "20 4"]:
    """x, y, z and state of the joints of the first body; zeros where there is none."""
    if path.stat().st_size == 0:
        return np.zeros((20, 4))
    lines = read_text(path).split("\n")
    block = [line.strip().removesuffix(",").split(",") for line in lines[1:21]]
    if not any(line.strip() for line in lines[1:]):
        return np.zeros((20, 4))
    for number, words in enumerate(block, 2):
        if len(words) != 4:
            raise problem(path, f"line {number}", f"{len(words)} values", "x,y,z,state of a joint")
    if len(block) != 20:
        raise problem(path, f"line {len(lines)}", f"{len(block)} joints", "20 joints")
    try:
        return np.array(block, np.float64)
    except ValueError:
        raise problem(path, "lines 2 to 21", "a word", "four numbers in each line") from None


FORMAT = Format(
    "nwucla",
    (".json",),
    "NW-UCLA JSON (Kinect v1, 20 joints)",
    sniff,
    read,
    origin="Northwestern University and UCLA, Wang et al. (2014); research use",
)
TEXT_FORMAT = Format(
    "nwucla_text",
    (".txt",),
    "NW-UCLA original text, a folder per clip (Kinect v1, 20 joints)",
    sniff_text,
    read_text_folder,
    is_folder=True,
    origin=FORMAT.origin,
)
