"""BVH motion capture files: a hierarchy of joints and Euler angles per frame. Any skeleton, any Euler order.

The hierarchy is parsed by bvhio; the motion block, which is nearly all of the file, by numpy; forward kinematics runs
over all frames at once. End sites are not joints and are left out.
"""

import functools
import importlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from skeletonllm.errors import DataError
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, problem, read_text
from skeletonllm.skeleton.kinematics import body_size_m, fill_unseen
from skeletonllm.skeleton.orientation import rotations_from_positions
from skeletonllm.skeleton.rotations import about, matrices, quaternions
from skeletonllm.skeleton.spaces import fit_unit, metres_per
from skeletonllm.skeleton.topology import Topology

if TYPE_CHECKING:
    from bvhio.lib.bvh import BvhJoint

_MAX_FPS = 1000.0
_MOVED_M = 5e-5  # a joint that moves farther in its parent's frame gets position channels when it is written


@dataclass(frozen=True)
class _Joint:
    name: str
    parent: int
    offset: np.ndarray
    channels: tuple[str, ...]


def sniff(path: Path, head: bytes) -> bool:
    """The word that every BVH file begins with."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"HIERARCHY")


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file: a topology from the joints' names, world rotations kept, metres by the body's size.

    Raises:
        FormatError: the hierarchy or the motion is damaged, or a joint's name says nothing.
    """
    text = read_text(path)
    head, num_frames, frame_s, motion = _split(path, text)
    joints = _hierarchy(path, head)
    table = _motion(path, head, motion, num_frames, sum(len(joint.channels) for joint in joints))
    positions, turns = _forward(joints, table)
    joints, kept = _without_static_root(joints, positions)
    try:
        names = tuple(joint.name for joint in joints)
        topology = Topology.from_names(f"bvh_{len(joints)}", names, tuple(joint.parent for joint in joints))
    except DataError as error:
        raise problem(
            path, "HIERARCHY", str(error), "joint names that say what they are", "rename the joints"
        ) from error
    places = positions[None, :, kept].astype(np.float32)
    seen = np.ones(places.shape[:3], np.float32)
    clip = Clip(path.stem, topology, places, seen, 1 / frame_s)
    unit_m, unit = (metres_per(declared.unit), declared.unit) if declared.unit else fit_unit(body_size_m(clip))
    how = "declared" if declared.unit else "by the body's size"
    source = Source(format="bvh", fps_from="file", space=f"{unit}, +y up ({how})")
    return [
        Clip(
            clip.clip_id,
            topology,
            (places * unit_m).astype(np.float32),
            seen,
            clip.fps,
            rotations=quaternions(turns[:, kept])[None],
            source=source,
        )
    ]


def _split(path: Path, text: str) -> tuple[str, int, float, str]:
    """The hierarchy's text, the frame count, the frame time in seconds and the motion's text."""
    match = re.search(r"^[ \t]*MOTION\s+Frames:\s*(\S+)\s+Frame[ \t]+Time:\s*(\S+)[^\n]*\n?", text, re.MULTILINE)
    if match is None:
        raise problem(path, f"line {text.count(chr(10)) + 1}", "the end of the file", "MOTION, Frames:, Frame Time:")
    line = text[: match.start()].count("\n") + 2
    try:
        num_frames, frame_s = int(match[1]), float(match[2])
    except ValueError:
        raise problem(path, f"line {line}", f"{match[1]!r} and {match[2]!r}", "frame count and frame time") from None
    if num_frames < 1 or not 1 / _MAX_FPS <= frame_s <= 10:
        raise problem(path, f"line {line}", f"{num_frames} frames of {frame_s} s", "at least one, 0.001 to 10 s each")
    return text[: match.start()], num_frames, frame_s, text[match.end() :]


