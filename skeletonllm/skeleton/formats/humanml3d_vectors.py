"""Feature vectors of HumanML3D (263 numbers per frame, 22 joints) and KIT-ML (251, 21 joints) turned back into joints.

A row: the root's yaw step (half the angle, radians), its step in x and z as the body sees it, its height; then the other
joints from the root's place on the floor as the body sees them; rotations, velocities and foot contacts, which say the
same again and are not read. Source: Guo et al. (2022); the layout was checked against `new_joints` of the same clip.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from skeletonllm.skeleton.formats.common import problem

_NUM_JOINTS = {263: 22, 251: 21}
_LARGEST = 1e6  # of a feature: far beyond any in millimetres


def recover_joints(
    path: Path, features: Float[np.ndarray, "frames features"]
) -> Float64[np.ndarray, "frames joints 3"]:
    """Positions in the unit of the features, +y up; a joint with NaN stays NaN.

    Raises:
        FormatError: the root's motion has gaps, or a number is absurd.
    """
    num_joints = _NUM_JOINTS[features.shape[1]]
    used = features[:, : 4 + 3 * (num_joints - 1)].astype(np.float64)
    root, places = used[:, :4], used[:, 4:].reshape(len(used), num_joints - 1, 3)
    if not np.isfinite(root).all():
        row = int(np.argmin(np.isfinite(root).all(1)))
        raise problem(path, f"row {row}", root[row].tolist(), "finite motion of the root (the first four numbers)")
    largest = np.nanmax(np.abs(used))
    if largest > _LARGEST:
        raise problem(path, "", f"a feature of {largest:.3g}", f"at most {_LARGEST:.0e}")
    # Each row has the step to the next one.
    yaw = -2 * np.concatenate(([0.0], np.cumsum(root[:-1, 0])))
    steps = _turned(yaw[1:], np.stack((root[:-1, 1], np.zeros(len(root) - 1), root[:-1, 2]), -1))
    pelvis = np.concatenate((np.zeros((1, 3)), np.cumsum(steps, axis=0)))
    joints = _turned(yaw[:, None], places) + pelvis[:, None]
    pelvis[:, 1] = root[:, 3]
    return np.concatenate((pelvis[:, None], joints), axis=1)


def _turned(yaw: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points turned about +y by an angle of their own."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    x, y, z = np.moveaxis(points, -1, 0)
    return np.stack((cos * x + sin * z, y + 0 * cos, cos * z - sin * x), -1)
