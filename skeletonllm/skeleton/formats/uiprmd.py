"""UI-PRMD, the Kinect part: `mMM_sSS_eEE_positions.txt` with `..._angles.txt`; 22 joints, centimetres, degrees, 30 fps.

Both have 66 numbers with commas in a line. The first joint's position is absolute, every other is its place in its
parent's frame. A joint turns by its three angles x, y, z as Rz Rx Ry, after all its parents; with any other order the
feet of people who stand slide by up to 0.8 m, with this one by centimetres. Angles lie beside, or in `Angles/` beside
`Positions/`. Files `..._inc` show the movement done wrong.
Source: Vakanski et al. (2018); the order of the angles was found on the files.
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, problem, read_table
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.rotations import about, quaternions
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
ACTIONS = (
    "deep squat",
    "hurdle step",
    "inline lunge",
    "side lunge",
    "sit to stand",
    "standing active straight leg raise",
    "standing shoulder abduction",
    "standing shoulder extension",
    "standing shoulder internal-external rotation",
    "standing shoulder scaption",
)
_TOPOLOGY = TOPOLOGIES["uiprmd_22"]
_ROW = 3 * _TOPOLOGY.num_joints
_NAME = re.compile(r"m(\d{2})_s(\d{2})_e(\d{2})_positions(_inc)?", re.IGNORECASE)
_M_PER_CM = 0.01


def sniff(path: Path, head: bytes) -> bool:
    """Lines of 66 numbers with commas under the name of positions: angles look the same."""
    return "positions" in path.stem.lower() and len(numbers_in_line(head, ",")) == _ROW


def angles_beside(path: Path) -> list[Path]:
    """The angles that belong to positions."""
    name = path.name.replace("positions", "angles").replace("Positions", "Angles")
    found = [folder / name for folder in (path.parent, path.parent.parent / "Angles", path.parent.parent / "angles")]
    return [file for file in found if file != path and file.is_file()][:1]


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file, by forward kinematics over all frames at once; rotations are kept.

    Raises:
        FormatError: not 66 numbers in a line, no angles, or as many rows of both.
    """
    offsets = read_table(path, _ROW, ",").reshape(-1, _TOPOLOGY.num_joints, 3)
    beside = angles_beside(path)
    if not beside:
        raise problem(path, "", "no angles beside it", "..._angles.txt", "put the angles of the recording beside it")
    angles = read_table(beside[0], _ROW, ",").reshape(-1, _TOPOLOGY.num_joints, 3)
    if len(angles) != len(offsets):
        raise problem(beside[0], "", f"{len(angles)} rows", f"{len(offsets)}, as in {path.name}")
    if not np.isfinite(angles).all():
        row = int(np.isfinite(angles).all((1, 2)).argmin()) + 1
        raise problem(beside[0], f"row {row}", "an angle that is not finite", "degrees")
    positions, rotations = _forward(offsets, angles)
    match = _NAME.fullmatch(path.stem)
    action = int(match[1]) if match else 0
    source = Source(
        format="uiprmd",
        fps_from="format",
        space="cm, +y up, local offsets and angles",
        subject=f"S{match[2]}" if match else "",
        repetition=f"{int(match[3])}{' incorrect' if match[4] else ''}" if match else "",
    )
    return [
        build_clip(
            path,
            path.stem,
            _TOPOLOGY,
            positions[None] * _M_PER_CM,
            fps=FPS,
            source=source,
            action=ACTIONS[action - 1] if 1 <= action <= len(ACTIONS) else None,
            rotations=rotations[None],
        )
    ]


def _forward(offsets: np.ndarray, angles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World positions `[frames, joints, 3]` in the file's unit, and world rotations `[frames, joints, 4]`."""
    radians = np.radians(angles)
    places = offsets.copy()
    turns = np.zeros((*offsets.shape, 3))
    for joint in _TOPOLOGY.order:
        x, y, z = radians[:, joint].T
        turn = about("z", z) @ about("x", x) @ about("y", y)
        parent = _TOPOLOGY.parents[joint]
        if parent == -1:
            turns[:, joint] = turn
            continue
        turns[:, joint] = turns[:, parent] @ turn
        with np.errstate(over="ignore", invalid="ignore"):
            places[:, joint] = places[:, parent] + (turns[:, parent] @ offsets[:, joint, :, None])[..., 0]
    return places, quaternions(turns)


FORMAT = Format(
    "uiprmd",
    (".txt",),
    "UI-PRMD positions and angles text (Kinect, 22 joints)",
    sniff,
    read,
    beside=angles_beside,
    origin="University of Idaho, Vakanski et al. (2018); ODC PDDL 1.0",
)