@functools.cache
def _library() -> ModuleType:
    """bvhio, imported at the first BVH file; its own dependency warns about its own future."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return importlib.import_module("bvhio")


def _hierarchy(path: Path, head: str) -> list[_Joint]:
    """The joints, parents first, in the order of their channels."""
    opened, closed = head.count("{"), head.count("}")
    # bvhio waits forever for a bracket that never comes.
    if not opened or opened != closed:
        raise problem(path, "HIERARCHY", f"{opened} opening and {closed} closing brackets", "as many of both")
    try:
        root = _library().readAsBvh(str(path), loadKeyFrames=False).Root
    except (SyntaxError, ValueError, IndexError, RecursionError) as error:
        where = f"line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else "HIERARCHY"
        raise problem(path, where, brief(error.args[0] if error.args else error, 120), "a BVH hierarchy") from error
    joints: list[_Joint] = []

    def add(node: "BvhJoint", parent: int) -> None:
        unknown = [channel for channel in node.Channels if not re.fullmatch("[XYZ](position|rotation)", channel)]
        if unknown:
            raise problem(path, f"joint {node.Name}", f"channel {unknown[0]!r}", "Xposition ... Zrotation")
        joints.append(_Joint(node.Name, parent, np.array(tuple(node.Offset), np.float64), tuple(node.Channels)))
        number = len(joints) - 1
        for child in node.Children:
            add(child, number)

    add(root, -1)
    return joints


def _motion(path: Path, head: str, motion: str, num_frames: int, num_channels: int) -> np.ndarray:
    """The motion block: `[frames, channels]`."""
    rows = motion.rstrip().count("\n") + 1
    first_line = head.count("\n") + 4
    if num_frames * num_channels > MAX_NUMBERS:
        raise problem(path, "Frames:", f"{num_frames} frames", f"at most {MAX_NUMBERS // num_channels}")
    words = motion.split()
    if len(words) != num_frames * num_channels:
        for number, row in enumerate(motion.rstrip().split("\n"), first_line):
            if row.strip() and len(row.split()) != num_channels:
                raise problem(path, f"line {number}", f"{len(row.split())} numbers", f"{num_channels} channels")
        raise problem(path, f"line {first_line + rows - 1}", f"{rows} frames", f"{num_frames}, as Frames: says")
    try:
        table = np.array(words, np.float64)
    except ValueError as error:
        raise problem(path, "MOTION", brief(str(error)), "numbers") from error
    if not np.isfinite(table).all():
        bad = int(np.argmin(np.isfinite(table)))
        raise problem(path, f"line {first_line + bad // num_channels}", words[bad], "finite numbers")
    return table.reshape(num_frames, num_channels)


def _forward(joints: list[_Joint], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World positions `[frames, joints, 3]` in the file's unit, and world rotations `[frames, joints, 3, 3]`.

    A position channel takes the place of that coordinate of the offset; rotations multiply in the listed order.
    """
    frames = len(table)
    places = np.zeros((frames, len(joints), 3))
    turns = np.zeros((frames, len(joints), 3, 3))
    at = 0
    for number, joint in enumerate(joints):
        offset = np.broadcast_to(joint.offset, (frames, 3)).copy()
        turn = np.broadcast_to(np.eye(3), (frames, 3, 3))
        for channel in joint.channels:
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                offset[:, axis] = table[:, at]
            else:
                turn = turn @ about("xyz"[axis], np.radians(table[:, at]))
            at += 1
        if joint.parent == -1:
            places[:, number], turns[:, number] = offset, turn
        else:
            parent = turns[:, joint.parent]
            places[:, number] = places[:, joint.parent] + (parent @ offset[..., None])[..., 0]
            turns[:, number] = parent @ turn
    return places, turns


def _without_static_root(joints: list[_Joint], positions: np.ndarray) -> tuple[list[_Joint], list[int]]:
    """The joints without a root that only marks the place: it has one child, which is the body's real root."""
    children = [number for number, joint in enumerate(joints) if joint.parent == 0]
    still = np.ptp(positions[:, 0], axis=0).max() < 1e-6
    marks = "root" in joints[0].name.lower() and len(children) == 1
    if not (still and marks and np.linalg.norm(positions[:, children[0]] - positions[:, 0], axis=-1).max() > 1e-3):
        return joints, list(range(len(joints)))
    moved = [_Joint(joint.name, joint.parent - 1, joint.offset, joint.channels) for joint in joints[1:]]
    return moved, list(range(1, len(joints)))


