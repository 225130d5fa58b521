"""Rotations in three notations: an angle about an axis, matrices, unit quaternions (wxyz)."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Float64


def about(axis: str, angle: Float[np.ndarray, " frames"]) -> Float64[np.ndarray, "frames 3 3"]:
    """Matrices that turn about a coordinate axis (`x`, `y` or `z`), right-handed, radians."""
    first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    turn = np.zeros((len(angle), 3, 3))
    turn[:, "xyz".index(axis), "xyz".index(axis)] = 1
    turn[:, first, first] = turn[:, second, second] = np.cos(angle)
    turn[:, second, first] = np.sin(angle)
    turn[:, first, second] = -np.sin(angle)
    return turn


def from_axis_angle(vectors: Float[np.ndarray, "*batch 3"]) -> Float64[np.ndarray, "*batch 3 3"]:
    """Matrices that turn about the direction of a vector by its length, right-handed, radians: the exponential map.

    Source: Rodrigues' formula, sin(a)/a and (1 - cos(a))/a^2 written so that both hold at a = 0.
    """
    wide = np.asarray(vectors, np.float64)
    angle = np.linalg.norm(wide, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(wide, -1, 0)
    zero = np.zeros_like(x)
    rows = ((zero, -z, y), (z, zero, -x), (-y, x, zero))
    cross = np.stack([np.stack(row, -1) for row in rows], -2)
    return np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / (2 * np.pi)) ** 2 / 2 * (cross @ cross)


def to_axis_angle(matrices: Float[np.ndarray, "*batch 3 3"]) -> Float64[np.ndarray, "*batch 3"]:
    """The shortest vectors (radians, at most pi) whose `from_axis_angle` are these rotation matrices."""
    quaternion = quaternions(matrices).astype(np.float64)
    sine = np.linalg.norm(quaternion[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, quaternion[..., :1])
    return quaternion[..., 1:] * np.where(sine > 0, angle / np.where(sine > 0, sine, 1), 2.0)


def quaternions(matrices: Float[np.ndarray, "*batch 3 3"]) -> Float32[np.ndarray, "*batch 4"]:
    """Unit quaternions (wxyz, w >= 0) of rotation matrices.

    Source: Shepperd (1978): of four equal formulas the one with the largest divisor.
    """
    m = matrices
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    best = np.stack((trace, m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]), -1).argmax(-1)
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    rows = np.stack(
        (
            np.stack((1 + trace, xw, yw, zw), -1),
            np.stack((xw, 1 + 2 * m[..., 0, 0] - trace, xy, xz), -1),
            np.stack((yw, xy, 1 + 2 * m[..., 1, 1] - trace, yz), -1),
            np.stack((zw, xz, yz, 1 + 2 * m[..., 2, 2] - trace), -1),
        ),
        -2,
    )
    picked = np.take_along_axis(rows, best[..., None, None], -2)[..., 0, :]
    picked = picked * np.where(picked[..., :1] < 0, -1, 1)
    return (picked / np.linalg.norm(picked, axis=-1, keepdims=True)).astype(np.float32)


def matrices(quaternion: Float[np.ndarray, "*batch 4"]) -> Float64[np.ndarray, "*batch 3 3"]:
    """Rotation matrices of quaternions (wxyz) of any length but zero."""
    wide = np.asarray(quaternion, np.float64)
    w, x, y, z = np.moveaxis(wide / np.linalg.norm(wide, axis=-1, keepdims=True), -1, 0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, -1) for row in rows], -2)


def forward(
    parents: Sequence[int], offsets: Float[np.ndarray, "frames joints 3"], local: Float[np.ndarray, "frames joints 3 3"]
) -> tuple[Float64[np.ndarray, "frames joints 3"], Float64[np.ndarray, "frames joints 3 3"]]:
    """Forward kinematics: places and rotations in the world, from those in each joint's parent. Parents come first."""
    places = np.array(offsets, np.float64)
    turns = np.array(local, np.float64)
    for joint, parent in enumerate(parents):
        if parent != -1:
            places[:, joint] = places[:, parent] + (turns[:, parent] @ offsets[:, joint, :, None])[..., 0]
            turns[:, joint] = turns[:, parent] @ local[:, joint]
    return places, turns
