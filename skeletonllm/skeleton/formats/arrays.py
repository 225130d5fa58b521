"""Numpy files (`.npy`, `.npz`), checked before anything is allocated: header, shape, type, size. Nothing is unpickled."""

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats.common import MAX_FILE_BYTES, MAX_NUMBERS, brief, problem

MAGIC = b"\x93NUMPY"
# A shape that is asked for: None is any number from 1.
Shape = tuple[int | None, ...]

_MAX_HEADER_BYTES = 10_000  # as numpy itself allows
_MAX_UNPACKED_BYTES = 1 << 30
_MAX_RATIO = 100  # of unpacked to packed; recordings pack 2 to 20 times, bombs a thousand times
_SMALL_BYTES = 1 << 20  # an array of zeros packs well and hurts nobody
_MAX_DIRECTORY_BYTES = 1 << 20
_DESCR = re.compile(rb"""['"]descr['"]\s*:\s*['"]([<>|=]?[?a-zA-Z]\d{0,9})['"]""")
_ORDER = re.compile(rb"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(rb"""['"]shape['"]\s*:\s*\(([\d\sL,]{0,120})\)""")
# What zipfile and zlib raise at damaged or hostile archives.
_ZIP_ERRORS = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, struct.error),
    *(OSError, ValueError, EOFError, NotImplementedError, RuntimeError, OverflowError, IndexError, KeyError),
)


def header_of(head: bytes) -> tuple[tuple[int, ...], np.dtype] | None:
    """Shape and type of the array in a numpy file, from its first bytes; None where it is no array of plain values."""
    try:
        shape, kind, _, _ = _header(Path(), "", head)
    except FormatError:
        return None
    return None if kind.hasobject else (shape, kind)


def fits(shape: tuple[int, ...], *shapes: Shape) -> bool:
    """Whether a shape is one of those asked for; where None stands, any number from 1 is."""
    return any(
        len(shape) == len(wanted) and all(has == (want or has) and has for has, want in zip(shape, wanted, strict=True))
        for wanted in shapes
    )


def load_array(path: Path, *shapes: Shape, kinds: str = "fiu") -> np.ndarray:
    """The array of a `.npy` file in the machine's byte order.

    Args:
        path: the file.
        shapes: the allowed ones, such as `(None, 17, 3)`; any by default.
        kinds: the allowed kinds of type, as in `numpy.dtype.kind`.

    Raises:
        FormatError: it is no numpy file, has another shape or type, is shorter or longer than its header says.
    """
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise problem(path, "", f"{size} bytes", f"at most {MAX_FILE_BYTES}", "split the file")
    with path.open("rb") as file:
        shape, kind, fortran, start = _header(path, "", file.read(_MAX_HEADER_BYTES + 12))
        _check(path, "header", shape, kind, kinds, size - start)
        if shapes and not fits(shape, *shapes):
            raise problem(path, "header", f"shape {shape}", " or ".join(map(_shown, shapes)), "give another format")
        file.seek(start)
        flat = np.fromfile(file, kind, math.prod(shape))
    if len(flat) != math.prod(shape):
        raise problem(path, f"offset {size}", "the end of the file", f"{math.prod(shape)} numbers")
    return _arranged(flat, shape, fortran)


def load_arrays(path: Path, leave_out: Collection[str] = (), kinds: str = "fiubSU") -> dict[str, np.ndarray]:
    """The arrays of a `.npz` file by name, in the machine's byte order. Members are streamed, never extracted.

    Args:
        path: the file.
        leave_out: members that are not read; object arrays, which cannot be, must be named here.
        kinds: the allowed kinds of type, as in `numpy.dtype.kind`.

    Raises:
        FormatError: it is no such file, or a member is damaged, too large, packed too well, named twice or badly.
    """
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            _check_members(path, archive.infolist())
            wanted = [info for info in archive.infolist() if _bare(info) not in leave_out]
            return {_bare(info): _member(path, archive, info, kinds) for info in wanted}
    except FormatError:
        raise
    except _ZIP_ERRORS as error:
        raise problem(path, "", brief(str(error), 120), "a zip file of arrays (.npz)") from error


def names_in(path: Path) -> frozenset[str]:
    """The names of the arrays in a `.npz` file; empty where it is none. For `sniff`: never raises over content."""
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            return frozenset(_bare(info) for info in archive.infolist() if info.filename.endswith(".npy"))
    except (FormatError, *_ZIP_ERRORS):
        return frozenset()


