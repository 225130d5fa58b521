"""BVH motion capture files: a hierarchy of joints and Euler angles per frame. Any skeleton, any Euler order, any names.

The motion block, which is nearly all of the file, is parsed at once; forward kinematics runs over all frames at once,
in quaternions. End sites are not joints and are left out. Action and style come from the file's name where a data set
documents that: Bandai-Namco (`dataset-1_bow_active_001`), LAFAN1 (`walk1_subject5`).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skeletonllm.errors import DataError
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, problem, read_text
from skeletonllm.skeleton.formats.numbers import parse_numbers
from skeletonllm.skeleton.kinematics import body_size_m, fill_unseen, quaternion_product
from skeletonllm.skeleton.orientation import rotations_from_positions
from skeletonllm.skeleton.rotations import matrices, quaternions
from skeletonllm.skeleton.spaces import find_up, fit_unit, metres_per, upright
from skeletonllm.skeleton.topology import Topology

_MAX_FPS = 1000.0
_MAX_JOINTS = 1000
_MAX_NAME = 200
_MAX_VALUE = 1e9
_FARTHEST_M = 1e5
_SURE = 0.9  # of this share of frames another axis than +y must be said to be up
_TIP = -2  # an end site, where a joint has its number
_ITEM = re.compile(r"(?:(ROOT|JOINT)[ \t]+([^\n{}]+)|(End[ \t]+Site)[^\n{}]*|(OFFSET|CHANNELS)([^\n{}]*)|([{}]))\s*")
_CHANNEL = re.compile(r"[XYZ](?:position|rotation)")
_BANDAI = re.compile(r"^dataset-[12]_([a-z-]+)_([a-z-]+)_(\d{1,4})$")
_LAFAN = re.compile(r"^([A-Za-z]+)(\d{1,2})_(subject\d)$")
_MOVED_M = 5e-5  # a joint that moves farther in its parent's frame gets position channels when it is written


@dataclass(frozen=True)
class _Joint:
    name: str
    parent: int
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    channels: tuple[str, ...] = ()


def sniff(path: Path, head: bytes) -> bool:
    """The word that every BVH file begins with."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"HIERARCHY")


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file: a topology from the joints' names, world rotations kept, metres by the body's size.

    +y is up, as in nearly all files, unless both the movement and the rest pose stand on another axis.

    Raises:
        FormatError: the hierarchy or the motion is damaged, or no joint's name says anything.
    """
    text = read_text(path)
    head, num_frames, frame_s, motion = _split(path, text)
    joints = _hierarchy(path, head)
    table = _motion(path, head.count("\n") + 4, motion, num_frames, joints)
    places, turns = _forward(joints, table)
    joints, first = _without_static_root(joints, places)
    topology = _topology(path, joints)
    rest, _ = _forward([replace(joint, channels=()) for joint in joints], np.zeros((1, 0)))
    up = declared.up or _up(places[:, first:], rest, topology)
    places = (places[:, first:] @ upright(up).T).astype(np.float32)[None]
    seen = np.ones(places.shape[:3], np.float32)
    clip = Clip(path.stem, topology, places, seen, 1 / frame_s)
    unit_m, unit = (metres_per(declared.unit), declared.unit) if declared.unit else fit_unit(body_size_m(clip))
    farthest = float(np.abs(places).max()) * unit_m
    if farthest > _FARTHEST_M:
        raise problem(
            path, "MOTION", f"a joint {farthest:.3g} m from the origin", "a person", "check the unit (--unit)"
        )
    action, source = _labels(path.stem)
    how = "declared" if declared.unit else "by the body's size"
    turned = quaternion_product(quaternions(upright(up)), turns[:, first:])
    return [
        replace(
            clip,
            positions=(places * unit_m).astype(np.float32),
            rotations=np.where(turned[..., :1] < 0, -turned, turned).astype(np.float32)[None],
            action=action,
            source=replace(source, space=f"{unit}, {up} up ({how})"),
        )
    ]


def _labels(stem: str) -> tuple[str | None, Source]:
    """Action and source as the names of the known data sets say."""
    source = Source(format="bvh", fps_from="file")
    if bandai := _BANDAI.match(stem):
        action, style, number = bandai.groups()
        return action, replace(source, setup=style, repetition=str(int(number)))
    if lafan := _LAFAN.match(stem):
        action, take, subject = lafan.groups()
        return action, replace(source, subject=subject, repetition=take)
    return None, source


def _beside(path: Path) -> Sequence[Path]:
    """Bandai-Namco's ids of action and style: the file of the same name with `.json`."""
    ids = path.with_suffix(".json")
    return [ids] if _BANDAI.match(path.stem) and ids.is_file() else []


