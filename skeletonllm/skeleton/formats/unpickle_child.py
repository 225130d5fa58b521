"""Opens one pickle in a process of its own; `unpickle.load_pickle` starts it as a script and trusts nothing it says.

A pickle is a program. Here it can name only arrays, dtypes, scalars and OrderedDict, and each name stands for a function
of this file: no code of numpy or of anybody else sees what the pickle says. It needs the standard library only, so that
it starts in a moment. stdin is the pickle, stdout the answer: one status byte, 8 bytes of length, a JSON text, and then
the bytes of the arrays in the order of the text's table.
"""

import gc
import json
import math
import pickle
import re
import resource
import struct
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeGuard

_MAX_DEPTH = 64
_MAX_NUMBERS = 1 << 31
_MAX_NODES = 8 << 20
_MAX_TEXT_BYTES = 128 << 20
_SPARE_NODES = 65_536
_SCALARS = {
    "b1": "?", "i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d",
}  # fmt: skip
_CODE = re.compile(r"[biuf][1248]|O8?|[US][1-9]\d{0,5}")


class Refused(pickle.UnpicklingError):
    """The pickle asks for something that is not plain data."""


def _short(value: object) -> str:
    """A value for an error message; what is nested may have an endless text, so only its kind is said."""
    if isinstance(value, tuple) and all(type(part) is int and abs(part) < 2**64 for part in value[:8]):
        return f"({', '.join(map(str, value[:8]))}{', ...' if len(value) > 8 else ''})"
    return f"{value[:40]!r}" if isinstance(value, str | bytes) else type(value).__name__


class Frozen:
    """A callable that a pickle may name but not change."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., object]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: object) -> object:
        """What the function gives."""
        return self._call(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise Refused("it asks for a change of a function")

    def __setstate__(self, state: object) -> None:
        raise Refused("it asks for a change of a function")


class Dtype:
    """What `numpy.dtype` stands for: a kind and a size, and then the byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: object, *_: object) -> None:
        if not isinstance(code, str) or not _CODE.fullmatch(code) or code in ("f1", "b2", "b4", "b8"):
            raise Refused(f"it asks for an array of {_short(code)}")
        self.code = "O" if code[0] == "O" else code
        self.order = "|" if code[0] == "O" or code[-1:] == "1" else "<"

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None, None, None):
            raise Refused("it asks for an array of records")
        order = state[1]
        if not isinstance(order, str) or order not in ("<", ">", "|", "="):
            raise Refused(f"it asks for the byte order {_short(order)}")
        self.order = "<" if order == "=" else order

    @property
    def item_bytes(self) -> int:
        """Bytes of one value."""
        return int(self.code[1:]) * (4 if self.code[0] == "U" else 1)


def _is_shape(shape: object) -> TypeGuard[tuple[int, ...]]:
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
        return False
    return math.prod(max(1, size) for size in shape) <= _MAX_NUMBERS


class Array:
    """An array that is not yet one: bytes (or a list of objects), a shape, and how to read them."""

    __slots__ = ("axes", "data", "dtype", "fortran", "objects", "shape")

    def __init__(self) -> None:
        self.fill((0,), Dtype("i1"), b"")

    def fill(self, shape: object, dtype: object, data: object, fortran: bool = False, axes: object = None) -> None:
        """Takes on contents, if they fit each other."""
        if isinstance(data, str):  # a pickle of Python 2
            data = data.encode("latin1")
        if not _is_shape(shape):
            raise Refused(f"it asks for an array of shape {_short(shape)}")
        if not isinstance(dtype, Dtype):
            raise Refused(f"it asks for an array of {_short(dtype)}")
        self.data, self.objects = b"", []
        if dtype.code == "O" and isinstance(data, list) and len(data) == math.prod(shape):
            self.objects = data
        elif (
            dtype.code != "O"
            and isinstance(data, bytes | bytearray)
            and len(data) == math.prod(shape) * dtype.item_bytes
        ):
            self.data = data
        else:
            raise Refused(f"an array of shape {_short(shape)} has other data than that")
        if axes is not None and (not isinstance(axes, tuple) or sorted(axes) != list(range(len(shape)))):
            raise Refused(f"it asks for the axes {_short(axes)}")
        self.shape, self.dtype, self.fortran, self.axes = shape, dtype, fortran, axes

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise Refused("an array has no state of five parts")
        _, shape, dtype, fortran, data = state
        self.fill(shape, dtype, data, bool(fortran))