def write(clip: Clip, path: Path, units_per_m: float = 100.0) -> None:
    """The first person of a clip, in centimetres by default, Euler order ZXY; the root carries the way through space.

    A clip without rotations gets them from its positions. A joint that keeps its place in its parent's frame has three
    rotation channels; one that does not (a bone of changing length, a shoulder that shrugs) has position channels too, so
    that no position is lost. A joint that is not seen stays where it was seen last, one that never is lies on its parent.
    """
    topology = clip.topology
    order = _depth_first(topology)
    turns = matrices((rotations_from_positions(clip) if clip.rotations is None else clip.rotations)[0])
    places = _never_seen_on_parents(clip) * units_per_m
    columns: list[np.ndarray] = []
    offsets, moving = np.zeros((topology.num_joints, 3)), np.zeros(topology.num_joints, bool)
    for joint in order:
        parent = topology.parents[joint]
        if parent == -1:
            at, local = places[:, joint], turns[:, joint]
        else:
            to_parent = turns[:, parent].transpose(0, 2, 1)
            at = (to_parent @ (places[:, joint] - places[:, parent])[..., None])[..., 0]
            local = to_parent @ turns[:, joint]
            offsets[joint] = at[0]
        moving[joint] = parent == -1 or np.abs(at - at[0]).max() > _MOVED_M * units_per_m
        columns += [at] if moving[joint] else []
        columns.append(_euler_zxy(local))
    table = np.concatenate(columns, axis=1)
    row = "%.6f " * table.shape[1] + "\n"
    motion = "".join(row % tuple(frame) for frame in table.tolist())
    header = f"MOTION\nFrames: {clip.num_frames}\nFrame Time: {1 / clip.fps:.7f}\n"
    path.write_bytes(("HIERARCHY\n" + _hierarchy_text(topology, offsets, moving) + header + motion).encode())


def _never_seen_on_parents(clip: Clip) -> np.ndarray:
    """Places of the first person, metres: `[frames, joints, 3]`."""
    places = fill_unseen(clip.positions[:1], clip.confidence[:1])[0].astype(np.float64)
    ever = (clip.confidence[0] > 0).any(0)
    for joint in clip.topology.order:
        parent = clip.topology.parents[joint]
        if not ever[joint] and parent != -1:
            places[:, joint] = places[:, parent]
    return places


def _depth_first(topology: Topology) -> list[int]:
    def below(joint: int) -> list[int]:
        children = [child for child, parent in enumerate(topology.parents) if parent == joint]
        return [joint, *(number for child in children for number in below(child))]

    return below(topology.parents.index(-1))


def _hierarchy_text(topology: Topology, offsets: np.ndarray, moving: np.ndarray) -> str:
    def block(joint: int, depth: int) -> str:
        tabs, root = "\t" * depth, topology.parents[joint] == -1
        offset = " ".join(f"{value:.6f}" for value in offsets[joint])
        channels = (
            "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
            if moving[joint]
            else "3 Zrotation Xrotation Yrotation"
        )
        lines = f"{tabs}{'ROOT' if root else 'JOINT'} {topology.joint_names[joint]}\n{tabs}{{\n"
        lines += f"{tabs}\tOFFSET {offset}\n{tabs}\tCHANNELS {channels}\n"
        children = [child for child, parent in enumerate(topology.parents) if parent == joint]
        lines += "".join(block(child, depth + 1) for child in children)
        if not children:
            tip = " ".join(f"{value:.6f}" for value in offsets[joint] / 2)
            lines += f"{tabs}\tEnd Site\n{tabs}\t{{\n{tabs}\t\tOFFSET {tip}\n{tabs}\t}}\n"
        return f"{lines}{tabs}}}\n"

    return block(topology.parents.index(-1), 0)


def _euler_zxy(turns: np.ndarray) -> np.ndarray:
    """Degrees z, x, y with `R = Rz Rx Ry`; at the pole of x (90 degrees) all turning is given to z."""
    x = np.arcsin(np.clip(turns[:, 2, 1], -1, 1))
    pole = np.abs(turns[:, 2, 1]) > 1 - 1e-9
    z = np.where(pole, np.arctan2(turns[:, 1, 0], turns[:, 0, 0]), np.arctan2(-turns[:, 0, 1], turns[:, 1, 1]))
    y = np.where(pole, 0.0, np.arctan2(-turns[:, 2, 0], turns[:, 2, 2]))
    return np.degrees(np.stack((z, x, y), axis=-1))


FORMAT = Format("bvh", (".bvh",), "BVH motion capture", sniff, read, takes=frozenset({"unit"}))
