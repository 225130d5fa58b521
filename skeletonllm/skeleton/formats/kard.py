"""KARD: `aAA_sSS_eEE_realworld.txt` in millimetres, `..._screen.txt` in pixels and millimetres of depth; 30 fps.

Fifteen rows of three numbers per frame. OpenNI's frame has +x to the subject's left, +y up and +z away from the sensor:
left-handed, so x is negated. The screen files are the same in the 640 x 480 image (checked on 10 recordings: equal to
0.001 mm).
Source: Gaglio, Lo Re and Morana (2015).
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, read_table, split_frames
from skeletonllm.skeleton.formats.kinect import numbers_in_line, unproject
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
ACTIONS = (
    "Horizontal arm wave",
    "High arm wave",
    "Two hand wave",
    "Catch Cap",
    "High throw",
    "Draw X",
    "Draw Tick",
    "Toss Paper",
    "Forward Kick",
    "Side Kick",
    "Take Umbrella",
    "Bend",
    "Hand Clap",
    "Walk",
    "Phone Call",
    "Drink",
    "Sit down",
    "Stand up",
)
_TOPOLOGY = TOPOLOGIES["kard_15"]
_HEAD = _TOPOLOGY.joint_names.index("head")
_FOOT = _TOPOLOGY.joint_names.index("foot_left")
_NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_(realworld|screen)")
_FOCAL_PX, _CENTER_PX = 575.8157, (320.0, 240.0)
_M_PER_MM = 0.001


def sniff(path: Path, head: bytes) -> bool:
    """Lines of three numbers under the data set's file names: bare numbers say no more."""
    return _NAME.fullmatch(path.stem) is not None and len(numbers_in_line(head)) == 3


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file. In an image, where y points down, the head has a smaller y than a foot.

    Raises:
        FormatError: not three numbers in a line, not fifteen lines a frame, or nobody was seen.
    """
    rows = split_frames(path, read_table(path, 3), _TOPOLOGY.num_joints)
    if np.median(rows[:, _HEAD, 1] < rows[:, _FOOT, 1]) > 0.5:
        places = unproject(rows, _FOCAL_PX, _CENTER_PX, _M_PER_MM)
        space = "pixels and mm of depth, +y up, left-handed"
    else:
        places, space = rows * _M_PER_MM, "mm, +y up, left-handed"
    match = _NAME.search(path.stem)
    action = int(match[1]) if match else 0
    source = Source(
        format="kard",
        fps_from="format",
        space=space,
        subject=f"S{match[2]}" if match else "",
        repetition=str(int(match[3])) if match else "",
    )
    name = ACTIONS[action - 1] if 1 <= action <= len(ACTIONS) else None
    places = places * np.array((-1.0, 1.0, 1.0))
    return [build_clip(path, path.stem, _TOPOLOGY, places[None], fps=FPS, source=source, action=name)]


FORMAT = Format(
    "kard",
    (".txt",),
    "KARD skeleton text, real world and screen (Kinect by OpenNI, 15 joints)",
    sniff,
    read,
    origin="University of Palermo, Gaglio, Lo Re and Morana (2015); Mendeley Data k28dtm7tr6",
)