def _topology(path: Path, joints: list[_Joint]) -> Topology:
    names: list[str] = []
    taken: set[str] = set()
    for joint in joints:
        name, count = joint.name, 1
        while name in taken:
            count += 1
            name = f"{joint.name}_{count}"
        names.append(name)
        taken.add(name)
    try:
        parents = tuple(joint.parent for joint in joints)
        return Topology.from_names(f"bvh_{len(joints)}", tuple(names), parents, inherit=True)
    except DataError as error:
        raise problem(
            path, "HIERARCHY", str(error), "joint names that say what they are", "rename the joints"
        ) from error


def _up(places: np.ndarray, rest: np.ndarray, topology: Topology) -> str:
    """+y, unless the movement is sure of another axis and the rest pose does not contradict."""
    found, sure = find_up(places[None], topology)
    if found == "+y" or sure < _SURE or find_up(rest[None], topology)[0] == "+y":
        return "+y"
    return found


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


def _items(path: Path, head: str) -> Iterator[tuple[int, str, str]]:
    """Line, keyword (or bracket) and the rest of each item of the hierarchy."""
    at = head.find("HIERARCHY")
    if at < 0 or head[:at].strip():
        raise problem(path, "line 1", brief(head[:40]), "HIERARCHY", "give a BVH file")
    at += len("HIERARCHY")
    at += len(head[at:]) - len(head[at:].lstrip())
    line, counted = 1, 0
    while at < len(head):
        line, counted = line + head.count("\n", counted, at), at
        item = _ITEM.match(head, at)
        if item is None:
            raise problem(
                path,
                f"line {line}",
                brief(head[at:].split("\n", 1)[0]),
                "ROOT, JOINT, End Site, OFFSET, CHANNELS, { or }",
            )
        word = item[1] or item[3] or item[4] or item[6]
        yield line, word, (item[2] or item[5] or "").strip()
        at = item.end()


def _hierarchy(path: Path, head: str) -> list[_Joint]:
    """The joints, parents first, in the order of their channels."""
    joints: list[_Joint] = []
    inside: list[int] = []  # joints (or tips) whose brackets are open
    due: int | None = None  # the one whose bracket must come next
    line = 1
    for line, word, rest in _items(path, head):
        where, at = f"line {line}", inside[-1] if inside else None
        in_joint = at is not None and at != _TIP
        if (word == "{") != (due is not None):
            raise problem(path, where, brief(f"{word} {rest}".strip()), "{" if due is not None else "no bracket here")
        if due is not None:
            inside.append(due)
            due = None
        elif word == "}" and inside:
            inside.pop()
        elif word in ("ROOT", "JOINT") and (in_joint if word == "JOINT" else not joints):
            if not 0 < len(rest) <= _MAX_NAME or len(joints) == _MAX_JOINTS:
                raise problem(
                    path, where, brief(f"joint {len(joints) + 1}, {rest}"), f"at most {_MAX_JOINTS}, with names"
                )
            due = len(joints)
            joints.append(_Joint(rest, -1 if at is None else at))
        elif word not in ("ROOT", "JOINT", "OFFSET", "CHANNELS", "}") and in_joint:
            due = _TIP
        elif word == "OFFSET" and at is not None:
            if at != _TIP:
                joints[at] = replace(joints[at], offset=_offset(path, where, rest))
        elif word == "CHANNELS" and at is not None and in_joint:
            joints[at] = replace(joints[at], channels=_channels(path, f"{where}, joint {joints[at].name}", rest))
        else:
            raise problem(path, where, brief(f"{word} {rest}".strip()), "one ROOT, and all else inside its brackets")
    if inside or due is not None or not joints:
        raise problem(path, f"line {line}", f"the end with {len(inside)} brackets open", "one whole ROOT")
    return joints


def _offset(path: Path, where: str, text: str) -> tuple[float, float, float]:
    try:
        x, y, z = (float(word) for word in text.split())
    except ValueError:
        raise problem(path, where, brief(text), "OFFSET and three numbers") from None
    if not max(abs(x), abs(y), abs(z)) < _MAX_VALUE:
        raise problem(path, where, brief(text), f"an offset below {_MAX_VALUE:g}")
    return x, y, z


def _channels(path: Path, where: str, text: str) -> tuple[str, ...]:
    count, *channels = text.split() or ["nothing"]
    unknown = next((channel for channel in channels if not _CHANNEL.fullmatch(channel)), None)
    if unknown is not None:
        raise problem(path, where, f"channel {brief(unknown)}", "Xposition ... Zrotation")
    if count != str(len(channels)) or len(channels) > 6:
        raise problem(
            path, where, f"{brief(count)} and {len(channels)} channels", "their number (0 to 6), then as many"
        )
    return tuple(channels)


