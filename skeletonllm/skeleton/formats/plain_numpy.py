"""Numpy files of joints: `.npy` `[frames, joints, 2 to 4]`, `[persons, ...]` or `[frames, joints * values]`, and `.npz`.

In a `.npz` the usual names of arrays are known: positions or keypoints, confidence or scores, fps, joint_names, parents,
label. Ours also hold the description of the clip. Nothing is unpickled.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats.arrays import MAGIC, header_of, load_array, load_arrays, names_in
from skeletonllm.skeleton.formats.common import Declared, Format, brief, problem
from skeletonllm.skeleton.formats.declared import MAX_FPS, declared_topology, own_topology
from skeletonllm.skeleton.formats.described import KEY, described, told_by
from skeletonllm.skeleton.formats.plain import (
    MAX_JOINTS,
    MIN_JOINTS,
    TAKES,
    Motion,
    can_be_cut,
    clip_of,
    looks_like_joints,
    motion_of_array,
)
from skeletonllm.skeleton.topology import Topology

# Names of arrays in the order in which they are looked for.
POSITIONS = (
    *("positions", "positions_3d", "keypoints", "keypoints3d", "keypoints_3d", "keypoint", "poses3d", "poses_3d"),
    *("joints3d", "joints_3d", "joints", "xyz", "landmarks", "skeleton", "skeletons", "coords", "keypoints2d"),
    *("keypoints_2d", "positions_2d", "poses2d", "poses_2d", "arr_0"),
)
_CONFIDENCE = (
    "confidence",
    "confidences",
    "scores",
    "score",
    "keypoint_scores",
    "keypoint_score",
    "visibility",
    "conf",
)
_FPS = ("fps", "frame_rate", "framerate", "mocap_framerate", "mocap_frame_rate")
_NAMES = ("joint_names", "names", "keypoint_names", "landmark_names")
_LABEL = ("label", "action", "class")
_ALL = {*POSITIONS, *_CONFIDENCE, *_FPS, *_NAMES, *_LABEL, "parents", "rotations", KEY}


def sniff(path: Path, head: bytes) -> bool:
    """An array that can be cut into joints that lie or move like a body's, or such an array in an archive."""
    try:
        if head.startswith(MAGIC):
            found = header_of(head)
            topology = declared_topology(path)
            if (
                found is None
                or not _shape_fits(found[0], topology)
                or found[1].kind not in "fiu"
                or not found[1].itemsize > 1
            ):
                return False
            return looks_like_joints(path, load_array(path), topology)
        if not head.startswith(b"PK"):
            return False
        names = names_in(path)
        key = next((key for key in POSITIONS if key in names), None)
        if key is None or KEY in names:
            return key is not None
        array = load_arrays(path, names - {key}, kinds="fiubSUO")[key]
        return array.dtype.kind in "fiu" and looks_like_joints(path, array, declared_topology(path))
    except FormatError:
        return False


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file.

    Raises:
        FormatError: it is damaged, its shapes do not fit, or something must be declared.
    """
    with path.open("rb") as file:
        is_array = file.read(len(MAGIC)) == MAGIC
    if is_array:
        motion = motion_of_array(path, "header", load_array(path), declared.topology)
    else:
        motion = _archived(path, declared.topology)
    return [clip_of(path, FORMAT.name, motion, declared)]


def _shape_fits(shape: tuple[int, ...], topology: Topology | None) -> bool:
    if len(shape) == 2:
        return can_be_cut(shape[1], topology)
    return len(shape) in (3, 4) and shape[-1] in (2, 3, 4) and MIN_JOINTS <= shape[-2] <= MAX_JOINTS


def _archived(path: Path, topology: Topology | None) -> Motion:
    """What a `.npz` holds, by the names of its arrays."""
    arrays = load_arrays(path, names_in(path) - _ALL)
    key = next((key for key in POSITIONS if key in arrays and arrays[key].dtype.kind in "fiu"), None)
    if key is None:
        raise problem(
            path, "", f"arrays {brief(sorted(names_in(path)), 200)}", f"one of {', '.join(POSITIONS)}", "rename it"
        )
    told: dict[str, Any] = {"fps": _rate(path, arrays), "action": _label(path, arrays)}
    if KEY in arrays:
        told = told_by(path, f"array {KEY}", (_texts(path, KEY, arrays[KEY]) or ("",))[0])
    else:
        told["names"], told["topology"] = _joints(path, arrays)
    motion = motion_of_array(path, f"array {key}", arrays[key], topology or told["topology"])
    values = {"clip_id": path.stem, "points": motion.points, "confidence": motion.confidence, **told}
    expected = motion.points.shape[:3]
    for name in _CONFIDENCE:
        if name in arrays:
            values["confidence"] = _shaped(path, name, arrays[name], expected)
            break
    if KEY in arrays and "rotations" in arrays:
        values["rotations"] = _shaped(path, "rotations", arrays["rotations"], (*expected, 4))
    return Motion(**values)


def _shaped(path: Path, name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of the persons, frames and joints of the positions; the first may be left out where there is one person."""
    if array.dtype.kind not in "fiub" or array.shape not in (shape, shape[1:] if shape[0] == 1 else shape):
        raise problem(
            path, f"array {name}", f"shape {array.shape} of {array.dtype}", f"{shape}, as the positions", "reshape it"
        )
    with np.errstate(invalid="ignore"):
        return array.reshape(shape).astype(np.float64)


