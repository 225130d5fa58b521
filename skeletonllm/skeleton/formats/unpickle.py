"""Pickles of strangers, opened in a child process that may only build plain data and has little memory and time.

This process never unpickles: the child (`unpickle_child.py`) answers with JSON and the bytes of arrays.
"""

import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats.common import MAX_FILE_BYTES, brief, problem

_CHILD = Path(__file__).with_name("unpickle_child.py")
# Python objects take a few times the bytes of their pickle; arrays take what they are.
_BASE_MEMORY_BYTES = 256 << 20
_MEMORY_PER_BYTE = 4
# Slow machines open 10 MB in a second.
_BASE_CPU_S, _BYTES_PER_CPU_S = 20, 10 << 20
_WALL_PER_CPU = 6  # a machine with much else to do
_MAX_TEXT_BYTES = 192 << 20
_SPARE_BYTES = 65_536
_HEADER = re.compile(rb"\{.{0,60}'descr': '\|O'.*\}\s*", re.DOTALL)
_ONLY = "numpy arrays and plain containers only"
_CARE = "do not open it elsewhere unless you know who made it"


def load_pickle(path: Path) -> object:
    """What a pickle holds: numbers, text, lists, tuples, sets, dictionaries, numpy arrays.

    Numpy scalars become Python's own. May be called from threads and from workers.

    Raises:
        FormatError: it asks for anything else, is damaged, or needs more memory or time than its size explains.
    """
    with path.open("rb", buffering=0) as file:
        return _ask(path, "", file, 0, os.fstat(file.fileno()).st_size)


def load_object_array(path: Path) -> np.ndarray:
    """The array of Python objects (plain ones) in a `.npy` file; of shape () where one object was saved.

    Raises:
        FormatError: it is no such file, or see `load_pickle`.
    """
    with path.open("rb", buffering=0) as file:
        start = _start(path, "", file.read(256))
        return _as_array(path, "", _ask(path, "", file, start, os.fstat(file.fileno()).st_size - start))


def load_object_member(path: Path, name: str) -> np.ndarray:
    """The array of Python objects (plain ones) called `name` in a `.npz` file.

    Raises:
        FormatError: there is none, it is damaged, or see `load_pickle`.
    """
    where = f"member {name}"
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as member, tempfile.TemporaryFile() as copy:
            size, packed = archive.getinfo(f"{name}.npy").file_size, path.stat().st_size
            if size > min(MAX_FILE_BYTES, _SPARE_BYTES + 100 * packed):
                raise problem(path, where, f"{size} bytes packed in {packed}", "at most 100 times as many")
            start = _start(path, where, member.read(256))
            member.seek(0)
            left = size
            while chunk := member.read(min(left, 1 << 20)):
                copy.write(chunk)
                left -= len(chunk)
            copy.flush()
            return _as_array(path, where, _ask(path, where, copy, start, size - start))
    except KeyError:
        raise problem(path, "", "no such member", f"{name}.npy") from None
    except FormatError:
        raise
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise problem(path, where, brief(str(error), 120), "a member of a zip file") from error


def holds_objects(head: bytes) -> bool:
    """Whether the first bytes of a `.npy` file say that it holds Python objects."""
    try:
        _start(Path(), "", head)
    except FormatError:
        return False
    return True


def _start(path: Path, where: str, head: bytes) -> int:
    """Where the pickle begins in a `.npy` file."""
    width = {1: 2, 2: 4, 3: 4}.get(head[6], 0) if len(head) > 6 and head[:6] == b"\x93NUMPY" else 0
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    if not width or not 8 + width < start <= len(head) or not _HEADER.fullmatch(head[8 + width : start]):
        found = brief(head[8 + width : start][:80], 100) if width else brief(head[:8])
        raise problem(path, f"{where}, header" if where else "header", found, "a numpy array of objects")
    return start


def _as_array(path: Path, where: str, value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray) or value.dtype != object:
        raise problem(path, where, brief(value), "an array of objects, as the header says")
    return value


