"""A person who stands in a T-pose or moves, for tests that need to know where a hand is."""

from dataclasses import replace

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import rotate_y
from skeletonllm.skeleton.simulate import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES

_T_POSE = {
    "hip_center": (0, 1.0, 0),
    "spine": (0, 1.2, 0),
    "shoulder_center": (0, 1.5, 0),
    "head": (0, 1.75, 0),
    "shoulder": (0.2, 1.45, 0),
    "elbow": (0.45, 1.45, 0),
    "wrist": (0.7, 1.45, 0),
    "hand": (0.8, 1.45, 0),
    "hip": (0.1, 0.95, 0),
    "knee": (0.1, 0.5, 0),
    "ankle": (0.1, 0.08, 0),
    "foot": (0.1, 0.08, 0.15),
}


def t_pose(num_frames: int = 3, num_persons: int = 1, fps: float = 30.0) -> Clip:
    """A Kinect v1 body with its left at +x that faces +z; metres."""
    topology = TOPOLOGIES["kinect_v1_20"]
    places = []
    for name in topology.joint_names:
        bare, _, side = name.rpartition("_")
        x, y, z = _T_POSE[bare if side in ("left", "right") else name]
        places.append((-x if side == "right" else x, y, z))
    positions = np.tile(np.array(places, np.float32), (num_persons, num_frames, 1, 1))
    return Clip("t", topology, positions, np.ones(positions.shape[:3], np.float32), fps)


def with_joint(clip: Clip, name: str, path: np.ndarray, person: int = 0) -> Clip:
    """The clip with one joint somewhere else in every frame."""
    positions = clip.positions.copy()
    positions[person, :, clip.topology.joint_names.index(name)] = path
    return replace(clip, positions=positions)


def moved(clip: Clip, yaw: float = 0.0, by: tuple[float, float, float] = (0, 0, 0), scale: float = 1.0) -> Clip:
    """The clip turned, shifted and scaled in space."""
    positions = rotate_y(clip.positions, yaw) * scale + np.array(by, np.float32)
    return replace(clip, positions=positions.astype(np.float32), rotations=None)


def mirrored(clip: Clip) -> Clip:
    """The clip as a mirror shows it: left joints become right ones."""
    swap = list(range(clip.topology.num_joints))
    for left, right in clip.topology.mirror:
        swap[left], swap[right] = right, left
    positions = clip.positions[:, :, swap] * np.array((-1, 1, 1), np.float32)
    return replace(clip, positions=positions, confidence=clip.confidence[:, :, swap], rotations=None)


def waving() -> Clip:
    """A simulated person who waves a hand."""
    return perform("wave", 0, 0, 0)
