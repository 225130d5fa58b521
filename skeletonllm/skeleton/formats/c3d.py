"""C3D: markers of optical motion capture. Joints are made of markers where their names allow it.

Blocks of 512 bytes: a header, groups of parameters, then for each frame the points (x, y, z, and a word that is negative
where the point was not seen) and the analog samples, which are skipped. Integers or floats of Intel, DEC or MIPS
processors. Source: the C3D file format guide, c3d.org.

Which joints: those of a declared topology, whose names are labels; else approximate joint centres from the usual
Plug-in-Gait markers, each the middle of some of them (a hip lies between the front and back of the pelvis, a knee at its
outer side where only that is marked); else labels that are names of joints. Labels such as `Anna:LASI` are several persons.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skeletonllm.errors import DataError
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem, read_bytes
from skeletonllm.skeleton.kinematics import body_size_m
from skeletonllm.skeleton.spaces import UNITS_M, find_up, fit_unit, upright
from skeletonllm.skeleton.topology import Topology, part_of, side_of

_BLOCK = 512
_MAGIC = 0x50
_INTEL, _DEC, _MIPS = 84, 85, 86
_MAX_PARAMETER_BYTES = 1 << 20
_SURE = 0.6  # of the frames must agree on what is up
_MIN_JOINTS = 5
_UNITS = {"millimeters": "mm", "centimeters": "cm", "meters": "m", "metres": "m", "inches": "in", "feet": "ft"}

# Joint: the markers of which it is the middle, better choices first. ? is L or R, in joint names left or right.
_MARKERS = {
    "pelvis": ("LASI RASI LPSI RPSI", "LASI RASI SACR", "LHJC RHJC"),
    "chest": ("C7 CLAV STRN T10", "C7 CLAV STRN", "C7 CLAV", "CLAV"),
    "neck": ("C7 CLAV", "LSHO RSHO", "LSJC RSJC"),
    "head": ("LFHD RFHD LBHD RBHD", "LFHD RFHD"),
    "?_shoulder": ("?SJC", "?SHO"),
    "?_elbow": ("?EJC", "?ELB ?ELBM", "?ELB"),
    "?_wrist": ("?WJC", "?WRA ?WRB"),
    "?_hand": ("?FIN",),
    "?_hip": ("?HJC", "?ASI ?PSI", "?ASI SACR"),
    "?_knee": ("?KJC", "?KNE ?KNM", "?KNE ?MKNE", "?KNE"),
    "?_ankle": ("?AJC", "?ANK ?MED", "?ANK ?MMA", "?ANK"),
    "?_heel": ("?HEE",),
    "?_toe": ("?TOE",),
}
# Part of a joint: the parts on which it may hang, nearest first.
_ABOVE = {
    "spine": ("pelvis",),
    "chest": ("spine", "pelvis"),
    "neck": ("chest", "spine", "pelvis"),
    "head": ("neck", "chest", "spine", "pelvis"),
    "face": ("head", "neck", "chest"),
    "shoulder": ("chest", "neck", "spine", "pelvis"),
    "elbow": ("shoulder",),
    "wrist": ("elbow", "shoulder"),
    "hand": ("wrist", "elbow"),
    "hip": ("pelvis", "spine"),
    "knee": ("hip",),
    "ankle": ("knee", "hip"),
    "foot": ("ankle", "knee"),
}


@dataclass(frozen=True)
class _Layout:
    """Where the numbers of a file are."""

    processor: int
    num_points: int
    num_analog: int
    num_frames: int
    start: int
    scale: float
    fps: float

    @property
    def is_float(self) -> bool:
        return self.scale < 0

    @property
    def frame_bytes(self) -> int:
        return (4 * self.num_points + self.num_analog) * (4 if self.is_float else 2)


_Parameters = dict[str, np.ndarray | list[str]]


def sniff(path: Path, head: bytes) -> bool:
    """The header's mark, and behind the header parameters of a known processor."""
    if len(head) < 4 or head[1] != _MAGIC or head[0] < 2:
        return False
    start = (head[0] - 1) * _BLOCK
    return head[start + 3] in (_INTEL, _DEC, _MIPS) if len(head) > start + 3 else path.suffix.lower() == ".c3d"


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file: a person for each prefix of labels, joints that lack a marker in a frame not seen.

    Raises:
        FormatError: the file is damaged, or its labels do not say which joints they are.
    """
    data = read_bytes(path)
    parameters, layout = _layout(path, data)
    if not layout.fps > 0 and declared.fps is None:
        raise problem(path, "POINT:RATE", f"{layout.fps} frames per second", "more than 0", "say it with --fps")
    persons, topology = _joints(path, _labels(parameters, layout.num_points), declared.topology)
    markers = sorted({marker for joints in persons.values() for choice in joints for marker in choice})
    points = dict(zip(markers, _points(path, data, layout, markers), strict=True))
    positions = np.stack([_middles(points, joints) for joints in persons.values()])
    up = declared.up or _up(path, positions, topology, parameters)
    positions = positions @ upright(up).T
    unit_m, unit, how = _unit(declared, parameters, positions, topology)
    names = [name for name in persons if name] or _strings(parameters, "SUBJECTS:NAMES")
    source = Source(
        format="c3d",
        subject="+".join(names),
        fps_from="file" if layout.fps > 0 else "declared",
        space=f"{unit} ({how}), {up} up",
    )
    fps = layout.fps if layout.fps > 0 else declared.fps
    assert fps is not None
    return [build_clip(path, path.stem, topology, positions * unit_m, fps=fps, source=source)]


def _layout(path: Path, data: bytes) -> tuple[_Parameters, _Layout]:
    start = (data[0] - 1) * _BLOCK
    if len(data) < _BLOCK or data[1] != _MAGIC or not 0 < start < len(data) - 4:
        raise problem(path, "header", brief(data[:4]), "a block number and the mark 0x50 of a C3D file")
    processor = data[start + 3]
    if processor not in (_INTEL, _DEC, _MIPS):
        raise problem(path, f"offset {start + 3}", f"processor {processor}", "84 (Intel), 85 (DEC) or 86 (MIPS)")
    parameters = _parameters(path, data, start, processor)
    words = _words(data[:_BLOCK], processor)
    fps = _number(parameters, "POINT:RATE", float(_floats(data[20:24], processor)[0]))
    scale = _number(parameters, "POINT:SCALE", float(_floats(data[12:16], processor)[0]))
    num_points, block = int(words[1]), int(words[8])
    layout = _Layout(
        processor,
        num_points,
        int(words[2]),
        _num_frames(parameters, int(words[3]), int(words[4])),
        ((block or int(_number(parameters, "POINT:DATA_START", 0.0))) - 1) * _BLOCK,
        scale,
        fps if 0 < fps <= 10_000 else 0.0,
    )
    if not (num_points and layout.num_frames > 0 and layout.start >= _BLOCK and scale and abs(scale) < 1e6):
        found = f"{num_points} points, {layout.num_frames} frames from block {block}, scale {scale:g}"
        raise problem(path, "header", found, "at least one point and frame, behind the parameters")
    needed = layout.start + layout.num_frames * layout.frame_bytes
    if needed > len(data):
        raise problem(
            path, f"offset {len(data)}", "the end of the file", f"{needed} bytes for {layout.num_frames} frames"
        )
    return parameters, layout


def _num_frames(parameters: _Parameters, first: int, last: int) -> int:
    """Frames: of the parameters, which say more than 65535 in other places, else of the header."""
    frames = int(_number(parameters, "POINT:FRAMES", 0.0)) or last - first + 1
    if frames != 0xFFFF:
        return frames
    start, end = (parameters.get(f"TRIAL:ACTUAL_{name}_FIELD") for name in ("START", "END"))
    if isinstance(start, np.ndarray) and isinstance(end, np.ndarray) and start.size == end.size == 2:
        return int(end[0] - start[0]) + (int(end[1] - start[1]) << 16) + 1
    return int(_number(parameters, "POINT:LONG_FRAMES", float(frames)))


def _words(data: bytes, processor: int) -> np.ndarray:
    return np.frombuffer(data, ">u2" if processor == _MIPS else "<u2").astype(np.int64)


def _floats(data: bytes, processor: int) -> np.ndarray:
    """32-bit floats; DEC's have their halves swapped and an exponent that is larger by 2."""
    with np.errstate(invalid="ignore"):  # of signalling NaN
        if processor == _DEC:
            swapped = np.frombuffer(data, "<u2").reshape(-1, 2)[:, ::-1]
            return np.ascontiguousarray(swapped).view("<f4")[:, 0].astype(np.float64) / 4
        return np.frombuffer(data, ">f4" if processor == _MIPS else "<f4").astype(np.float64)


