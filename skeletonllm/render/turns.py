"""How the joints of a body turn, from places alone or with a file's rotations.

A joint's turn is a unit quaternion (wxyz). It brings the T-pose (the person's left at +x, up at +y, front at +z) to the
frame; as in BVH and SMPL it is that of the bones that leave the joint.
"""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from skeletonllm.skeleton.kinematics import quaternion_product
from skeletonllm.skeleton.rotations import quaternions
from skeletonllm.skeleton.topology import Topology

# A bone shorter than this has no direction and does not turn. Metres on the canonical body.
_SOFT_LENGTH_M = 5e-3
# A body whose sides cannot be told (edge-on in 2D, joints missing) is taken to face the camera, a head to look where the
# chest does; metres. From `_SURE` times as far on the prior has no say at all, so a turned body has turned turns.
_PRIOR_M = 0.02
_SURE = 4.0
# A bone that folds back on the one before turns about the limb's hinge. It counts less and less from the fold on and
# nothing where 1 + cos of the angle is larger than `_FOLD` (20 degrees).
_HINGE = 0.2
_FOLD = 0.06
_TRUNK = ("pelvis", "spine", "chest")
_HEAD = ("neck", "head", "face")


def joint_turns(
    positions: Float[np.ndarray, "persons frames joints 3"],
    confidence: Float[np.ndarray, "persons frames joints"],
    topology: Topology,
) -> Float32[np.ndarray, "persons frames joints 4"]:
    """Each joint's turn, from places alone.

    Trunk and head: Gram-Schmidt, up first, the sides weighted by confidence. Limbs: the turn of the joint before, then the
    least turn that brings the bone to its direction. So a straight limb has no twist of its own, and nothing is singular:
    at an exact fold the hinge decides. A joint that is seen in none of the frames is passed over.
    """
    plan = _plan(topology)
    positions = _with_stand_ins(positions, confidence, topology)
    turns = np.zeros((*positions.shape[:3], 4), np.float32)
    torso, head = _trunk_turns(positions, confidence, topology)
    turns[:, :, plan.trunk] = torso[:, :, None]
    turns[:, :, plan.head] = head[:, :, None]
    directions = plan.outward @ positions
    directions = directions / np.sqrt((directions**2).sum(-1, keepdims=True) + _SOFT_LENGTH_M**2)
    for joints, parents in plan.levels:
        before = turns[:, :, parents]
        straight = _rotate(before, plan.rest[joints])
        arc = _shortest_arc(straight, directions[:, :, joints], _rotate(before, plan.hinges[joints]))
        turns[:, :, joints] = quaternion_product(arc, before)
    return turns


def file_turns(
    positions: Float[np.ndarray, "persons frames joints 3"],
    confidence: Float[np.ndarray, "persons frames joints"],
    topology: Topology,
    rotations: Float32[np.ndarray, "persons frames joints 4"],
) -> Float32[np.ndarray, "persons frames joints 4"]:
    """Each joint's turn as the file says it, twist included.

    Files differ in what a rotation of zero looks like (a T-pose, bones along y, ...). So a file is asked only how a joint
    turns, and its rest pose is the one that agrees best with the turns that are seen in the places.
    """
    seen = joint_turns(positions, confidence, topology)
    unit = unit_or_nothing(rotations)
    valid = unit.any(-1, keepdims=True)
    rest = quaternion_product(unit * np.array([1, -1, -1, -1], np.float32), seen) * valid
    # The mean rotation is the first eigenvector of the sum of q q^T (Markley et al., 2007): q and -q count as one.
    spread = np.einsum("ptji,ptjk->jik", rest, rest)
    mean = np.linalg.eigh(spread)[1][..., -1]
    return np.where(valid, quaternion_product(unit, mean[None, None]), seen).astype(np.float32)


def unit_or_nothing(rotations: Float32[np.ndarray, "*batch 4"]) -> Float32[np.ndarray, "*batch 4"]:
    """Quaternions of length 1; 0 for those that are none: too short, or not finite."""
    length = np.linalg.norm(rotations.astype(np.float64), axis=-1, keepdims=True)
    valid = np.isfinite(length) & (length > 0.5)
    return (np.where(valid, rotations, 0) / np.where(valid, length, 1)).astype(np.float32)


@dataclass(frozen=True)
class _Plan:
    """What `joint_turns` needs to know of a topology.

    Args:
        trunk: joints that turn with the torso.
        head: joints that turn with the head.
        outward: times the joints' places this is the way out of each joint: the mean of its bones, or its own at a leaf.
        rest: that way in the T-pose.
        hinges: the axis across it about which the limb bends.
        levels: the other joints with the joints before them, nearest to the root first.
    """

    trunk: np.ndarray
    head: np.ndarray
    outward: np.ndarray
    rest: np.ndarray
    hinges: np.ndarray
    levels: tuple[tuple[np.ndarray, np.ndarray], ...]