def _ask(path: Path, where: str, file: IO[bytes], start: int, size: int) -> object:
    """Has the child open `size` bytes of a file from `start`."""
    if size <= 0:
        raise problem(path, where, "an empty file", "a pickle")
    if size > MAX_FILE_BYTES:
        raise problem(path, where, f"{size} bytes", f"at most {MAX_FILE_BYTES}", "split the file")
    os.lseek(file.fileno(), start, os.SEEK_SET)
    memory = _BASE_MEMORY_BYTES + _MEMORY_PER_BYTE * size
    cpu_s = _BASE_CPU_S + size // _BYTES_PER_CPU_S
    with _child(file, memory, cpu_s, size) as child:
        assert child.stdout is not None
        head = child.stdout.read(9)
        if len(head) < 9:
            raise _death(path, where, child.wait(), memory, cpu_s)
        status, length = head[:1], struct.unpack("<Q", head[1:])[0]
        if length > _MAX_TEXT_BYTES:
            raise problem(path, where, f"an answer of {length} bytes", f"at most {_MAX_TEXT_BYTES}", "split the file")
        text = child.stdout.read(length)
        if len(text) < length:
            raise _death(path, where, child.wait(), memory, cpu_s)
        if status == b"M":
            raise _too_much(path, where, f"at most {memory >> 20} MiB of memory for a file of this size")
        answer = json.loads(text)
        if status != b"K":
            place = f"{where + ', ' if where else ''}offset {answer['offset']}"
            refused = status == b"R"
            found = answer["says"] if refused else f"a damaged pickle ({answer['says']})"
            raise problem(path, place, found, _ONLY if refused else "a pickle", _CARE if refused else "")
        try:
            arrays = list(_arrays(child.stdout, answer["table"], size + _SPARE_BYTES))
            return _decode(answer["content"], arrays)
        except (ValueError, TypeError, OverflowError) as error:
            raise problem(path, where, f"a damaged pickle ({brief(str(error), 120)})", "a pickle") from error
        except EOFError:
            raise _death(path, where, child.wait(), memory, cpu_s) from None


@contextmanager
def _child(file: IO[bytes], memory: int, cpu_s: int, size: int) -> Iterator[subprocess.Popen[bytes]]:
    """A running child, gone at the end of the block. `-I -S`: nothing of the user's is imported, and it starts at once."""
    words = (sys.executable, "-I", "-S", str(_CHILD), str(memory), str(cpu_s), str(size))
    with subprocess.Popen(words, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/") as child:
        timer = threading.Timer(_WALL_PER_CPU * cpu_s, child.kill)
        timer.daemon = True
        timer.start()
        try:
            yield child
        finally:
            timer.cancel()
            child.kill()


def _death(path: Path, where: str, code: int, memory: int, cpu_s: int) -> FormatError:
    """The error of a child that ended before it had answered."""
    if code in (-signal.SIGXCPU, -signal.SIGKILL):
        return _too_much(path, where, f"at most {cpu_s} s of computing and {memory >> 20} MiB for a file of this size")
    if code < 0:
        return problem(path, where, f"a pickle that ends its reader (signal {-code})", _ONLY, _CARE)
    return problem(path, where, f"no answer of {sys.executable} ({_CHILD.name}, exit status {code})", "its content")


def _too_much(path: Path, where: str, expected: str) -> FormatError:
    return problem(path, where, "a pickle that asks for much more than it holds", expected, _CARE)


def _arrays(stream: IO[bytes], table: list[list[Any]], most_bytes: int) -> Iterator[np.ndarray | bytes]:
    for kind, shape, fortran, axes in table:
        dtype = np.dtype(np.uint8 if kind == "b" else kind)
        num_bytes = math.prod(shape) * dtype.itemsize
        most_bytes -= num_bytes
        if most_bytes < 0 or num_bytes < 0:
            raise ValueError("more bytes in arrays than in the file")
        flat = np.empty(num_bytes, np.uint8)
        if stream.readinto(flat.data) != num_bytes:  # pyright: ignore[reportAttributeAccessIssue]
            raise EOFError
        if kind == "b":
            yield flat.tobytes()
            continue
        values = flat.view(dtype).astype(dtype.newbyteorder("="), copy=False)
        values = values.reshape(shape, order="F" if fortran else "C")
        yield values if axes is None else values.transpose(axes)


def _decode(said: object, arrays: list[np.ndarray | bytes]) -> object:
    if not isinstance(said, list):
        return said
    tag = said[0]
    if tag in ("a", "b"):
        return arrays[said[1]]
    if tag == "o":
        objects = np.empty(math.prod(said[1]), object)
        for number, value in enumerate(said[2:]):
            objects[number] = _decode(value, arrays)
        return objects.reshape(said[1])
    values = [_decode(value, arrays) for value in said[1:]]
    if tag == "d":
        return dict(zip(values[::2], values[1::2], strict=True))
    return values if tag == "l" else tuple(values) if tag == "t" else set(values)