_NDARRAY = Frozen(Array)


def _reconstruct(kind: object, shape: object, code: object) -> Array:
    """The empty array that numpy's own pickles begin with; its data follows."""
    if kind is not _NDARRAY or shape != (0,):
        raise Refused(f"it asks for an array of shape {_short(shape)} out of nothing")
    return Array()


def _from_buffer(data: object, dtype: object, shape: object, order: object, axes: object = None) -> Array:
    """How protocol 5 writes arrays."""
    array = Array()
    array.fill(shape, dtype, data, order == "F", axes if order == "K" else None)
    return array


def _scalar(dtype: object, data: object) -> object:
    """A number with a numpy type."""
    if isinstance(data, str):
        data = data.encode("latin1")
    if not isinstance(dtype, Dtype) or dtype.code == "O" or not isinstance(data, bytes):
        raise Refused("a number has no type or no bytes")
    order = ">" if dtype.order == ">" else "<"
    if dtype.code[0] == "U":
        return data.decode("utf-32-be" if order == ">" else "utf-32-le").rstrip("\0")
    if dtype.code[0] == "S":
        return data.rstrip(b"\0")
    return struct.unpack(order + _SCALARS[dtype.code], data)[0]


def _encode(text: object, codec: object = "latin1") -> bytes:
    """How protocol 2 writes bytes; other codecs can make much out of little."""
    if not isinstance(text, str) or codec != "latin1":
        raise Refused(f"it asks for the codec {_short(codec)}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 writes no bytes."""
    return b""


def _ordered(*pairs: object) -> dict[object, object]:
    return dict(*pairs)  # pyright: ignore[reportArgumentType, reportCallIssue]


# Names under which numpy 1 and numpy 2 pickle arrays and scalars. Nothing else may be called.
_ALLOWED = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Frozen(Dtype),
    ("collections", "OrderedDict"): Frozen(_ordered),
    ("_codecs", "encode"): Frozen(_encode),
    ("__builtin__", "bytes"): Frozen(_no_bytes),
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = Frozen(_reconstruct)
    _ALLOWED[f"{_core}.multiarray", "scalar"] = Frozen(_scalar)
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = Frozen(_from_buffer)


class Unpickler(pickle.Unpickler):
    """Admits arrays and plain containers only."""

    def find_class(self, module: str, name: str) -> object:
        """What a name stands for; refuses every name that is not on the list."""
        if (module, name) not in _ALLOWED:
            raise Refused(f"it asks for {module:.60}.{name:.60}")
        return _ALLOWED[module, name]


class Encoder:
    """Plain data as JSON: containers as `[tag, ...]`, arrays as numbers of a table, each array once.

    References can make much out of little (a list of twice a list of twice a list ...), so what is said is counted.
    """

    def __init__(self, file_bytes: int) -> None:
        self.table: list[list[object]] = []
        self.buffers: list[bytes | bytearray] = []
        self._numbers: dict[int, int] = {}
        self._open: set[int] = set()
        self._nodes = min(_MAX_NODES, _SPARE_NODES + file_bytes)
        self._text = min(_MAX_TEXT_BYTES, _SPARE_NODES + 16 * file_bytes)
        self._bytes = file_bytes

    def encode(self, value: object) -> object:
        """The JSON value of anything plain."""
        self._nodes -= 1
        if self._nodes < 0:
            raise Refused("it says much more than it holds")
        if value is None or isinstance(value, bool | float):
            return value
        if isinstance(value, int):
            if not -(2**63) <= value < 2**64:
                raise Refused(f"a whole number of {value.bit_length()} bits")
            return value
        if isinstance(value, str):
            self._text -= len(value)
            if self._text < 0:
                raise Refused("it says much more than it holds")
            return value
        if isinstance(value, bytes | bytearray):
            return ["b", self._number(value, ["b", [len(value)], False, None], value)]
        if isinstance(value, Array) and value.dtype.code != "O":
            code = value.dtype.order + value.dtype.code
            row = [code, list(value.shape), value.fortran, value.axes]
            return ["a", self._number(value, row, value.data)]
        return self._container(value)

    def _container(self, value: object) -> list[object]:
        if id(value) in self._open or len(self._open) > _MAX_DEPTH:
            raise Refused("it holds itself" if id(value) in self._open else f"more than {_MAX_DEPTH} levels")
        self._open.add(id(value))
        if isinstance(value, Array):
            # Numpy lists objects row by row, also those of an array that lies column by column.
            said = ["o", list(value.shape), *map(self.encode, value.objects)]
        elif isinstance(value, dict):
            said = ["d", *(self.encode(part) for pair in value.items() for part in pair)]
        elif isinstance(value, list | tuple | set | frozenset):
            tag = "l" if isinstance(value, list) else "t" if isinstance(value, tuple) else "s"
            said = [tag, *map(self.encode, value)]
        else:
            raise Refused(f"it asks for {type(value).__name__}, which is no plain data")
        self._open.remove(id(value))
        return said

    def _number(self, owner: object, row: list[object], data: bytes | bytearray) -> int:
        if id(owner) not in self._numbers:
            self._bytes -= len(data)
            if self._bytes < 0:
                raise Refused("it says much more than it holds")
            self._numbers[id(owner)] = len(self.table)
            self.table.append(row)
            self.buffers.append(data)
        return self._numbers[id(owner)]


def _limit(memory_bytes: int, cpu_s: int) -> None:
    """No more memory and time than given, no file written, no process started.

    macOS takes RLIMIT_AS and does not obey it; there, time and what the parent accepts are the bounds.
    """
    wanted = ((resource.RLIMIT_AS, memory_bytes), (resource.RLIMIT_CPU, cpu_s), (resource.RLIMIT_FSIZE, 0))
    for kind, most in (*wanted, (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NPROC, 0)):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (most, hard if kind == resource.RLIMIT_CPU else most))
        except (ValueError, OSError):
            continue  # a system that knows no such limit


