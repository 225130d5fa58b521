"""The body behind SMPL poses: where 22 joints rest, and where rotations carry them.

The models of the SMPL family are licensed and not part of this project. Without one, all people get the template body
below; with one, which the user has, each gets the shape that the file says. Source: Loper et al. (2015).
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64

from skeletonllm.skeleton.formats.arrays import load_arrays, names_in
from skeletonllm.skeleton.formats.common import problem
from skeletonllm.skeleton.rotations import forward
from skeletonllm.skeleton.topologies import TOPOLOGIES

TOPOLOGY = TOPOLOGIES["smpl_22"]
_NUM_JOINTS = TOPOLOGY.num_joints
_SMPLX = 55  # joints of SMPL-X; SMPL has 24, SMPL-H 52
_LARGEST = 1e3  # of a model's metres and of a shape's coefficients

# Steps from the parent, metres, in the T-pose that faces +z; the left half and the middle, the pelvis from the origin.
# Lengths: of HumanML3D's one skeleton, measured on its joints, both sides averaged, rounded to 1 cm. Directions: of
# hips and collars from the triangles that they make there; of the rest by the markers of a recording of AMASS, as is
# the pelvis; of foot and head by eye. In that recording knees, elbows and wrists come within 5 cm on average (worst: a
# wrist, 7 cm) of the middle between their two markers, for a man of other proportions.
_TEMPLATE = {
    "pelvis": (0, -0.20, 0),
    "spine1": (0, 0.13, -0.01),
    "spine2": (0, 0.14, -0.01),
    "spine3": (0, 0.06, -0.01),
    "neck": (0, 0.22, 0),
    "head": (0, 0.09, 0.05),
    "collar": (0.08, 0.12, -0.01),
    "shoulder": (0.12, 0.03, 0),
    "elbow": (0.26, -0.01, -0.01),
    "wrist": (0.26, 0, 0),
    "hip": (0.06, -0.09, -0.01),
    "knee": (0.04, -0.39, 0),
    "ankle": (-0.01, -0.43, -0.03),
    "foot": (0.02, -0.06, 0.13),
}


@dataclass(frozen=True)
class _ShapeSpace:
    """A model's rest joints: those of the mean body and what each shape coefficient adds."""

    num_joints: int  # of the whole model, with fingers and face

    mean: Float64[np.ndarray, "22 3"]
    shapes: Float64[np.ndarray, "22 3 coefficients"]


def template_joints() -> Float64[np.ndarray, "22 3"]:
    """The joints of an average adult in the T-pose, metres: facing +z, the left at +x."""
    joints = np.zeros((_NUM_JOINTS, 3))
    for joint in TOPOLOGY.order:
        side, _, word = TOPOLOGY.joint_names[joint].rpartition("_")
        step = np.array(_TEMPLATE[word]) * (-1 if side == "right" else 1, 1, 1)
        parent = TOPOLOGY.parents[joint]
        joints[joint] = step if parent == -1 else joints[parent] + step
    return joints


def model_joints(
    model: Path, betas: Float[np.ndarray, " coefficients"], num_pose_joints: int
) -> Float64[np.ndarray, "22 3"]:
    """The joints of a body of the user's own model (SMPL, SMPL-H or SMPL-X as `.npz`) in the T-pose, metres.

    Args:
        model: has `J_regressor`, `v_template` and `shapedirs`; other arrays are not read.
        betas: shape coefficients; those that the model lacks are left out.
        num_pose_joints: for how many joints the recording has poses; 55 are SMPL-X, whose coefficients are its own.

    Raises:
        FormatError: the model is a pickle, not of this form, or of another kind than the recording.
    """
    if model.suffix.lower() == ".pkl":
        raise problem(
            model, "", "a pickle", "a body model as .npz", "opening it would run code; save its arrays as .npz"
        )
    if not model.is_file():
        raise problem(model, "", "no such file", "a body model as .npz", "correct --body-model")
    stat = model.stat()
    space = _load(model, stat.st_mtime_ns, stat.st_size)
    if num_pose_joints != _NUM_JOINTS and (num_pose_joints == _SMPLX) != (space.num_joints == _SMPLX):
        raise problem(
            model,
            "",
            f"{space.num_joints} joints",
            f"{num_pose_joints}, as the recording",
            "give the model of its kind",
        )
    used = betas[: space.shapes.shape[-1]].astype(np.float64)
    if not (np.abs(used) < _LARGEST).all():
        raise problem(model, "betas of a recording", used.tolist(), f"numbers below {_LARGEST:g}")
    return space.mean + space.shapes[..., : len(used)] @ used


@functools.lru_cache(maxsize=8)
def _load(model: Path, mtime_ns: int, size: int) -> _ShapeSpace:
    """What of the model the joints depend on; its time and size are part of the key of the cache."""
    needed = {"J_regressor", "v_template", "shapedirs"}
    missing = sorted(needed - names_in(model))
    if missing:
        raise problem(model, "", f"no {', '.join(missing)}", "a model of the SMPL family as .npz")
    arrays = load_arrays(model, leave_out=names_in(model) - needed, kinds="f")
    regressor, vertices, shapes = (arrays[name] for name in ("J_regressor", "v_template", "shapedirs"))
    fitting = (
        regressor.ndim == 2
        and len(regressor) >= _NUM_JOINTS
        and vertices.shape == (regressor.shape[1], 3)
        and shapes.ndim == 3
        and shapes.shape[:2] == vertices.shape
    )
    if not fitting:
        found = f"J_regressor {regressor.shape}, v_template {vertices.shape}, shapedirs {shapes.shape}"
        raise problem(model, "", found, "(joints, vertices), (vertices, 3), (vertices, 3, coefficients)")
    if not all((np.abs(array) < _LARGEST).all() for array in (regressor, vertices, shapes)):
        raise problem(model, "", "a number that is not finite or absurd", "metres")
    body = regressor[:_NUM_JOINTS].astype(np.float64)
    return _ShapeSpace(len(regressor), body @ vertices, np.einsum("jv,vxb->jxb", body, shapes.astype(np.float64)))


def pose(
    rest: Float64[np.ndarray, "22 3"],
    places: Float64[np.ndarray, "frames 3"],
    turns: Float64[np.ndarray, "frames 22 3 3"],
) -> tuple[Float64[np.ndarray, "frames 22 3"], Float64[np.ndarray, "frames 22 3 3"]]:
    """The body in every frame.

    Args:
        rest: joints in the T-pose.
        places: the pelvis in each frame.
        turns: of each joint against its parent.

    Returns:
        Positions and world rotations.
    """
    steps = np.repeat((rest - rest[list(TOPOLOGY.parents)])[None], len(places), axis=0)
    steps[:, 0] = places
    return forward(TOPOLOGY.parents, steps, turns)
