"""AMASS and other `.npz` files of SMPL, SMPL-H and SMPL-X poses: axis angles per joint and the body's way, metres.

AMASS: `poses [frames, 156 or 165]` or `root_orient` and `pose_body`, `trans`, `betas`, `mocap_framerate` (newer:
`mocap_frame_rate`), +z up. AIST++: `smpl_poses [frames, 72]`, `smpl_trans`, `smpl_scaling`, +y up, 60 fps (known from its
own code, not checked on data). The first 22 joints are the same in all. Source: Mahmood et al. (2019), Li et al. (2021).
"""

import zipfile
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.arrays import load_arrays, names_in
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, problem
from skeletonllm.skeleton.formats.smpl_body import TOPOLOGY, model_joints, pose, template_joints
from skeletonllm.skeleton.rotations import from_axis_angle, matrices, quaternions, to_axis_angle
from skeletonllm.skeleton.spaces import upright

AIST_FPS = 60.0
_NUM_JOINTS = TOPOLOGY.num_joints
_NUM_ANGLES = 3 * _NUM_JOINTS
_SMPLH_ANGLES = 156
_LARGEST_ANGLE = 1e4  # radians; solvers leave whole turns in, but not thousands of them
_FARTHEST = 1e9  # in any unit
_RATES = ("mocap_framerate", "mocap_frame_rate")
# The arrays that make up the poses, and that of the body's way.
_PARTS = (
    (("poses",), "trans"),
    (("root_orient", "pose_body"), "trans"),
    (("smpl_poses",), "smpl_trans"),
)


def sniff(path: Path, head: bytes) -> bool:
    """A zip file of arrays among which are poses and the body's way; files of a subject's shape have neither."""
    return head.startswith(b"PK\3\4") and _parts(names_in(path)) is not None


def _parts(names: frozenset[str]) -> tuple[tuple[str, ...], str] | None:
    return next((parts for parts in _PARTS if names.issuperset((*parts[0], parts[1]))), None)


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file: 22 joints by forward kinematics, with their world rotations.

    The body is the template of `smpl_body` for everybody; with `declared.body_model` it is that model's, of the shape
    that the file says. A frame with NaN is not seen.

    Raises:
        FormatError: arrays are missing or do not fit together, the frame rate is nowhere, the model is none.
        ConfigError: the up axis is none.
    """
    names = names_in(path)
    parts = _parts(names)
    if parts is None:
        raise problem(path, "", f"arrays {sorted(names)[:9]}", "poses and trans, or smpl_poses and smpl_trans")
    wanted = {*parts[0], parts[1], "betas", "smpl_scaling", *_RATES}
    with np.errstate(invalid="ignore"):  # a NaN of damaged bytes may be a signalling one
        loaded = load_arrays(path, leave_out=names - wanted, kinds="fiu")
        arrays = {name: array.astype(np.float64) for name, array in loaded.items()}
    angles, way = _motion(path, arrays, *parts)
    fps, fps_from = _rate(path, arrays, parts[1], declared)
    num_pose_joints = angles.shape[1]
    angles = angles[:, :_NUM_JOINTS]
    seen = np.all(np.isfinite(angles), axis=(1, 2)) & np.all(np.isfinite(way), axis=1)
    angles, way = np.where(seen[:, None, None], angles, 0), np.where(seen[:, None], way, 0)
    if np.abs(angles).max(initial=0) > _LARGEST_ANGLE:
        raise problem(path, f"array {parts[0][0]}", f"{np.abs(angles).max():.3g} radians", "axis angles")
    rest, body = template_joints(), "template body"
    if declared.body_model is not None:
        betas = arrays.get("betas", np.zeros(1)).ravel()
        rest, body = model_joints(declared.body_model, betas, num_pose_joints), f"body model {declared.body_model.name}"
    up = declared.up or ("+z" if parts[1] == "trans" else "+y")
    positions, world = pose(rest, way + rest[0], from_axis_angle(angles))
    turn = upright(up)
    positions = np.where(seen[:, None, None], positions @ turn.T, 0)
    source = Source(format="amass", subject=_subject(path), fps_from=fps_from, space=f"m, {up} up ({body})")
    return [
        build_clip(
            path,
            path.stem,
            TOPOLOGY,
            positions[None],
            np.repeat(seen[None, :, None], _NUM_JOINTS, 2).astype(np.float32),
            fps=fps,
            source=source,
            rotations=quaternions(turn @ world)[None],
        )
    ]


def _motion(
    path: Path, arrays: dict[str, np.ndarray], poses: tuple[str, ...], way_name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Axis angles `[frames, joints, 3]` and where the body's origin is `[frames, 3]`, metres; NaN where a file has it."""
    way = arrays[way_name]
    if way.ndim != 2 or way.shape[1] != 3 or not len(way):
        raise problem(path, f"array {way_name}", f"shape {way.shape}", "(frames, 3)")
    if np.nanmax(np.abs(way), initial=0, where=np.isfinite(way)) > _FARTHEST:
        raise problem(path, f"array {way_name}", f"a place {np.nanmax(np.abs(way)):.3g} away", "metres")
    for name in poses:
        if arrays[name].ndim not in (2, 3) or len(arrays[name]) != len(way):
            raise problem(path, f"array {name}", f"shape {arrays[name].shape}", f"({len(way)}, angles), as {way_name}")
    angles = np.concatenate([arrays[name].reshape(len(way), -1) for name in poses], axis=1)
    if angles.shape[1] < _NUM_ANGLES or angles.shape[1] % 3:
        found = f"{angles.shape[1]} angles in a frame"
        raise problem(path, f"array {poses[0]}", found, f"three for each of {_NUM_JOINTS} joints or more")
    if way_name == "smpl_trans" and "smpl_scaling" in arrays:
        scaling = arrays["smpl_scaling"].ravel()
        if len(scaling) != 1 or not 1e-3 < scaling[0] < 1e6:
            raise problem(path, "array smpl_scaling", scaling[:3].tolist(), "one number above 0")
        way = way / scaling[0]
    return angles.reshape(len(way), -1, 3), way


