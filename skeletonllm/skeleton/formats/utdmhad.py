"""UTD-MHAD `aA_sS_tT_skeleton.mat`: one person, Kinect v1, 20 joints (head first), metres, 30 fps.

A MATLAB 5 file, its elements maybe packed by zlib, with one variable `d_skel`: double, 20 joints x 3 x frames. Read by
the published layout of MAT files; only this variable, nothing else of the format. Source: Chen et al. (2015).
"""

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, build_clip, problem, read_bytes
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
ACTIONS = (
    "right arm swipe to the left",
    "right arm swipe to the right",
    "right hand wave",
    "two hand front clap",
    "right arm throw",
    "cross arms in the chest",
    "basketball shoot",
    "right hand draw x",
    "right hand draw circle (clockwise)",
    "right hand draw circle (counter clockwise)",
    "draw triangle",
    "bowling (right hand)",
    "front boxing",
    "baseball swing from right",
    "tennis right hand forehand swing",
    "arm curl (two arms)",
    "tennis serve",
    "two hand push",
    "right hand knock on door",
    "right hand catch an object",
    "right hand pick up and throw",
    "jogging in place",
    "walking in place",
    "sit to stand",
    "stand to sit",
    "forward lunge (left foot forward)",
    "squat (two arms stretch out)",
)

_TOPOLOGY = TOPOLOGIES["utdmhad_20"]
_NAME = re.compile(r"^a(\d{1,2})_s(\d{1,2})_t(\d{1,2})(?:_|$)")
_VARIABLE = "d_skel"
_HEADER_BYTES = 128
_MAX_RATIO = 100  # of unpacked to packed; real files have 2:1
# MATLAB's types of elements: numbers as numpy names them, and those that hold others.
_NUMBERS: dict[int, str] = dict(
    zip((1, 2, 3, 4, 5, 6, 7, 9, 12, 13), ("i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8", "i8", "u8"), strict=True)
)
_MATRIX, _PACKED = 14, 15
_CLASSES = frozenset(range(6, 16))  # arrays of plain numbers; cells, structures and text have others
_COMPLEX = 0x08