def _parameters(path: Path, data: bytes, start: int, processor: int) -> _Parameters:
    """All parameters as GROUP:NAME."""
    groups: dict[int, str] = {}
    found: list[tuple[int, str, bytes]] = []
    at, end = start + 4, min(len(data), start + _MAX_PARAMETER_BYTES)
    order = ">" if processor == _MIPS else "<"
    while at + 2 <= end:
        length, group = struct.unpack_from("bb", data, at)
        name_end = at + 2 + abs(length)
        if not length or name_end + 2 > end:
            break
        name = data[at + 2 : name_end].decode("latin-1").strip().upper()
        (step,) = struct.unpack_from(order + "H", data, name_end)
        if group < 0:
            groups[-group] = name
        else:
            found.append((group, name, data[name_end + 2 : name_end + step] if step else data[name_end + 2 : end]))
        if not step:
            break
        at = name_end + step
    return {
        f"{groups.get(group, '')}:{name}": _value(path, f"parameter {brief(name)}", content, processor)
        for group, name, content in found
    }


def _value(path: Path, where: str, content: bytes, processor: int) -> np.ndarray | list[str]:
    """A parameter's numbers, flat, or its texts."""
    if len(content) < 2 or len(content) < 2 + content[1]:
        raise problem(path, where, f"{len(content)} bytes", "its type and sizes")
    kind, sizes = struct.unpack_from("b", content)[0], tuple(content[2 : 2 + content[1]])
    num_bytes = abs(kind) * math.prod(sizes)
    values = content[2 + len(sizes) : 2 + len(sizes) + num_bytes]
    if kind not in (-1, 1, 2, 4) or len(values) != num_bytes:
        raise problem(path, where, f"type {kind} of sizes {brief(sizes)}", f"values that fit its {len(content)} bytes")
    if kind == -1:
        length = (sizes or (1,))[0]
        texts = [values[at : at + length] for at in range(0, len(values), length)] if length else []
        return [text.decode("latin-1").strip(" \0") for text in texts]
    if kind == 1:
        return np.frombuffer(values, "u1").astype(np.int64)
    return _words(values, processor) if kind == 2 else _floats(values, processor)