def _rate(path: Path, arrays: dict[str, np.ndarray]) -> float | None:
    name = next((name for name in _FPS if name in arrays), None)
    if name is None:
        return None
    array = arrays[name]
    if array.size != 1 or array.dtype.kind not in "fiu" or not 0 < float(array.item()) <= MAX_FPS:
        raise problem(path, f"array {name}", brief(array.tolist()), f"one number, 0 to {MAX_FPS}", "correct it")
    return float(array.item())


def _label(path: Path, arrays: dict[str, np.ndarray]) -> str | None:
    """The class: its name, or `label N` where the file has a number."""
    name = next((name for name in _LABEL if name in arrays and arrays[name].size == 1), None)
    if name is None:
        return None
    array = arrays[name]
    if array.dtype.kind in "iu":
        return f"label {int(array.item())}"
    return (_texts(path, name, array) or (None,))[0] if array.dtype.kind in "SU" else None


def _joints(path: Path, arrays: dict[str, np.ndarray]) -> tuple[tuple[str, ...] | None, Topology | None]:
    """Joint names, and the topology where the file has parents too."""
    key = next((key for key in _NAMES if key in arrays), None)
    if key is None:
        return None, None
    names = _texts(path, key, arrays[key])
    if "parents" not in arrays:
        return names, None
    parents = arrays["parents"]
    if parents.dtype.kind not in "iuSU" or parents.ndim != 1:
        raise problem(path, "array parents", f"{parents.dtype} {parents.shape}", "one number or name for each joint")
    listed = list(_texts(path, "parents", parents)) if parents.dtype.kind in "SU" else parents.tolist()
    return names, own_topology(path, {"joints": list(names), "parents": listed})


def _texts(path: Path, name: str, array: np.ndarray) -> tuple[str, ...]:
    if array.dtype.kind not in "SU":
        raise problem(path, f"array {name}", f"{array.dtype}", "texts")
    try:
        texts = tuple(text.decode() if isinstance(text, bytes) else text for text in array.ravel().tolist())
        "".join(texts).encode()  # half a character can be stored, but is no text
    except ValueError as error:
        raise problem(path, f"array {name}", f"{array.dtype} ({brief(str(error))})", "texts") from error
    return texts


def write(clip: Clip, path: Path) -> None:
    """A clip as `.npz`: positions (metres, +y up), confidence, rotations if any, fps, joint_names, parents, description.

    Raises:
        FormatError: two joints have one name.
    """
    arrays: dict[str, Any] = {
        KEY: np.array(described(clip, path)),
        "positions": clip.positions,
        "confidence": clip.confidence,
        "fps": np.array(clip.fps),
        "joint_names": np.array(clip.topology.joint_names),
        "parents": np.array(clip.topology.parents),
    }
    if clip.rotations is not None:
        arrays["rotations"] = clip.rotations
    data = io.BytesIO()  # numpy adds a suffix to a name that has another
    np.savez_compressed(data, **arrays)
    path.write_bytes(data.getvalue())


def write_npy(clip: Clip, path: Path) -> None:
    """Positions (metres, +y up) and confidences of a clip as one array `[persons, frames, joints, 4]`.

    It holds neither joint names nor frame rate: they must be declared when it is read.
    """
    with path.open("wb") as file:
        np.save(file, np.concatenate((clip.positions, clip.confidence[..., None]), -1), allow_pickle=False)


FORMAT = Format(
    "numpy",
    (".npy", ".npz"),
    "numpy arrays of joints ([frames, joints, 3], [persons, frames, joints, 3], [frames, joints * 3], or .npz)",
    sniff,
    read,
    takes=TAKES,
)
