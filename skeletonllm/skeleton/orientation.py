"""Rotations of joints that only have positions: what a motion capture file needs and most recordings lack.

All joints start with the body's own frame (x to the left, y up, z ahead). A joint with one child turns by the shortest way
from its parent's turn to its bone (parallel transport: no twist); a joint with several takes the turn that fits all best.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import fill_unseen, point
from skeletonllm.skeleton.rotations import quaternions
from skeletonllm.skeleton.topology import Topology

# How much the turn of the parent counts beside the bones: it decides only what they leave open, such as a twist about hips
# that lie on one line.
_PARENTS_SHARE = 1e-3
_TINY = 1e-9


def rotations_from_positions(clip: Clip) -> Float32[np.ndarray, "persons frames joints 4"]:
    """Unit quaternions (wxyz), parent to world, of every joint. Unseen joints count as where they were last seen."""
    positions = fill_unseen(clip.positions, clip.confidence).astype(np.float64)
    frames = _body_frames(clip)
    return np.stack(
        [quaternions(_turns(places, frame, clip.topology)) for places, frame in zip(positions, frames, strict=True)]
    )


def _turns(
    places: Float64[np.ndarray, "frames joints 3"], frames: Float64[np.ndarray, "frames 3 3"], topology: Topology
) -> Float64[np.ndarray, "frames joints 3 3"]:
    """World rotations of one person."""
    turns = np.broadcast_to(frames[:, None], (*places.shape[:2], 3, 3)).copy()
    to_rest = frames[0].T
    for joint in topology.order:
        parent = topology.parents[joint]
        before = frames if parent == -1 else turns[:, parent]
        children = [child for child, its_parent in enumerate(topology.parents) if its_parent == joint]
        bones = places[:, children] - places[:, [joint]]
        rest = bones[0] @ to_rest.T
        if len(children) == 1:
            turns[:, joint] = _shortest(before @ rest[0], bones[:, 0]) @ before
        elif children:
            turns[:, joint] = _best(rest, bones, before)
        else:
            turns[:, joint] = before
    return turns


def _body_frames(clip: Clip) -> Float64[np.ndarray, "persons frames 3 3"]:
    """Left, up and ahead of each body in each frame, as the columns of a rotation."""
    shape = clip.positions.shape[:2]
    across = np.zeros((*shape, 3))
    for part in ("hip", "shoulder"):
        left, right = point(clip, part, "left"), point(clip, part, "right")
        if left is not None and right is not None:
            across += left - right
    top, bottom = point(clip, "neck"), point(clip, "pelvis")
    up = np.zeros((*shape, 3)) if top is None or bottom is None else (top - bottom).astype(np.float64)
    left_, up_ = _unit(across, (1.0, 0.0, 0.0)), _unit(up, (0.0, 1.0, 0.0))
    ahead = _unit(np.cross(left_, up_), (0.0, 0.0, 1.0))
    left_ = _unit(left_ - (left_ * ahead).sum(-1, keepdims=True) * ahead, (1.0, 0.0, 0.0))
    return _nearest_rotation(np.stack((left_, np.cross(ahead, left_), ahead), -1))


def _unit(vectors: np.ndarray, otherwise: tuple[float, float, float]) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.where(length > _TINY, vectors / np.maximum(length, _TINY), otherwise)


def _shortest(start: Float[np.ndarray, "frames 3"], end: Float[np.ndarray, "frames 3"]) -> np.ndarray:
    """The rotation without twist that brings one direction to another; none where a length is 0.

    Source: Rodrigues' formula; at opposite directions half a turn about any axis across.
    """
    a, b = _unit(start, (0.0, 0.0, 0.0)), _unit(end, (0.0, 0.0, 0.0))
    known = (np.abs(a).sum(-1) > 0) & (np.abs(b).sum(-1) > 0)
    cos = (a * b).sum(-1)
    cross = _cross_matrix(np.cross(a, b))
    turn = np.eye(3) + cross + cross @ cross / np.maximum(1 + cos, _TINY)[:, None, None]
    other = np.eye(3)[np.abs(a).argmin(-1)]
    axis = _unit(np.cross(a, other), (1.0, 0.0, 0.0))
    half = 2 * axis[:, :, None] * axis[:, None] - np.eye(3)
    turn = np.where((cos < -1 + 1e-7)[:, None, None], half, turn)
    return np.where(known[:, None, None], turn, np.eye(3))


def _cross_matrix(vectors: np.ndarray) -> np.ndarray:
    x, y, z = np.moveaxis(vectors, -1, 0)
    zero = np.zeros_like(x)
    return np.stack((np.stack((zero, -z, y), -1), np.stack((z, zero, -x), -1), np.stack((-y, x, zero), -1)), -2)


def _best(rest: np.ndarray, bones: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The rotation that brings several bones from rest to where they are, with least squares.

    Source: Kabsch (1976), with a small weight on the parent's turn, so that it is always defined.
    """
    matched = np.einsum("tci,cj->tij", bones, rest)
    return _nearest_rotation(matched + (_PARENTS_SHARE * (rest**2).sum() + _TINY) * before)


def _nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    u, _, v = np.linalg.svd(matrices)
    sign = np.where(np.linalg.det(u @ v) < 0, -1.0, 1.0)
    u[..., :, 2] *= sign[..., None]
    return u @ v