def _number(parameters: _Parameters, name: str, default: float) -> float:
    value = parameters.get(name)
    if isinstance(value, np.ndarray) and value.size and np.isfinite(value[0]):
        return float(value[0])
    return default if math.isfinite(default) else 0.0


def _strings(parameters: _Parameters, name: str) -> list[str]:
    value = parameters.get(name)
    return [text for text in value if text] if isinstance(value, list) else []


def _labels(parameters: _Parameters, num_points: int) -> dict[str, int]:
    """Point by label; results of models (angles, forces) and points without a name are left out."""
    labels: list[str] = []
    for more in ("", *range(2, 100)):
        value = parameters.get(f"POINT:LABELS{more}")
        if not isinstance(value, list):
            break
        labels += value
    groups = ("ANGLES", "FORCES", "MOMENTS", "POWERS", "SCALARS", "REACTIONS")
    results = {text for group in groups for text in _strings(parameters, f"POINT:{group}")}
    named = {}
    for number, label in enumerate(labels[:num_points]):
        if label and not label.startswith("*") and label not in results:
            named.setdefault(label, number)
    return named


# For each person, for each joint: the points of which it is the middle; none where the person lacks it.
_Persons = dict[str, list[list[int]]]


def _joints(path: Path, labels: dict[str, int], topology: Topology | None) -> tuple[_Persons, Topology]:
    persons: dict[str, dict[str, int]] = {}
    for label, number in labels.items():
        prefix, _, name = label.rpartition(":")
        persons.setdefault(prefix, {})[name] = number
    if topology is not None:
        return _declared_joints(path, labels, persons, topology)
    made = {prefix: _marked_joints(points) for prefix, points in persons.items()}
    made = {prefix: joints for prefix, joints in made.items() if len(joints) >= _MIN_JOINTS}
    if not made:
        made = {prefix: {n: [p] for n, p in points.items()} for prefix, points in persons.items() if _are_names(points)}
    if not made:
        raise problem(
            path,
            "POINT:LABELS",
            f"the labels {', '.join(labels) or 'of no point'}",
            "Plug-in-Gait markers or names of joints",
            "give a topology whose joint names are labels (--topology)",
        )
    names = tuple(dict.fromkeys(name for joints in made.values() for name in joints))
    return {prefix: [joints.get(name, []) for name in names] for prefix, joints in made.items()}, _tree(names)


def _declared_joints(
    path: Path, labels: dict[str, int], persons: dict[str, dict[str, int]], topology: Topology
) -> tuple[_Persons, Topology]:
    wanted = topology.joint_names
    for choice in ({"": labels}, persons):
        whole = {prefix: points for prefix, points in choice.items() if set(wanted) <= set(points)}
        if whole:
            return {prefix: [[points[name]] for name in wanted] for prefix, points in whole.items()}, topology
    missing = [name for name in wanted if name not in labels]
    raise problem(
        path,
        "POINT:LABELS",
        f"no {', '.join(missing)} among the labels {', '.join(labels)}",
        f"the joints of topology {topology.name}",
        "name its joints as the labels are",
    )


