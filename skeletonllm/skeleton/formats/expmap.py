"""Exponential maps of Human3.6M (99 numbers a frame, 50 fps) and CMU mocap (117, 120 fps), as motion prediction uses them.

Comma-separated text without a header: 3 numbers for the root's place, then a rotation vector for each of 32 or 38 joints
(0 at the ends of chains). `S5/walking_1.txt`, `train/basketball/basketball_2.txt`. In Human3.6M's files place and rotation
of the root are changes from the frame before, in that frame's axes; in CMU's they are absolute. All files share the bones
of one person. Sources: Jain et al. (2016), Martinez et al. (2017); Li et al. (2018).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, problem, read_table, read_text
from skeletonllm.skeleton.rotations import forward, matrices, quaternions
from skeletonllm.skeleton.spaces import UNITS_M
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

H36M_ACTIONS = (
    *("directions", "discussion", "eating", "greeting", "phoning", "posing", "purchases", "sitting", "sittingdown"),
    *("smoking", "takingphoto", "waiting", "walking", "walkingdog", "walkingtogether"),
)
CMU_ACTIONS = (
    *("basketball", "basketball_signal", "directing_traffic", "jumping", "running", "soccer", "walking", "washwindow"),
)

_NAME = re.compile(r"^([a-z_]+?)_(\d{1,3})$")
_SUBJECT = re.compile(r"^S\d{1,2}$")
_MAX_VALUE = 1e6


@dataclass(frozen=True)
class _Kind:
    """One of the two data sets: its skeleton, in its unit, and its conventions."""

    topology: Topology
    bones: str  # parent to joint at rest, x y z; 0 where not named
    unit: str
    fps: float
    root_changes: bool
    actions: tuple[str, ...]

    @property
    def offsets(self) -> np.ndarray:
        """From each joint's parent to the joint at rest: `[joints, 3]`."""
        named = {name: numbers for name, *numbers in (bone.split() for bone in self.bones.split(";"))}
        return np.array([named.get(name, (0, 0, 0)) for name in self.topology.joint_names], np.float64)

    @property
    def tips(self) -> list[int]:
        """The columns that are always 0: the rotations of the ends of chains."""
        ends = set(range(self.topology.num_joints)) - set(self.topology.parents)
        return [column for joint in sorted(ends) for column in range(3 + 3 * joint, 6 + 3 * joint)]


_KINDS = {
    99: _Kind(
        TOPOLOGIES["h36m_32"],
        """RightUpLeg -132.948591 0 0; RightLeg 0 -442.894612 0; RightFoot 0 -454.206447 0;
            RightToeBase 0 0 162.767078; RightToeSite 0 0 74.999437; LeftUpLeg 132.948826 0 0;
            LeftLeg 0 -442.894413 0; LeftFoot 0 -454.20659 0; LeftToeBase 0 0 162.767426;
            LeftToeSite 0 0 74.999948; Spine 0 0.1 0; Spine1 0 233.383263 0; Neck 0 257.077681 0;
            Head 0 121.134938 0; HeadSite 0 115.002227 0; LeftShoulder 0 257.077681 0; LeftArm 0 151.034226 0;
            LeftForeArm 0 278.882773 0; LeftHand 0 251.733451 0; LeftHandThumbSite 0 0 99.999627;
            LeftWristEnd 0 100.000188 0; RightShoulder 0 257.077681 0; RightArm 0 151.031437 0;
            RightForeArm 0 278.892924 0; RightHand 0 251.72868 0; RightHandThumbSite 0 0 99.999888;
            RightWristEnd 0 137.499922 0""",
        unit="mm",
        fps=50.0,
        root_changes=True,
        actions=H36M_ACTIONS,
    ),
    117: _Kind(
        TOPOLOGIES["cmu_38"],
        """LeftUpLeg 1.65674 -1.80282 0.62477; LeftLeg 2.5972 -7.13576 0; LeftFoot 2.49236 -6.8477 0;
            LeftToeBase 0.19704 -0.54136 2.14581; LeftToeSite 0 0 1.11249; RightUpLeg -1.6107 -1.80282 0.62476;
            RightLeg -2.59502 -7.12977 0; RightFoot -2.4678 -6.78024 0; RightToeBase -0.23024 -0.63258 2.13368;
            RightToeSite 0 0 1.11569; Spine 0.01961 2.0545 -0.14112; Spine1 0.01021 2.06436 -0.05921;
            Neck1 0.00713 1.56711 0.14968; Head 0.03429 1.56041 -0.10006; HeadSite 0.01305 1.6256 -0.05265;
            LeftArm 3.54205 0.90436 -0.17364; LeftForeArm 4.86513 0 0; LeftHand 3.35554 0 0;
            LeftHandIndex1 0.66117 0 0; LeftHandIndexSite 0.53306 0 0; LThumbSite 0.5412 0 0.5412;
            RightArm -3.49802 0.75994 -0.32616; RightForeArm -5.02649 0 0; RightHand -3.36431 0 0;
            RightHandIndex1 -0.73041 0 0; RightHandIndexSite -0.58887 0 0; RThumbSite -0.59786 0 0.59786""",
        unit="cmu",
        fps=120.0,
        root_changes=False,
        actions=CMU_ACTIONS,
    ),
}


