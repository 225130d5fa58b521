"""An articulated figure: a body's measures, inverse kinematics of limbs, forward kinematics of the whole.

Knows how bodies hang together, not what they do (`motions.py`) and not who sees them (`sensors.py`).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from skeletonllm.skeleton.rotations import about, quaternions
from skeletonllm.skeleton.topology import Topology

_TREE = """pelvis<- spine1<pelvis spine2<spine1 spine3<spine2 neck<spine3 head<neck nose<head
    eye_left<head eye_right<head ear_left<head ear_right<head
    collar_left<spine3 shoulder_left<collar_left elbow_left<shoulder_left wrist_left<elbow_left
    hand_left<wrist_left hand_tip_left<hand_left thumb_left<wrist_left
    collar_right<spine3 shoulder_right<collar_right elbow_right<shoulder_right wrist_right<elbow_right
    hand_right<wrist_right hand_tip_right<hand_right thumb_right<wrist_right
    hip_left<pelvis knee_left<hip_left ankle_left<knee_left foot_left<ankle_left
    hip_right<pelvis knee_right<hip_right ankle_right<knee_right foot_right<ankle_right"""
_PAIRS = [word.split("<") for word in _TREE.split()]
_NAMES = tuple(name for name, _ in _PAIRS)
JOINT = {name: index for index, name in enumerate(_NAMES)}
FIGURE = Topology.from_names("figure", _NAMES, tuple(-1 if parent == "-" else JOINT[parent] for _, parent in _PAIRS))

SIDE_SIGN = {"left": 1.0, "right": -1.0}  # the left is at +x of a figure that faces +z

# Rest pose of the left half and the middle, arms stretched out to the side, as shares of the body's height.
# Source: segment shares of Drillis and Contini (1966), rounded; face and fingers by eye.
_REST = {
    "pelvis": (0, 0.55, 0),
    "spine1": (0, 0.61, 0),
    "spine2": (0, 0.68, 0),
    "spine3": (0, 0.76, 0),
    "neck": (0, 0.84, 0),
    "head": (0, 0.925, 0.01),
    "nose": (0, 0.915, 0.07),
    "eye": (0.018, 0.935, 0.055),
    "ear": (0.042, 0.925, 0),
    "collar": (0.03, 0.815, 0),
    "shoulder": (0.115, 0.815, 0),
    "elbow": (0.301, 0.815, 0),
    "wrist": (0.447, 0.815, 0),
    "hand": (0.497, 0.815, 0),
    "hand_tip": (0.55, 0.815, 0),
    "thumb": (0.475, 0.815, 0.03),
    "hip": (0.052, 0.53, 0),
    "knee": (0.052, 0.285, 0),
    "ankle": (0.052, 0.039, 0),
    "foot": (0.052, 0.01, 0.11),
}


@dataclass(frozen=True)
class Body:
    """The measures of one performer; the scales are relative to an average body of this height."""

    height_m: float = 1.72
    arm_scale: float = 1.0
    leg_scale: float = 1.0
    trunk_scale: float = 1.0
    width_scale: float = 1.0

    def rest_positions(self) -> Float[np.ndarray, "joints 3"]:
        """Joints of the rest pose, metres: feet near y = 0, arms to the sides, facing +z."""
        rest = np.zeros((FIGURE.num_joints, 3))
        for joint, name in enumerate(FIGURE.joint_names):
            word, _, side = name.rpartition("_") if name.endswith(("_left", "_right")) else (name, "", "left")
            rest[joint] = np.array(_REST[word]) * (SIDE_SIGN[side], 1, 1)
        positions = np.zeros_like(rest)
        for joint in FIGURE.order:
            parent = FIGURE.parents[joint]
            if parent == -1:
                continue
            offset = (rest[joint] - rest[parent]) * self._scale(FIGURE.joint_names[joint])
            positions[joint] = positions[parent] + offset
        positions[:, 1] -= positions[JOINT["foot_left"], 1] - 0.01
        return positions * self.height_m

    def _scale(self, name: str) -> np.ndarray | float:
        if name.startswith(("elbow", "wrist", "hand", "thumb")):
            return self.arm_scale
        if name.startswith(("knee", "ankle", "foot")):
            return self.leg_scale
        if name.startswith("spine"):
            return self.trunk_scale
        if name.startswith(("shoulder", "collar", "hip")):
            return np.array((self.width_scale, 1, 1))
        return 1.0

    @property
    def arm_m(self) -> float:
        """Shoulder to wrist, stretched."""
        return (0.186 + 0.146) * self.arm_scale * self.height_m

    @property
    def leg_m(self) -> float:
        """Hip to ankle, stretched."""
        return (0.245 + 0.246) * self.leg_scale * self.height_m


@dataclass(frozen=True)
class Pose:
    """What the figure is asked to do over time; forward kinematics follows, bone lengths never change.

    Args:
        pelvis: metres from the place above the origin where it stands upright.
        yaw: turn of the whole body about +y, radians.
        lean: forward bend of the pelvis, radians.
        bend: forward bend of the spine, on top of `lean`, radians.
        twist: turn of the chest to the left against the pelvis, radians.
        tilt: bend of the spine to the right, radians.
        nod: forward bend of the head against the vertical, radians.
        hands: wrists from the shoulders, metres, in a frame that is upright and turns with `yaw`; left, right.
        elbows: direction in which each elbow points, same frame; left, right.
        ankles: metres from where each ankle stands, in the figure's own place; left, right.
        toes: how far each foot points down, radians; left, right.
    """

    pelvis: Float[np.ndarray, "frames 3"]
    yaw: Float[np.ndarray, " frames"]
    lean: Float[np.ndarray, " frames"]
    bend: Float[np.ndarray, " frames"]
    twist: Float[np.ndarray, " frames"]
    tilt: Float[np.ndarray, " frames"]
    nod: Float[np.ndarray, " frames"]
    hands: Float[np.ndarray, "frames 2 3"]
    elbows: Float[np.ndarray, "frames 2 3"]
    ankles: Float[np.ndarray, "frames 2 3"]
    toes: Float[np.ndarray, "frames 2"]


def pose_figure(
    body: Body, pose: Pose
) -> tuple[Float32[np.ndarray, "frames joints 3"], Float32[np.ndarray, "frames joints 4"]]:
    """Positions (metres) and world rotations (wxyz) of all joints; a hand or foot out of reach stays in reach."""
    rest = body.rest_positions()
    offsets = rest - rest[list(FIGURE.parents)]
    frames = len(pose.yaw)
    places = np.zeros((frames, FIGURE.num_joints, 3))
    turns = np.broadcast_to(np.eye(3), (frames, FIGURE.num_joints, 3, 3)).copy()
    upright = about("y", pose.yaw)
    pelvis = JOINT["pelvis"]
    # Nobody stands with locked knees: 1.5 % of the leg.
    stand = rest[pelvis] - (0, 0.015 * body.leg_m, 0)
    places[:, pelvis] = stand + pose.pelvis
    turns[:, pelvis] = upright @ about("x", pose.lean)
    _pose_trunk(places, turns, offsets, pose, upright)
    for index, side in enumerate(("left", "right")):
        shoulder, hip, ankle = (JOINT[f"{word}_{side}"] for word in ("shoulder", "hip", "ankle"))
        target = places[:, shoulder] + np.einsum("fij,fj->fi", upright, pose.hands[:, index])
        pole = np.einsum("fij,fj->fi", upright, pose.elbows[:, index])
        rest_axes = _axes(np.array([[SIDE_SIGN[side], 0, 0]]), np.array([[0, 0, -1.0]]))
        _pose_limb(places, turns, offsets, shoulder, target, pole, rest_axes)
        target = rest[ankle] + pose.ankles[:, index]
        pole = upright[:, :, 2] + 0.15 * SIDE_SIGN[side] * upright[:, :, 0]
        rest_axes = _axes(np.array([[0, -1.0, 0]]), np.array([[0, 0, 1.0]]))
        _pose_limb(places, turns, offsets, hip, target, pole, rest_axes)
        turns[:, ankle] = (
            upright @ about("y", np.full(frames, 0.15 * SIDE_SIGN[side])) @ about("x", pose.toes[:, index])
        )
        for tip in ("hand", "hand_tip", "thumb", "foot"):
            _follow(places, turns, offsets, JOINT[f"{tip}_{side}"], keep_turn=False)
    return places.astype(np.float32), quaternions(turns)


def _pose_trunk(places: np.ndarray, turns: np.ndarray, offsets: np.ndarray, pose: Pose, upright: np.ndarray) -> None:
    for number in (1, 2, 3):
        share = number / 3
        bent = about("y", share * pose.twist) @ about("x", share * pose.bend) @ about("z", -share * pose.tilt)
        turns[:, JOINT[f"spine{number}"]] = turns[:, JOINT["pelvis"]] @ bent
    # Neck and head: half of the trunk's bend, so that people look ahead; the twist is undone.
    turns[:, JOINT["neck"]] = upright @ about("x", 0.6 * (pose.lean + pose.bend) + 0.5 * pose.nod)
    turns[:, JOINT["head"]] = upright @ about("x", 0.4 * (pose.lean + pose.bend) + pose.nod)
    for name in ("spine1", "spine2", "spine3", "neck", "head"):
        _follow(places, turns, offsets, JOINT[name], keep_turn=True)
    for name in ("nose", "eye_left", "eye_right", "ear_left", "ear_right"):
        _follow(places, turns, offsets, JOINT[name], keep_turn=False)
    for side in ("left", "right"):
        for name in ("collar", "shoulder", "hip"):
            _follow(places, turns, offsets, JOINT[f"{name}_{side}"], keep_turn=False)


def _follow(places: np.ndarray, turns: np.ndarray, offsets: np.ndarray, joint: int, keep_turn: bool) -> None:
    """Put a joint where its parent carries it; it turns with the parent unless its own turn is kept."""
    parent = FIGURE.parents[joint]
    places[:, joint] = places[:, parent] + turns[:, parent] @ offsets[joint]
    if not keep_turn:
        turns[:, joint] = turns[:, parent]


def _pose_limb(
    places: np.ndarray,
    turns: np.ndarray,
    offsets: np.ndarray,
    start: int,
    target: np.ndarray,
    pole: np.ndarray,
    rest_axes: np.ndarray,
) -> None:
    """Bend a limb of two bones so that its end reaches the target, the middle joint pointing to the pole.

    Source: law of cosines.
    """
    middle, end = start + 1, start + 2
    upper, lower = np.linalg.norm(offsets[middle]), np.linalg.norm(offsets[end])
    reach = target - places[:, start]
    distance = np.linalg.norm(reach, axis=-1, keepdims=True)
    along = reach / np.maximum(distance, 1e-9)
    distance = np.clip(distance, abs(upper - lower) + 0.15 * lower, 0.999 * (upper + lower))
    out = pole - (pole * along).sum(-1, keepdims=True) * along
    out /= np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)
    cos = (upper**2 + distance**2 - lower**2) / (2 * upper * distance)
    places[:, middle] = places[:, start] + upper * (cos * along + np.sqrt(np.maximum(1 - cos**2, 0)) * out)
    places[:, end] = places[:, start] + distance * along
    normal = np.cross(along, out)
    for joint, child in ((start, middle), (middle, end)):
        bone = places[:, child] - places[:, joint]
        bone /= np.linalg.norm(bone, axis=-1, keepdims=True)
        turns[:, joint] = _axes(bone, np.cross(normal, bone)) @ rest_axes.transpose(0, 2, 1)
    turns[:, end] = turns[:, middle]


def _axes(along: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Right-handed frames whose columns are `along`, `out` and their cross product."""
    return np.stack((along, out, np.cross(along, out)), axis=-1)
