"""Keraal low-back-pain exercises, the text kinds: Kinect (25 joints, metres) and Vicon (17 targets, millimetres).

A row per frame: `x y z qx qy qz qw` of each joint or target. The Kinect's frame is kept and its 30 fps; a joint's
orientation in the file is that of the bone that ends there and moves to the joint where the bone begins. The Vicon's room
has +z up, and its frame rate is nowhere said.
Names: `G3-Kinect-CTK-P1T1-Unknown-C-0`, or `G1A-Kinect-CTK-P3-12` (group, kind, exercise, person, recording).
Source: Nguyen et al. (2024) and the data set's readme.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, problem, read_table
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.kinematics import quaternion_product
from skeletonllm.skeleton.rotations import quaternions
from skeletonllm.skeleton.spaces import metres_per, upright
from skeletonllm.skeleton.topologies import TOPOLOGIES

KINECT_FPS = 30.0
EXERCISES = {"CTK": "hiding face", "ELK": "flank stretch", "RTK": "torso rotation"}
_KINECT, _VICON = TOPOLOGIES["kinect_v2_25"], TOPOLOGIES["keraal_vicon_17"]
_VALUES = 7
_ROWS = {_VALUES * topology.num_joints: topology for topology in (_KINECT, _VICON)}
_NAME = re.compile(r"G?(\d[AB]?)[-_](\w+?)[-_]([A-Z]{3})[-_]([A-Za-z]*\d+)(?:(T\d+)|[-_](\d+))?.*", re.IGNORECASE)
# The one bone that leaves a joint of the Kinect gives it its turn. Where several leave, the joint keeps its own.
_TURNS_WITH = {
    "spine_mid": "spine_shoulder",
    "neck": "head",
    **{
        f"{joint}_{side}": f"{end}_{side}"
        for side in ("left", "right")
        for joint, end in {
            "shoulder": "elbow",
            "elbow": "wrist",
            "wrist": "hand",
            "hip": "knee",
            "knee": "ankle",
            "ankle": "foot",
        }.items()
    },
}


def sniff(path: Path, head: bytes) -> bool:
    """Lines of 175 or 119 numbers, in sevens of which the last four are a unit quaternion or zeros."""
    first = numbers_in_line(head)
    if len(first) not in _ROWS:
        return False
    lengths = np.linalg.norm(np.clip(first, -9, 9).reshape(-1, _VALUES)[:, 3:], axis=1)
    return bool(((np.abs(lengths - 1) < 0.01) | (lengths == 0)).all())


def source_of(name: str) -> Source:
    """Person, recording, sensor and group from a file's name; empty where it has another."""
    match = _NAME.fullmatch(name)
    if match is None:
        return Source(format="keraal")
    group, sensor, _, subject, trial, recording = match.groups()
    repetition = trial or recording or ""
    return Source(format="keraal", subject=subject, camera=sensor.lower(), setup=group, repetition=repetition)


def exercise_of(name: str) -> str | None:
    """The exercise in a file's name."""
    match = _NAME.fullmatch(name)
    return EXERCISES.get(match[3].upper()) if match else None


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file.

    Raises:
        FormatError: not 175 or 119 numbers in a line, or a Vicon file whose frame rate is not declared.
    """
    with path.open("rb") as file:
        words = len(file.readline(1 << 16).split())
    topology = _ROWS.get(words, _KINECT)
    rows = read_table(path, _VALUES * topology.num_joints).reshape(1, -1, topology.num_joints, _VALUES)
    places, turns = rows[..., :3], _unit(rows[..., (6, 3, 4, 5)])
    if topology is _KINECT:
        fps, space, fps_from = KINECT_FPS, "m, +y up", "format"
        turns = turns[:, :, [_KINECT.joint_names.index(_TURNS_WITH.get(name, name)) for name in _KINECT.joint_names]]
    else:
        if declared.fps is None:
            raise problem(path, "", "no frame rate", "one that is declared", "say it with --fps (it is about 60)")
        fps, space, fps_from = declared.fps, "mm, +z up", "declared"
        up = upright("+z")
        with np.errstate(over="ignore", invalid="ignore"):
            places = places @ up.T * metres_per("mm")
        turns = quaternion_product(quaternions(up), turns)
    source = replace(source_of(path.stem), fps_from=fps_from, space=space)
    return [
        build_clip(
            path,
            path.stem,
            topology,
            places,
            fps=fps,
            source=source,
            action=exercise_of(path.stem),
            rotations=turns,
        )
    ]


def _unit(turns: np.ndarray) -> np.ndarray:
    """Quaternions of length 1; zeros where a length is far from it."""
    with np.errstate(over="ignore", invalid="ignore"):
        length = np.linalg.norm(turns, axis=-1, keepdims=True)
        good = np.abs(length - 1) < 0.1
        return np.where(good, turns / np.where(good, length, 1), 0)


FORMAT = Format(
    "keraal",
    (".txt",),
    "Keraal rehabilitation text (Kinect v2, 25 joints; Vicon, 17 targets)",
    sniff,
    read,
    origin="IMT Atlantique, Nguyen et al. (2024); CC BY-NC-SA",
)