def sniff(path: Path, head: bytes) -> bool:
    """A line of 99 or 117 numbers between commas, with zeros where a chain of joints ends."""
    line, end, _ = head.partition(b"\n")
    kind = _KINDS.get(line.count(b",") + 1)
    if kind is None or not end:
        return False
    try:
        numbers = [float(word) for word in line.split(b",")]
    except ValueError:
        return False
    return not any(numbers[column] for column in kind.tips)


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file, by forward kinematics; rotations are kept. Action and subject from its path.

    Where only the root's changes are given, the first frame stands on the floor at the origin, its pelvis upright.

    Raises:
        FormatError: a line has not 99 (or 117) numbers, or a number cannot be.
    """
    columns = read_text(path).partition("\n")[0].count(",") + 1
    if columns not in _KINDS:
        raise problem(path, "line 1", f"{columns} values", "99 (Human3.6M) or 117 (CMU) numbers")
    kind, table = _KINDS[columns], read_table(path, columns, ",")
    bad = np.flatnonzero(~(np.abs(table) < _MAX_VALUE).all(1))  # NaN is not smaller
    if len(bad):
        raise problem(path, f"row {bad[0] + 1}", "a number that is not finite or absurd", "places and radians")
    positions, turns = _forward(kind, table)
    name = _NAME.match(path.stem)
    action = name[1] if name and name[1] in kind.actions else None
    source = Source(
        format="expmap",
        subject=path.parent.name if kind.root_changes and _SUBJECT.match(path.parent.name) else "",
        repetition=str(int(name[2])) if name and action else "",
        fps_from="format",
        space=f"{kind.unit}, +y up",
    )
    return [
        build_clip(
            path,
            path.stem,
            kind.topology,
            positions[None] * UNITS_M[kind.unit],
            np.ones((1, *positions.shape[:2]), np.float32),
            fps=kind.fps,
            source=source,
            action=action,
            rotations=quaternions(turns)[None],
        )
    ]


def _forward(kind: _Kind, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World positions `[frames, joints, 3]` in the data set's unit and rotations `[frames, joints, 3, 3]`."""
    local = _rotations(table[:, 3:].reshape(len(table), -1, 3))
    roots = table[:, :3]
    if kind.root_changes:
        roots, local[:, 0] = _accumulated(roots, local[:, 0])
    offsets = np.repeat(kind.offsets[None], len(table), 0)
    offsets[:, 0] = roots
    places, turns = forward(kind.topology.parents, offsets, local)
    if kind.root_changes:
        places[..., 1] -= places[0, :, 1].min()
    return places, turns


def _rotations(vectors: np.ndarray) -> np.ndarray:
    """Matrices of rotation vectors `[..., 3]`: the files' are made for rows (`row @ R`), so they turn backwards."""
    angle = np.linalg.norm(vectors, axis=-1, keepdims=True)
    axis = vectors / np.maximum(angle, 1e-12)
    return matrices(np.concatenate((np.cos(angle / 2), -axis * np.sin(angle / 2)), -1))


def _accumulated(steps: np.ndarray, changes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the root is and how it is turned, from its changes; each in the axes of the frame before."""
    places, turns = np.empty_like(steps), np.empty_like(changes)
    place, turn = np.zeros(3), np.eye(3)
    for frame, (step, change) in enumerate(zip(steps, changes, strict=True)):
        place = place + turn @ step
        turn = turn @ change
        places[frame], turns[frame] = place, turn
    return places, turns


FORMAT = Format(
    "expmap",
    (".txt",),
    "exponential maps of Human3.6M (32 joints) and CMU mocap (38 joints)",
    sniff,
    read,
    origin="Human3.6M: academic, not to be passed on; CMU mocap: free, not to be resold",
)
