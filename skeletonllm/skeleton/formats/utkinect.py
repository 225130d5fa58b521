"""UTKinect-Action3D: continuous recordings `joints_sSS_eEE.txt`, cut by `actionLabel.txt`; Kinect, metres, 20 joints.

A row `index x1 y1 z1 ... x20 y20 z20` per frame in which somebody was tracked. The index runs at 60 per second, two for
each frame of the 30 fps camera: so people walk at 0.5 to 0.9 m/s, and about 15 rows are left of a second, as the authors
say. Of several rows with one index, which are the same person, the first is kept.
`actionLabel.txt`: for each recording a line `sSS_eEE` and ten lines `name: first last` (indices, inclusive, or NaN).
Source: Xia, Chen and Aggarwal (2012) and the data set's page.
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem, read_table, read_text
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.topologies import TOPOLOGIES

USUAL_FPS = 15.0
ACTIONS = {
    "walk": "walk",
    "sitDown": "sit down",
    "standUp": "stand up",
    "pickUp": "pick up",
    "carry": "carry",
    "throw": "throw",
    "push": "push",
    "pull": "pull",
    "waveHands": "wave hands",
    "clapHands": "clap hands",
}
_INDICES_PER_S = 60.0
_TOPOLOGY = TOPOLOGIES["kinect_v1_20"]
_ROW = 1 + 3 * _TOPOLOGY.num_joints
_NAME = re.compile(r"s(\d{2})_e(\d{2})")
_LABEL = re.compile(r"(\w+)\s*:\s*(\d{1,9}|nan)\s+(\d{1,9}|nan)", re.IGNORECASE | re.ASCII)
_LABEL_FILE = "actionLabel.txt"
_MAX_INDEX = 1e9
_FARTHEST_M = 20.0


def sniff(path: Path, head: bytes) -> bool:
    """Lines of 61 numbers: an index, then metres."""
    first = numbers_in_line(head)
    if len(first) != _ROW or not (0 <= first[0] < _MAX_INDEX and first[0].is_integer()):
        return False
    return not any(abs(value) > _FARTHEST_M for value in first[1:])


def labels_beside(path: Path) -> list[Path]:
    """The label file of a recording, in its folder or the one above."""
    found = [folder / _LABEL_FILE for folder in path.absolute().parents[:2]]
    return [file for file in found if file.is_file()][:1]


def read(path: Path, declared: Declared) -> list[Clip]:
    """One clip per label, such as `s01_e01_walk`; the whole recording where no label file speaks of it.

    The frame rate is that of the rows of the clip, by their indices.

    Raises:
        FormatError: not 61 numbers in a line, an index that runs back, or a label that is damaged or has no rows.
    """
    table = read_table(path, _ROW)
    index = table[:, 0]
    with np.errstate(invalid="ignore"):
        good = (index < _MAX_INDEX) & (index == np.floor(index)) & (np.diff(index, prepend=0) >= 0)
    if not good.all():
        row = int(good.argmin())
        raise problem(path, f"row {row + 1}", f"frame index {index[row]:g}", "a whole number, not below the last")
    table = table[np.diff(index, prepend=-1) > 0]
    match = _NAME.search(path.stem)
    labels = labels_beside(path)
    ranges = _labels(labels[0], match[0]) if match and labels else []
    if not ranges:
        return [_clip(path, path.stem, table, None)]
    clips = []
    for line, action, first, last in ranges:
        rows = table[(table[:, 0] >= first) & (table[:, 0] <= last)]
        if not len(rows):
            expected = f"rows of {path.name} with indices {table[0, 0]:g} to {table[-1, 0]:g}"
            raise problem(labels[0], f"line {line}", f"{action}: {first} to {last}", expected, "mend the line")
        clips.append(_clip(path, f"{path.stem.removeprefix('joints_')}_{action}", rows, action))
    return clips


def _clip(path: Path, clip_id: str, rows: np.ndarray, action: str | None) -> Clip:
    span = rows[-1, 0] - rows[0, 0]
    fps = (len(rows) - 1) * _INDICES_PER_S / span if span else USUAL_FPS
    match = _NAME.search(path.stem)
    source = Source(
        format="utkinect",
        fps_from="file" if span else "format",
        space="m, +y up",
        subject=f"S{match[1]}" if match else "",
        repetition=str(int(match[2])) if match else "",
    )
    places = rows[:, 1:].reshape(1, len(rows), -1, 3)
    return build_clip(
        path, clip_id, _TOPOLOGY, places, fps=fps, source=source, action=ACTIONS.get(action or ""), where=action or ""
    )


def _labels(path: Path, recording: str) -> list[tuple[int, str, int, int]]:
    """Line, action, first and last index of each label of a recording; those without a range are left out."""
    found: list[tuple[int, str, int, int]] = []
    inside = False
    for line, text in enumerate(read_text(path).splitlines(), 1):
        text = text.strip()
        if _NAME.fullmatch(text):
            inside = text == recording
        elif inside and text:
            match = _LABEL.fullmatch(text)
            if match is None or match[1] not in ACTIONS:
                expected = f"name: first last, with a name of {', '.join(ACTIONS)}"
                raise problem(path, f"line {line}", brief(text), expected, "mend the line")
            if match[1] in {action for _, action, *_ in found}:
                raise problem(path, f"line {line}", f"{match[1]} again", "each action once", "mend the line")
            if match[2].isdigit() and match[3].isdigit():
                found.append((line, match[1], int(match[2]), int(match[3])))
    return found


FORMAT = Format(
    "utkinect",
    (".txt",),
    "UTKinect-Action3D joints text with actionLabel.txt (Kinect v1, 20 joints)",
    sniff,
    read,
    beside=labels_beside,
    origin="University of Texas at Austin, Xia, Chen and Aggarwal (2012); research use",
)