def _rate(path: Path, arrays: dict[str, np.ndarray], way_name: str, declared: Declared) -> tuple[float, str]:
    """Frames per second and who says so."""
    name = next((name for name in _RATES if name in arrays), None)
    if name is not None:
        rate = arrays[name].ravel()
        if len(rate) == 1 and 0 < rate[0] <= 10_000:
            return float(rate[0]), "file"
        if declared.fps is None:
            raise problem(path, f"array {name}", rate[:3].tolist(), "frames per second", "say it with --fps")
    if declared.fps is not None:
        return declared.fps, "declared"
    if way_name == "smpl_trans":
        return AIST_FPS, "format"
    raise problem(path, "", "no frame rate", " or ".join(_RATES), "say it with --fps")


def _subject(path: Path) -> str:
    """Who moves: the folder, if the shape of one person lies in it, as in AMASS."""
    folder = path.parent
    told = (folder / "shape.npz").is_file() or any(folder.glob("*_stagei.npz"))
    return folder.name if told else ""


def write(clip: Clip, path: Path) -> None:
    """The first person of a clip with rotations, as AMASS has it: SMPL-H poses, hands flat, +z up.

    Poses say nothing of bone lengths and of single joints that are not seen: the reader gives all people the same
    body. A frame in which the pelvis is not seen is NaN.

    Raises:
        FormatError: the topology is another one, or the clip has no rotations.
    """
    if clip.topology is not TOPOLOGY:
        raise problem(path, "", f"topology {clip.topology.name}", TOPOLOGY.name, "convert the clip first")
    if clip.rotations is None:
        raise problem(path, "", "a clip without rotations", "rotations", "write it in a format of positions")
    turn = upright("+z").T
    world = turn @ matrices(clip.rotations[0])
    local = world.copy()
    for parent, joint in TOPOLOGY.bones:
        local[:, joint] = world[:, parent].transpose(0, 2, 1) @ world[:, joint]
    way = clip.positions[0, :, 0].astype(np.float64) @ turn.T - template_joints()[0]
    poses = np.zeros((clip.num_frames, _SMPLH_ANGLES))
    poses[:, :_NUM_ANGLES] = to_axis_angle(local).reshape(clip.num_frames, -1)
    arrays = {
        "poses": poses,
        "trans": np.where(clip.confidence[0, :, :1] > 0, way, np.nan),
        "betas": np.zeros(16),
        "gender": np.array("neutral"),
        "mocap_framerate": np.array(clip.fps),
    }
    # Not numpy's own function: it writes the time of day into the file.
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as file:
                np.lib.format.write_array(file, array, version=(1, 0), allow_pickle=False)


FORMAT = Format(
    "amass",
    (".npz",),
    "AMASS and other SMPL, SMPL-H and SMPL-X poses",
    sniff,
    read,
    takes=frozenset({"up", "body_model"}),
    origin="Mahmood et al. (2019), Max Planck Society; research only, no redistribution",
)
