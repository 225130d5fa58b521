"""MSRC-12 Kinect gestures: `P#_#_G_pSS.csv`, with the moments of the gestures in `.tagstream`; metres, 20 joints, 30 fps.

Blank separated, in spite of the name: a time in microseconds, then `x y z tracked` of the joints. Rows of zeros (nobody
is found yet) are kept as frames in which nobody is seen. A recording repeats one gesture about ten times; a tag marks one
moment of each and no range, so the recording stays whole.
`.tagstream`: `XQPCTick;Tag`, then rows such as `<tick>;G1  lift outstretched arms`.
Source: Fothergill, Mentis, Kohli and Nowozin (2012) and the data set's description.
"""

import re
from pathlib import Path

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem, read_table, read_text
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
ACTIONS = (
    "lift outstretched arms",
    "duck",
    "push right",
    "goggles",
    "wind it up",
    "shoot",
    "bow",
    "throw",
    "had enough",
    "change weapon",
    "beat both",
    "kick",
)
_TOPOLOGY = TOPOLOGIES["kinect_v1_20"]
_ROW = 1 + 4 * _TOPOLOGY.num_joints
_NAME = re.compile(r"P\d_\d_(\d{1,2})A?_p(\d{2})", re.IGNORECASE)
_TAG = re.compile(r"\d+\s*;\s*G(\d{1,2})\b.*", re.ASCII)


def sniff(path: Path, head: bytes) -> bool:
    """Lines of 81 numbers: a time, then four for each joint of which the last is 0 or 1."""
    first = numbers_in_line(head)
    return len(first) == _ROW and first[0].is_integer() and all(state in (0, 1) for state in first[4::4])


def tags_beside(path: Path) -> list[Path]:
    """The tags of a recording."""
    tags = path.with_suffix(".tagstream")
    return [tags] if tags.is_file() else []


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file, in the Kinect's frame. The gesture is that of the tags, or else of the file's name.

    Raises:
        FormatError: not 81 numbers in a line, damaged tags, or nobody was seen.
    """
    table = read_table(path, _ROW)
    joints = table[:, 1:].reshape(1, len(table), -1, 4)
    match = _NAME.fullmatch(path.stem)
    source = Source(format="msrc12", fps_from="format", space="m, +y up", subject=f"P{match[2]}" if match else "")
    named = {int(match[1])} if match else set()
    tagged = {gesture for tags in tags_beside(path) for gesture in _gestures(tags)}
    gestures = tagged or named
    action = ACTIONS[gestures.pop() - 1] if len(gestures) == 1 and min(gestures) in range(1, 13) else None
    # A joint that is not tracked but has a place was inferred.
    confidence = 0.5 + 0.5 * joints[..., 3].clip(-1, 1)
    places = joints[..., :3]
    return [build_clip(path, path.stem, _TOPOLOGY, places, confidence, fps=FPS, source=source, action=action)]


def _gestures(path: Path) -> set[int]:
    lines = read_text(path).splitlines()
    if lines[0].replace(" ", "") != "XQPCTick;Tag":
        raise problem(path, "line 1", brief(lines[0]), "XQPCTick;Tag", "mend the file or remove it")
    found = set()
    for line, text in enumerate(lines[1:], 2):
        match = _TAG.fullmatch(text.strip())
        if match is None and text.strip():
            raise problem(path, f"line {line}", brief(text), "tick;G1 ... G12", "mend the file or remove it")
        if match is not None:
            found.add(int(match[1]))
    return found


FORMAT = Format(
    "msrc12",
    (".csv",),
    "MSRC-12 gesture text with its tags (Kinect v1, 20 joints)",
    sniff,
    read,
    beside=tags_beside,
    origin="Microsoft Research Cambridge, Fothergill et al. (2012); non-commercial research",
)