def _motion(path: Path, first_line: int, motion: str, num_frames: int, joints: list[_Joint]) -> np.ndarray:
    """The motion block: `[frames, channels]`."""
    num_channels = sum(len(joint.channels) for joint in joints)
    if not len(joints) <= 4 * num_channels:
        raise problem(path, "HIERARCHY", f"{num_channels} channels of {len(joints)} joints", "joints that can turn")
    if num_frames * num_channels > MAX_NUMBERS:
        raise problem(path, "Frames:", f"{num_frames} frames", f"at most {MAX_NUMBERS // num_channels}")
    try:
        numbers = parse_numbers(motion.encode())
    except ValueError:
        numbers = np.empty(0)
    words = motion.split() if len(numbers) != num_frames * num_channels else []
    if len(words) == num_frames * num_channels:
        bad = next(number for number, word in enumerate(words) if not _is_number(word))
        raise problem(path, f"line {first_line + bad // num_channels}", brief(words[bad]), "a number")
    if words or not len(numbers):
        raise _miscounted(path, first_line, motion.rstrip(), num_frames, num_channels)
    sane = np.abs(numbers) < _MAX_VALUE  # NaN is not
    if not sane.all():
        bad = int(np.argmin(sane))
        line = first_line + bad // num_channels
        raise problem(path, f"line {line}", motion.split()[bad], f"finite numbers below {_MAX_VALUE:g}")
    return numbers.reshape(num_frames, num_channels)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return word.isascii() and "_" not in word


def _miscounted(path: Path, first_line: int, motion: str, num_frames: int, num_channels: int) -> Exception:
    rows = motion.split("\n")
    for line, row in enumerate(rows, first_line):
        if row.strip() and len(row.split()) != num_channels:
            return problem(path, f"line {line}", f"{len(row.split())} numbers", f"{num_channels} channels")
    return problem(path, f"line {first_line + len(rows) - 1}", f"{len(rows)} frames", f"{num_frames}, as Frames: says")


def _forward(joints: list[_Joint], table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World positions `[frames, joints, 3]` in the file's unit, and world quaternions (wxyz) `[frames, joints, 4]`.

    A position channel takes the place of that coordinate of the offset; rotations multiply in the listed order.
    """
    columns = np.ascontiguousarray(table.T)
    half = np.radians(columns) / 2
    cos, sin = np.cos(half), np.sin(half)
    # Frames last: each step below runs along memory.
    places = np.empty((len(joints), 3, len(table)))
    turns = np.empty((len(joints), 4, len(table)))
    at = 0
    for number, joint in enumerate(joints):
        offset: list[float | np.ndarray] = list(joint.offset)
        turn = [1.0, 0.0, 0.0, 0.0] if joint.parent == -1 else list(turns[joint.parent])
        start = turn
        for channel in joint.channels:
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                offset[axis] = columns[at]
            else:
                turn = _turned(turn, axis, cos[at], sin[at])
            at += 1
        moved = offset if joint.parent == -1 else _rotated(start, offset)
        for axis in range(3):
            places[number, axis] = moved[axis] if joint.parent == -1 else moved[axis] + places[joint.parent, axis]
        for part in range(4):
            turns[number, part] = turn[part]
    return places.transpose(2, 0, 1), turns.transpose(2, 0, 1)


def _turned(turn: list, axis: int, cos: np.ndarray, sin: np.ndarray) -> list:
    """A quaternion times a turn about one coordinate axis, given the cosine and sine of half its angle."""
    own, second, third = 1 + axis, 1 + (axis + 1) % 3, 1 + (axis + 2) % 3
    new = list(turn)
    new[0] = turn[0] * cos - turn[own] * sin
    new[own] = turn[own] * cos + turn[0] * sin
    new[second] = turn[second] * cos + turn[third] * sin
    new[third] = turn[third] * cos - turn[second] * sin
    return new


def _rotated(turn: list, vector: list) -> list:
    """A vector turned by a unit quaternion: `v + 2 u x (u x v + w v)`."""
    w, x, y, z = turn
    a, b, c = vector
    first, second, third = y * c - z * b + w * a, z * a - x * c + w * b, x * b - y * a + w * c
    return [a + 2 * (y * third - z * second), b + 2 * (z * first - x * third), c + 2 * (x * second - y * first)]


def _without_static_root(joints: list[_Joint], places: np.ndarray) -> tuple[list[_Joint], int]:
    """The joints without a root that only marks the place, and the number of the first.

    Such a root never moves and has one child, which does: the body's real root.
    """
    children = [number for number, joint in enumerate(joints) if joint.parent == 0]
    still = np.ptp(places[:, 0], axis=0).max() < 1e-6
    marks = "root" in joints[0].name.lower() and len(children) == 1
    if not (still and marks and np.linalg.norm(places[:, children[0]] - places[:, 0], axis=-1).max() > 1e-3):
        return joints, 0
    return [replace(joint, parent=joint.parent - 1) for joint in joints[1:]], 1


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


FORMAT = Format(
    "bvh",
    (".bvh",),
    "BVH motion capture, any hierarchy",
    sniff,
    read,
    takes=frozenset({"unit", "up"}),
    beside=_beside,
    origin="many; Bandai-Namco: CC BY-NC 4.0, LAFAN1: CC BY-NC-ND 4.0, CMU: free, not to be resold",
)