def sniff(path: Path, head: bytes) -> bool:
    """A MATLAB 5 file whose first variable is `d_skel`; those of the inertial sensor and of depth are not."""
    order = _byte_order(head)
    if order is None or len(head) < _HEADER_BYTES + 8:
        return False
    kind, num_bytes = struct.unpack_from(order + "II", head, _HEADER_BYTES)
    start = head[_HEADER_BYTES + 8 : _HEADER_BYTES + 8 + num_bytes]
    if kind == _PACKED:
        try:
            start = zlib.decompressobj().decompress(start, 512)[8:]
        except zlib.error:
            return False
    return _VARIABLE.encode() in start[16:64]


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file, its action, subject and trial from its name. Kinect's frame is kept.

    Raises:
        FormatError: no MATLAB 5 file, no `d_skel` of 20 x 3 x frames in it, or one that is cut or packed too well.
    """
    data = read_bytes(path)
    order = _byte_order(data)
    if order is None:
        raise problem(path, "header", brief(data[:24]), "a MATLAB 5 file", "save it with `save -v7`, not -v7.3")
    joints = _skeleton(path, data, order)
    name = _NAME.match(path.stem)
    number = int(name[1]) if name else 0
    source = Source(format="utdmhad", fps_from="format", space="m, +y up")
    if name:
        source = Source(
            format="utdmhad",
            subject=f"S{int(name[2])}",
            repetition=str(int(name[3])),
            fps_from="format",
            space="m, +y up",
        )
    action = ACTIONS[number - 1] if 1 <= number <= len(ACTIONS) else None
    positions = joints.transpose(2, 0, 1)[None]
    return [build_clip(path, path.stem, _TOPOLOGY, positions, fps=FPS, source=source, action=action)]


def _byte_order(data: bytes) -> str | None:
    """How numbers stand in a MATLAB 5 file; None where it is none."""
    if not data.startswith(b"MATLAB 5.0"):
        return None
    return {b"\0\1IM": "<", b"\1\0MI": ">"}.get(data[124:_HEADER_BYTES])


def _skeleton(path: Path, data: bytes, order: str) -> np.ndarray:
    """The variable: `[20, 3, frames]` float64."""
    names = []
    for kind, start, num_bytes in _elements(path, data, _HEADER_BYTES, order):
        content = data[start : start + num_bytes]
        if kind == _PACKED:
            content = _unpacked(path, start, content)
            kind, inner, num_bytes = next(_elements(path, content, 0, order), (0, 0, 0))
            content = content[inner : inner + num_bytes]
        if kind != _MATRIX:
            continue
        name, parts = _matrix(path, content, order)
        if name == _VARIABLE:
            return _numbers(path, content, parts, order)
        names.append(name)
    raise problem(path, "", f"the variables {brief(names)}", f"{_VARIABLE}, 20 x 3 x frames", "give a skeleton file")


def _unpacked(path: Path, start: int, packed: bytes) -> bytes:
    most = min(_MAX_RATIO * len(packed) + (1 << 16), 8 * MAX_NUMBERS)
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(packed, most)
    except zlib.error as error:
        raise problem(path, f"offset {start}", brief(str(error)), "data packed by zlib") from error
    if not unpacker.eof:
        found = f"more than {most} bytes" if unpacker.unconsumed_tail else "data that is cut short"
        raise problem(path, f"offset {start}", found, f"packed data of at most {_MAX_RATIO}:1")
    return content


def _elements(path: Path, data: bytes, at: int, order: str) -> Iterator[tuple[int, int, int]]:
    """Type, start and length of each element from an offset on; a short one keeps its numbers in its tag."""
    while at < len(data):
        if at + 8 > len(data):
            raise problem(path, f"offset {at}", f"{len(data) - at} bytes", "the 8 bytes of a tag")
        kind, num_bytes = struct.unpack_from(order + "II", data, at)
        if kind >> 16:
            kind, num_bytes, start, after = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            after = start + num_bytes + (0 if kind == _PACKED else -num_bytes % 8)
        if start + num_bytes > len(data) or (start == at + 4 and num_bytes > 4):
            raise problem(path, f"offset {at}", f"an element of {num_bytes} bytes", f"at most {len(data) - start}")
        yield kind, start, num_bytes
        at = after


def _matrix(path: Path, content: bytes, order: str) -> tuple[str, list[tuple[int, int, int]]]:
    """A variable's name, and its parts: flags, sizes, name, numbers."""
    parts = []
    for part in _elements(path, content, 0, order):
        parts.append(part)
        if len(parts) == 4:
            break
    if len(parts) < 3 or parts[0][2] != 8:
        raise problem(path, "", f"a variable of {len(parts)} parts", "flags, sizes, name and numbers")
    _, start, num_bytes = parts[2]
    return content[start : start + num_bytes].decode("latin-1"), parts


def _numbers(path: Path, content: bytes, parts: list[tuple[int, int, int]], order: str) -> np.ndarray:
    where = f"variable {_VARIABLE}"
    (flags,) = struct.unpack_from(order + "I", content, parts[0][1])
    _, start, num_bytes = parts[1]
    shape = struct.unpack_from(f"{order}{num_bytes // 4}i", content, start)
    kind = _NUMBERS.get(parts[3][0]) if len(parts) == 4 else None
    if (flags & 0xFF) not in _CLASSES or (flags >> 8) & _COMPLEX or kind is None:
        raise problem(path, where, f"class {flags & 0xFF}", "an array of real numbers", "save it again as numbers")
    if len(shape) == 2:
        shape = (*shape, 1)  # MATLAB drops the last size where it is 1
    if len(shape) != 3 or shape[:2] != (20, 3) or not 1 <= shape[2] <= MAX_NUMBERS:
        raise problem(path, where, f"{' x '.join(map(str, shape[:5]))} numbers", "20 joints x 3 x frames")
    _, start, num_bytes = parts[3]
    needed = 60 * shape[2] * int(kind[1])
    if num_bytes != needed:
        raise problem(path, where, f"{num_bytes} bytes of numbers", f"{needed} for {shape[2]} frames")
    flat = np.frombuffer(content, order + kind, 60 * shape[2], start)
    with np.errstate(invalid="ignore"):
        numbers = flat.astype(np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan).reshape(shape, order="F")


FORMAT = Format(
    "utdmhad",
    (".mat",),
    "UTD-MHAD skeletons (MATLAB 5, Kinect v1, 20 joints)",
    sniff,
    read,
    origin="University of Texas at Dallas; free for research with citation",
)