def _answer(status: bytes, text: bytes, buffers: list[bytes | bytearray]) -> None:
    out = sys.stdout.buffer
    out.write(status + struct.pack("<Q", len(text)) + text)
    for data in buffers:
        out.write(data)
    out.flush()


def main(memory_bytes: int, cpu_s: int, file_bytes: int) -> None:
    """Answers with what the pickle on stdin holds (status `K`), or with why not: refused `R`, damaged `D`, memory `M`."""
    _limit(memory_bytes, cpu_s)
    gc.disable()  # nothing is thrown away before the end
    stream = sys.stdin.buffer
    # Without `peek`, so that the stream stands where the pickle went wrong.
    plain = SimpleNamespace(read=stream.read, readinto=stream.readinto, readline=stream.readline)  # pyright: ignore[reportAttributeAccessIssue]
    try:
        encoder = Encoder(file_bytes)
        # Strings of Python 2 have no encoding; latin1 loses nothing.
        content = encoder.encode(Unpickler(plain, encoding="latin1").load())  # pyright: ignore[reportArgumentType]
        text = json.dumps({"content": content, "table": encoder.table}).encode()
        status, buffers = b"K", encoder.buffers
    except MemoryError:
        status, text, buffers = b"M", b"", []
    except Exception as error:  # a damaged pickle can raise nearly anything
        status, buffers = b"R" if isinstance(error, Refused) else b"D", []
        text = json.dumps({"offset": stream.tell(), "says": " ".join(f"{error!s:.160}".split())}).encode()
    _answer(status, text, buffers)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]))