@functools.lru_cache(maxsize=64)
def _plan(topology: Topology) -> _Plan:
    num_joints, parents = topology.num_joints, topology.parents
    trunk = [j for j in range(num_joints) if topology.parts[j] in _TRUNK or parents[j] == -1]
    head = [j for j in range(num_joints) if topology.parts[j] in _HEAD and parents[j] != -1]
    outward = np.zeros((num_joints, num_joints), np.float32)
    rest = np.zeros((num_joints, 3), np.float32)
    hinges = np.zeros((num_joints, 3), np.float32)
    levels: dict[int, list[int]] = {}
    depth = dict.fromkeys((*trunk, *head), 0)
    for joint in topology.order:
        children = [child for child in range(num_joints) if parents[child] == joint]
        ends = [(joint, child) for child in children] or [(parents[joint], joint)] * (parents[joint] != -1)
        for start, end in ends:
            outward[joint, end] += 1 / len(ends)
            outward[joint, start] -= 1 / len(ends)
        last = ends[0][1] if ends else joint
        rest[joint], hinges[joint] = _rest_bone(topology.parts[last], topology.sides[last])
        if joint not in depth:
            depth[joint] = depth[parents[joint]] + 1
            levels.setdefault(depth[joint], []).append(joint)
    ordered = tuple(
        (np.array(joints), np.array([parents[joint] for joint in joints])) for _, joints in sorted(levels.items())
    )
    return _Plan(np.array(trunk, int), np.array(head, int), outward, rest, hinges, ordered)


def _rest_bone(part: str, side: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Where the bone that ends in a part points in the T-pose (left, up, front), and the axis about which it bends.

    Elbows bring the forearm to the front, knees bring the shank to the back.
    """
    sign = {"left": 1.0, "center": 0.0, "right": -1.0}[side]
    if part in ("shoulder", "elbow", "wrist", "hand", "hip") and sign:
        return (sign, 0.0, 0.0), (0.0, -sign, 0.0)
    if part in ("knee", "ankle"):
        return (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)
    if part in ("foot", "face"):
        return (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)
    return (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)


def _with_stand_ins(positions: np.ndarray, confidence: np.ndarray, topology: Topology) -> np.ndarray:
    """The places, where a joint that is never seen stands where the joint before it does: its bone has no direction."""
    known = np.any(confidence > 0, axis=1)
    if known.all():
        return positions
    positions = positions.copy()
    for joint in topology.order[1:]:
        unknown = ~known[:, joint]
        positions[unknown, :, joint] = positions[unknown, :, topology.parents[joint]]
    return positions


def _trunk_turns(positions: np.ndarray, confidence: np.ndarray, topology: Topology) -> tuple[np.ndarray, np.ndarray]:
    """Turns of torso and head: `[persons, frames, 4]` each."""
    # The weight is a matter of trust only: an unseen joint is held where it was last seen.
    weight = 0.01 + confidence[..., None]

    def pair(part: str) -> tuple[int, int] | None:
        left, right = topology.find(part, "left"), topology.find(part, "right")
        return None if left is None or right is None else (left, right)

    def middle(part: str) -> np.ndarray | None:
        ends = pair(part)
        return None if ends is None else positions[:, :, ends].mean(2)

    def across(part: str) -> np.ndarray:
        ends = pair(part)
        if ends is None:
            return np.zeros(3, np.float32)
        left, right = ends
        return weight[:, :, left] * weight[:, :, right] * (positions[:, :, left] - positions[:, :, right])

    hips, shoulders = middle("hip"), middle("shoulder")
    nothing = np.zeros((*positions.shape[:2], 3), np.float32)
    up = nothing if hips is None or shoulders is None else shoulders - hips
    torso = _frame(up, nothing + across("shoulder") + across("hip"), np.eye(3, dtype=np.float32))
    crown = topology.find("head")
    neck = shoulders if topology.find("neck") is None else positions[:, :, topology.find("neck")]
    rise = nothing if crown is None or neck is None else positions[:, :, crown] - neck
    head = _frame(rise, nothing + across("face"), torso)
    return quaternions(torso), quaternions(head)


def _frame(up: np.ndarray, left: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Left, up and front as columns, from two directions that may be 0 or not at right angles, and from a prior frame."""
    up = _unit(_sure(up, prior[..., 1]), (0.0, 1.0, 0.0))
    left = _unit(_across(_sure(_across(left, up), prior[..., 0]), up), (0.0, 0.0, 1.0))
    left = _unit(_across(left, up), (1.0, 0.0, 0.0))
    return np.stack((left, up, _cross(left, up)), -1)


def _sure(vectors: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Vectors of metres that are leant on a prior direction the more, the shorter they are."""
    length = np.sqrt((vectors**2).sum(-1, keepdims=True))
    doubt = np.maximum(1 - length / (_SURE * _PRIOR_M), 0) ** 2
    return vectors + np.float32(_PRIOR_M) * doubt * prior


def _across(vectors: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """What of vectors stands at right angles to an axis of length 1."""
    return vectors - (vectors * axis).sum(-1, keepdims=True) * axis


def _unit(vectors: np.ndarray, fallback: tuple[float, float, float]) -> np.ndarray:
    length = np.sqrt((vectors**2).sum(-1, keepdims=True))
    return np.where(length > 1e-4, vectors / np.maximum(length, 1e-4), np.array(fallback, np.float32))


def _shortest_arc(start: np.ndarray, end: np.ndarray, hinge: np.ndarray) -> np.ndarray:
    """The least turn from one direction to another; `end` shorter than 1 turns less."""
    real = 1 + (start * end).sum(-1, keepdims=True)
    folded = np.maximum(1 - real / _FOLD, 0) ** 2
    turn = np.concatenate((real, _cross(start, end) + _HINGE * folded * hinge), -1)
    return turn / np.sqrt((turn**2).sum(-1, keepdims=True))


def _rotate(turns: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    axis = turns[..., 1:]
    twice = 2 * _cross(axis, vectors)
    return vectors + turns[..., :1] * twice + _cross(axis, twice)


def _cross(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    # np.cross takes three times as long on small arrays.
    one, two = [1, 2, 0], [2, 0, 1]
    return left[..., one] * right[..., two] - left[..., two] * right[..., one]