def _header(path: Path, where: str, head: bytes) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Shape, type, whether columns come first, and where the numbers begin."""
    where = f"{where + ', ' if where else ''}header"
    if not head.startswith(MAGIC) or len(head) < 12 or head[6] not in (1, 2, 3):
        raise problem(path, where, brief(head[:8]), "the header of a numpy file (version 1 to 3)")
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > _MAX_HEADER_BYTES or start + length > len(head):
        raise problem(
            path, where, f"a length of {length} bytes", f"at most {min(_MAX_HEADER_BYTES, len(head) - start)}"
        )
    text = head[start : start + length].strip()
    descr, order, shape = _DESCR.search(text), _ORDER.search(text), _SHAPE.search(text)
    if not (text.startswith(b"{") and text.endswith(b"}") and descr and order and shape):
        raise problem(path, where, brief(text), "descr (a plain type), fortran_order and shape")
    try:
        kind = np.dtype(descr[1].decode())
    except (TypeError, ValueError, OverflowError) as error:
        raise problem(path, where, f"type {brief(descr[1].decode())}", "a type of numpy") from error
    sizes = tuple(int(number) for number in re.findall(rb"\d+", shape[1]))
    return sizes, kind, order[1] == b"True", start + length


def _check(path: Path, where: str, shape: tuple[int, ...], kind: np.dtype, kinds: str, num_bytes: int) -> None:
    if kind.hasobject:
        raise problem(path, where, "an array of Python objects", "numbers", "save it again as plain arrays")
    if kind.kind not in kinds or not kind.itemsize:
        raise problem(path, where, f"type {kind}", f"a type of kind {', '.join(kinds)}", "save it again as numbers")
    if math.prod(max(1, size) for size in shape) > MAX_NUMBERS:
        raise problem(path, where, f"shape {shape}", f"at most {MAX_NUMBERS} numbers", "split the file")
    needed = math.prod(shape) * kind.itemsize
    if needed != num_bytes:
        raise problem(path, where, f"shape {shape} of {kind} and {num_bytes} bytes of data", f"{needed} bytes")


def _arranged(flat: np.ndarray, shape: tuple[int, ...], fortran: bool) -> np.ndarray:
    native = flat.astype(flat.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "f" and (unknown := np.isnan(native)).any():
        # A signalling NaN, which damage can make of a number, warns at every cast; a quiet one does not.
        native = np.where(unknown, native.dtype.type(np.nan), native)
    return native.reshape(shape[::-1]).T if fortran else native.reshape(shape)


def _shown(shape: Shape) -> str:
    return f"({', '.join('frames' if size is None else str(size) for size in shape)})"


def _bare(info: zipfile.ZipInfo) -> str:
    return info.filename.removesuffix(".npy")


def _check_directory(path: Path) -> None:
    """Refuses a directory of many members before zipfile makes an object of each."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 22 - 0xFFFF - 20))
        tail = file.read()
    end = tail.rfind(b"PK\5\6")
    if end < 0 or len(tail) < end + 22:
        raise problem(path, "", "no directory at its end", "a zip file of arrays (.npz)")
    directory_bytes = int.from_bytes(tail[end + 12 : end + 16], "little")
    if directory_bytes > _MAX_DIRECTORY_BYTES or tail[max(0, end - 20) : end].startswith(b"PK\6\7"):
        raise problem(path, "", f"a directory of {directory_bytes} bytes or zip64", f"at most {_MAX_DIRECTORY_BYTES}")


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    names: set[str] = set()
    total = 0
    for info in members:
        name, where = info.filename, f"member {brief(info.filename)}"
        bad_path = name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name
        if bad_path or not name.endswith(".npy"):
            raise problem(path, where, "this name", "a plain name that ends in .npy", "save the arrays again")
        if name in names:
            raise problem(path, where, "the name twice", "each name once", "save the arrays again")
        names.add(name)
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
            raise problem(path, where, f"packing {info.compress_type}", "stored or deflated, not encrypted")
        if info.file_size > max(_SMALL_BYTES, _MAX_RATIO * info.compress_size):
            raise problem(path, where, f"{info.compress_size} bytes for {info.file_size}", f"at most {_MAX_RATIO}:1")
        total += info.file_size
    if total > _MAX_UNPACKED_BYTES:
        raise problem(path, "", f"{total} bytes unpacked", f"at most {_MAX_UNPACKED_BYTES}", "split the file")
    if not members:
        raise problem(path, "", "no arrays", "at least one", "leave the recording out")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, kinds: str) -> np.ndarray:
    where = f"array {brief(_bare(info))}"
    with archive.open(info) as file:
        data = file.read(info.file_size)
    shape, kind, fortran, start = _header(path, where, data[: _MAX_HEADER_BYTES + 12])
    _check(path, where, shape, kind, kinds, len(data) - start)
    return _arranged(np.frombuffer(data, kind, math.prod(shape), start), shape, fortran)