def _marked_joints(points: dict[str, int]) -> dict[str, list[int]]:
    """The joints that can be made of somebody's markers."""
    joints = {}
    for pattern, choices in _MARKERS.items():
        for letter, side in (("L", "left"), ("R", "right")) if "?" in pattern else (("", ""),):
            wanted = (choice.replace("?", letter).split() for choice in choices)
            found = next((names for names in wanted if all(name in points for name in names)), None)
            if found:
                joints[pattern.replace("?", side)] = [points[name] for name in found]
    return joints


def _are_names(points: dict[str, int]) -> bool:
    try:
        return len({(part_of(name), side_of(name)) for name in points}) >= _MIN_JOINTS
    except DataError:
        return False


def _tree(names: Sequence[str]) -> Topology:
    """A topology of joints of which only the names are known: each hangs on the next part towards the pelvis."""
    parts, sides = [part_of(name) for name in names], [side_of(name) for name in names]
    first = {}
    for number, key in enumerate(zip(parts, sides, strict=True)):
        first.setdefault(key, number)
    root = next((number for number, part in enumerate(parts) if part == "pelvis"), 0)
    parents = []
    for number, (part, side) in enumerate(zip(parts, sides, strict=True)):
        keys = [(above, s) for above in _ABOVE.get(part, ()) for s in (side, "center")]
        above = next((first[key] for key in keys if key in first), root)
        parents.append(-1 if number == root else above)
    return Topology.from_names(f"c3d_{len(names)}", tuple(names), tuple(parents))


def _points(path: Path, data: bytes, layout: _Layout, chosen: list[int]) -> np.ndarray:
    """Places of some points in the file's unit, NaN where not seen: `[points, frames, 3]`."""
    width = 4 if layout.is_float else 2
    table = np.frombuffer(data, np.uint8, layout.num_frames * layout.frame_bytes, layout.start)
    table = table.reshape(layout.num_frames, layout.frame_bytes)[:, : 4 * width * layout.num_points]
    table = table.reshape(layout.num_frames, layout.num_points, 4 * width)[:, chosen].tobytes()
    with np.errstate(invalid="ignore", over="ignore"):
        if layout.is_float:
            values = _floats(table, layout.processor).reshape(layout.num_frames, len(chosen), 4)
            seen = values[..., 3] >= 0  # NaN is not
            places = values[..., :3]
        else:
            words = np.frombuffer(table, ">i2" if layout.processor == _MIPS else "<i2")
            values = words.reshape(layout.num_frames, len(chosen), 4)
            seen, places = values[..., 3] >= 0, values[..., :3] * layout.scale
        seen &= (np.abs(places) < 1e9).all(-1)
    return np.where(seen[..., None], places, np.nan).transpose(1, 0, 2)


def _middles(points: dict[int, np.ndarray], joints: list[list[int]]) -> np.ndarray:
    """Places of one person's joints, NaN where one of a joint's markers is not seen: `[frames, joints, 3]`."""
    nowhere = np.full_like(next(iter(points.values())), np.nan)
    return np.stack([sum((points[n] for n in joint), 0) / len(joint) if joint else nowhere for joint in joints], 1)


def _up(path: Path, positions: np.ndarray, topology: Topology, parameters: _Parameters) -> str:
    """By the bodies, else the axis that the file says to be upward on a screen."""
    up, sure = find_up(positions, topology)
    if sure >= _SURE:
        return up
    screen = (_strings(parameters, "POINT:Y_SCREEN") or [""])[0].lower()
    if screen in ("+x", "-x", "+y", "-y", "+z", "-z"):
        return screen
    raise problem(path, "", f"heads above feet along {up} in {sure:.0%} of the frames", "one axis", "say it with --up")


def _unit(
    declared: Declared, parameters: _Parameters, positions: np.ndarray, topology: Topology
) -> tuple[float, str, str]:
    """Metres per unit, the unit's name, and who says so."""
    said = (_strings(parameters, "POINT:UNITS") or [""])[0].lower()
    for unit, how in ((declared.unit, "declared"), (_UNITS.get(said, said), "by the file")):
        if unit in UNITS_M:
            return UNITS_M[unit], unit, how
    seen = np.isfinite(positions).min(-1)
    places = np.where(seen[..., None], positions, 0).astype(np.float32)
    return *fit_unit(body_size_m(Clip("", topology, places, seen.astype(np.float32), 1.0))), "by the body's size"


FORMAT = Format(
    "c3d",
    (".c3d",),
    "C3D markers of optical motion capture",
    sniff,
    read,
    takes=frozenset({"topology", "unit", "up"}),
    origin="many laboratories; the terms are theirs",
)
