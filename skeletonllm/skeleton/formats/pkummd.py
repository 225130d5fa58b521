"""PKU-MMD: continuous recordings `NNNN-V.txt`, cut by `../label/NNNN-V.txt`; Kinect v2, metres, 30 fps.

A row of 150 numbers per frame: x, y, z of the 25 joints of two persons, zeros for one who is absent. A label is a row
`action,start,end,confidence`; frames count from 0 and the last belongs to the action (an end one past the recording is
taken as its last frame). Phase 2 names are `AddNdd-V`.
Source: Liu et al. (2017) and the data set's README.
"""

import re
from pathlib import Path

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem, read_table, read_text
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
ACTIONS = (
    "bow",
    "brushing hair",
    "brushing teeth",
    "check time (from watch)",
    "cheer up",
    "clapping",
    "cross hands in front (say stop)",
    "drink water",
    "drop",
    "eat meal/snack",
    "falling",
    "giving something to other person",
    "hand waving",
    "handshaking",
    "hopping (one foot jumping)",
    "hugging other person",
    "jump up",
    "kicking other person",
    "kicking something",
    "make a phone call/answer phone",
    "pat on back of other person",
    "pickup",
    "playing with phone/tablet",
    "point finger at the other person",
    "pointing to something with finger",
    "punching/slapping other person",
    "pushing other person",
    "put on a hat/cap",
    "put something inside pocket",
    "reading",
    "rub two hands together",
    "salute",
    "sitting down",
    "standing up",
    "take off a hat/cap",
    "take off glasses",
    "take off jacket",
    "take out something from pocket",
    "taking a selfie",
    "tear up paper",
    "throw",
    "touch back (backache)",
    "touch chest (stomachache/heart pain)",
    "touch head (headache)",
    "touch neck (neckache)",
    "typing on a keyboard",
    "use a fan (with hand or paper)/feeling warm",
    "wear jacket",
    "wear on glasses",
    "wipe face",
    "writing",
)
_TOPOLOGY = TOPOLOGIES["kinect_v2_25"]
_NUM_PERSONS = 2
_ROW = _NUM_PERSONS * _TOPOLOGY.num_joints * 3
_NAME = re.compile(r"(?:\d{4}|A\d{2}N\d{2})-([LMR])")
_MAX_OVERLAP = 4  # actions follow each other; a file that copies the recording again and again is hostile
_LABEL_FOLDERS = ("label", "Label", "labels", "Train_Label_PKU_final", "Train_Label_PKU_final_v2")


def sniff(path: Path, head: bytes) -> bool:
    """Lines of 150 numbers."""
    return len(numbers_in_line(head)) == _ROW


def labels_beside(path: Path) -> list[Path]:
    """The label file of a recording: of the same name, in a folder of labels beside the recording's folder."""
    found = [path.parent.parent / folder / path.name for folder in _LABEL_FOLDERS]
    return [file for file in found if file.is_file()][:1]


def read(path: Path, declared: Declared) -> list[Clip]:
    """One clip per label, `NNNN-V_LLL` with the label's line; the whole recording where there is no label file.

    Raises:
        FormatError: not 150 numbers in a line, or a label that is damaged or lies outside of the recording.
    """
    table = read_table(path, _ROW)
    places = table.reshape(len(table), _NUM_PERSONS, -1, 3).swapaxes(0, 1)
    match = _NAME.fullmatch(path.stem)
    source = Source(format="pkummd", fps_from="format", space="m, +y up", camera=match[1] if match else "")
    labels = labels_beside(path)
    if not labels:
        return [build_clip(path, path.stem, _TOPOLOGY, places, fps=FPS, source=source)]
    return [
        build_clip(
            path,
            f"{path.stem}_{line:03d}",
            _TOPOLOGY,
            places[:, start : end + 1],
            fps=FPS,
            source=source,
            action=ACTIONS[action - 1],
            where=f"frames {start} to {end}",
        )
        for line, action, start, end in _labels(labels[0], len(table))
    ]


def _labels(path: Path, num_frames: int) -> list[tuple[int, int, int, int]]:
    """Line, action (from 1), first and last frame of each label."""
    found, total = [], 0
    for line, text in enumerate(read_text(path).splitlines(), 1):
        words = text.replace(" ", "").rstrip(",").split(",")
        if words == [""]:
            continue
        if not 3 <= len(words) <= 4 or not all(re.fullmatch(r"\d{1,9}", word, re.ASCII) for word in words[:3]):
            raise problem(path, f"line {line}", brief(text), "action,start,end,confidence", "mend the line")
        action, start, end = (int(word) for word in words[:3])
        if not 1 <= action <= len(ACTIONS):
            raise problem(path, f"line {line}", f"action {action}", f"1 to {len(ACTIONS)}", "mend the line")
        if not start <= end <= num_frames or start >= num_frames:
            expected = f"frames within the {num_frames} of the recording"
            raise problem(path, f"line {line}", f"frames {start} to {end}", expected, "mend the line")
        total += end - start
        if total > _MAX_OVERLAP * num_frames:
            raise problem(path, f"line {line}", "labels that overlap many times", "one action at a time")
        found.append((line, action, start, min(end, num_frames - 1)))
    if not found:
        raise problem(path, "", "no label", "at least one", "remove the file to read the recording whole")
    return found


FORMAT = Format(
    "pkummd",
    (".txt",),
    "PKU-MMD skeleton text with its label files (Kinect v2, 25 joints, 2 persons)",
    sniff,
    read,
    beside=labels_beside,
    origin="Peking University, Liu et al. (2017); research use",
)
