"""Pickles in a child process: plain data comes through unchanged, and whatever a hostile one asks for does not happen."""

import io
import operator
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import unpickle
from skeletonllm.skeleton.formats.unpickle import load_object_array, load_object_member, load_pickle

DATA = Path(__file__).parents[5] / "shared" / "data"
CANARY = "canary"


def saved(folder: Path, data: bytes, name: str = "a.pkl") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def dumped(folder: Path, value: object, protocol: int = 4) -> Path:
    return saved(folder, pickle.dumps(value, protocol=protocol))


PLAIN = {
    "none": None,
    "numbers": [0, -1, 2**63 - 1, -(2**63), 2**64 - 1, 1.5, float("inf"), True],
    "text": ("", "a\nb", "\u00e9\u4e2d\U0001f600", "\ud800"),
    "sets": [{1, 2}, frozenset(("a",)), ()],
    "bytes": [b"", b"\x00\xff"],
    "ordered": OrderedDict(((3, "c"), ((1, 2), "b"))),
}


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_comes_through_unchanged(tmp_path, protocol):
    # The older protocols write sets and byte arrays by their class, which is not on the list.
    plain = PLAIN | {"bytes": [b"", b"\x00\xff", bytearray(b"ab")]} if protocol == 5 else PLAIN
    if protocol < 4:
        plain = {name: value for name, value in plain.items() if name != "sets"}
    assert load_pickle(dumped(tmp_path, plain, protocol)) == plain


CODES = ("f2", "<f4", ">f8", "i1", "u1", ">i4", "u8", "?", "U3", "S2", "O")


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_come_through_unchanged(tmp_path, protocol):
    arrays = []
    for array in (np.array([[0, 1, 2], [3, 4, 5]]).astype(code) for code in CODES):
        arrays += [array, np.asfortranarray(array), array.T, array[:, ::2], array[:0], array[0, :1].reshape(())]
    back = load_pickle(dumped(tmp_path, arrays, protocol))
    assert isinstance(back, list)
    for one, other in zip(arrays, back, strict=True):
        np.testing.assert_array_equal(other, one)
        assert other.dtype == one.dtype.newbyteorder("=")


def test_the_same_array_twice_is_one_array(tmp_path):
    array = np.zeros(3)
    back = load_pickle(dumped(tmp_path, [array, array]))
    assert isinstance(back, list)
    assert back[0] is back[1]


def test_axes_in_any_order_and_scalars_come_through(tmp_path):
    array = np.arange(24.0).reshape(2, 3, 4).transpose(1, 0, 2)
    scalars = [np.float16(1.5), np.int64(-3), np.bool_(True), np.str_("ab"), np.bytes_(b"ab"), np.float64(2.5)]
    back = load_pickle(dumped(tmp_path, [array, scalars], 5))
    assert isinstance(back, list)
    np.testing.assert_array_equal(back[0], array)
    assert back[1] == [1.5, -3, True, "ab", b"ab", 2.5]


def test_a_pickle_of_python_2_is_read(tmp_path):
    data = (
        b"\x80\x02]q\x00(U\x03abcq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b"
        b"\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87Rq\x06(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff"
        b"\xff\xff\xffK\x00tb\x89U\x02\x01\xfftbe."
    )
    back = load_pickle(saved(tmp_path, data))
    assert isinstance(back, list)
    assert back[0] == "abc"
    assert back[1].tolist() == [1, 255]


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self):
        return self.parts


def touching(mark: Path) -> dict[str, object]:
    """Objects whose pickles would make a file."""
    command, code = f"touch {mark}", f"open({str(mark)!r}, 'w')"
    return {
        "os.system": Call(os.system, command),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "open": Call(open, str(mark), "w"),
        "getattr": Call(getattr, Call(__import__, "os"), "system"),
        "a chain of getattr": Call(operator.attrgetter("system"), Call(__import__, "os")),
        "compile": Call(eval, Call(compile, code, "f", "eval")),
        "numpy.load": Call(np.load, str(mark)),
        "numpy.save": Call(np.save, str(mark), 1),
        "numpy.fromfile": Call(np.fromfile, "/etc/passwd"),
        "tofile": Call(np.ndarray.tofile, np.zeros(1), str(mark)),
        "an object array": np.array([Call(os.system, command), None], dtype=object),
        "a key": {"annotations": [{Call(os.system, command): 1}]},
        "a state": Call(OrderedDict, (), state=Call(os.system, command)),
        "a path": mark,
        "a class": Path,
        "a function": np.frombuffer,
    }


@pytest.mark.parametrize("name", touching(Path("x")))
@pytest.mark.parametrize("protocol", [0, 4])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, name, protocol):
    mark = tmp_path / CANARY
    path = dumped(tmp_path, touching(mark)[name], protocol)
    with pytest.raises(FormatError, match=r"asks for|damaged pickle"):
        load_pickle(path)
    assert not mark.exists()


def _hand_made(mark: Path) -> dict[str, bytes]:
    command = f"touch {mark}".encode()
    text = lambda s: b"X" + struct.pack("<I", len(s)) + s  # noqa: E731
    dtype = b"cnumpy\ndtype\n" + text(b"%s") + b"\x89\x88\x87R"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
    return {
        "INST": b"(S'" + command + b"'\nios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + text(command) + b"o.",
        "NEWOBJ": b"\x80\x02cos\nsystem\n" + text(command) + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04cos\nsystem\n" + text(command) + b"\x85}\x92.",
        "STACK_GLOBAL": b"\x80\x04" + text(b"os") + text(b"system") + b"\x93" + text(command) + b"\x85R.",
        "a dotted name": b"\x80\x04" + text(b"numpy") + text(b"ndarray.tofile") + b"\x93.",
        "the name of a name": b"\x80\x04" + text(b"collections") + text(b"OrderedDict.fromkeys") + b"\x93.",
        "EXT1": b"\x80\x02\x82\x01.",
        "EXT2": b"\x80\x02\x83\x01\x01.",
        "EXT4": b"\x80\x02\x84\x01\x01\x01\x01.",
        "PERSID": b"Pabc\n.",
        "BINPERSID": b"\x80\x02" + text(b"abc") + b"Q.",
        "NEXT_BUFFER": b"\x80\x05\x97.",
        "READONLY_BUFFER": b"\x80\x05K\x01\x98.",
        "a new dtype object": b"\x80\x02cnumpy\ndtype\n)\x81.",
        "an array by NEWOBJ": b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ft\x81.",
        "an array by call": b"\x80\x02cnumpy\nndarray\nJ\xff\xff\xff\x7f\x85R.",
        "an array without data": b"\x80\x04" + array.replace(b"K\x00", b"J\xff\xff\xff\x7f") + b".",
        "an array with too little data": b"\x80\x04"
        + array
        + b"(K\x01J\xff\xff\xff\x7f\x85"
        + dtype % b"f8"
        + b"\x89C\0tb.",
        "an array of negative shape": b"\x80\x04"
        + array
        + b"(K\x01J\xff\xff\xff\xff\x85"
        + dtype % b"f8"
        + b"\x89C\0tb.",
        "pointers as data": b"\x80\x04" + array + b"(K\x01K\x01\x85" + dtype % b"O8" + b"\x89C\x08AAAAAAAAtb.",
        "records": b"\x80\x04" + dtype % b"f8,O" + b".",
        "records by state": b"\x80\x04" + dtype % b"f8" + b"(K\x03X\x01\0\0\0<NX\x01\0\0\0a\x85}K\x08K\x01K\0tb.",
        "a dtype of a dtype": b"\x80\x04cnumpy\ndtype\ncnumpy\ndtype\n\x85R.",
        "a dtype of much": b"\x80\x04" + dtype % b"U999999999" + b".",
        "a scalar of objects": b"\x80\x04cnumpy.core.multiarray\nscalar\n" + dtype % b"O" + b"C\x08AAAAAAAA\x86R.",
        "another codec": b"\x80\x02c_codecs\nencode\n" + text(b"a") + text(b"zlib") + b"\x86R.",
        "a changed function": b"\x80\x02cnumpy\ndtype\n}" + text(b"_call") + b"K\x01sb.",
        "changed slots of a function": b"\x80\x02cnumpy\ndtype\nN}" + text(b"_call") + b"K\x01s\x86b.",
        "a changed array": b"\x80\x04" + array + b"N}" + text(b"shape") + b"K\x01s\x86b.",
        "a function as data": b"\x80\x02cnumpy\ndtype\n.",
        "itself": b"\x80\x02]q\x00h\x00a.",
        "itself in a dictionary": b"\x80\x02}q\x00K\x01h\x00s.",
        "itself by a tuple": b"\x80\x02]q\x00h\x00\x85a.",
        "a million levels": b"]" * 1_000_000 + b"a" * 999_999 + b".",
        "a million levels of tuples as a key": b"}(" + b")" + b"\x85" * 1_000_000 + b"K\x01u.",
        "a thousand dictionaries": b"}" + b"K\x01}" * 1000 + b"s" * 1000 + b".",
        "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
        "a number of many bytes": b"\x8a\xff" + b"\x7f" * 255 + b".",
        "nothing": b"\x80\x04.",
        "no pickle": b"PK\x03\x04" * 10,
        "an unknown protocol": b"\x80\x63N.",
        "zeros": bytes(1000),
        "marks": b"(" * 100_000,
    }


@pytest.mark.parametrize("name", _hand_made(Path("x")))
def test_hand_made_code_is_refused(tmp_path, name):
    mark = tmp_path / CANARY
    with pytest.raises(FormatError, match=r"found .*, expected .*; "):
        load_pickle(saved(tmp_path, _hand_made(mark)[name]))
    assert not mark.exists()


def _tower(start: bytes, levels: int) -> bytes:
    """Lists of twice the list before: little to write, endless to say."""
    return b"\x80\x02" + start + b"q\x00" + b"".join(b"0](h%ch%ceq%c" % (n, n, n + 1) for n in range(levels)) + b"."


LARGE = {
    "a tower of lists": _tower(b"]", 60),
    "a tower as a shape": _tower(b"]", 60)[:-1]
    + b"0cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nh\x3cC\x01btR.",
    "a tower as a dtype": _tower(b"]", 60)[:-1] + b"0cnumpy.core.multiarray\nscalar\nh\x3cC\x01b\x86R.",
    "a tower of text": _tower(b"X\xe8\x03\x00\x00" + b"a" * 1000, 14),
    "the same bytes in many arrays": b"\x80\x04C\xffq\x00".replace(b"C\xff", b"B\x00\x00\x10\x00" + b"a" * (1 << 20))
    + b"]("
    + b"".join(
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tC\x01btR"
        b"(K\x01J\x00\x00\x10\x00\x85cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R\x89h\x00tb"
        for _ in range(200)
    )
    + b"e.",
    "bytes of a size": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40) + b"a.",
    "a bytearray of a size": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"a.",
    "a frame of a size": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"N.",
    "text of a size": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"a.",
    "a large memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "a number of a size": b"\x80\x02\x8b\xff\xff\xff\x7fa.",
}


@pytest.mark.parametrize("name", LARGE)
def test_little_cannot_become_much(tmp_path, name):
    with pytest.raises(FormatError, match=r"much more than it holds|damaged pickle|array of shape list|has no type"):
        load_pickle(saved(tmp_path, LARGE[name]))


_LOAD_ALL = """
import resource, sys
from pathlib import Path
from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats.unpickle import load_pickle
for name in sys.argv[1:]:
    try:
        load_pickle(Path(name))
    except FormatError:
        pass
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def test_no_child_takes_much_memory(tmp_path):
    # In a process of its own: the count is of the largest child that a process ever had.
    paths = [str(saved(tmp_path, data, f"{number}.pkl")) for number, data in enumerate(LARGE.values())]
    done = subprocess.run([sys.executable, "-c", _LOAD_ALL, *paths], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 1 << 20  # KiB


def test_a_memory_hungry_child_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickle, "_MEMORY_PER_BYTE", 0)
    monkeypatch.setattr(unpickle, "_BASE_MEMORY_BYTES", 64 << 20)
    with pytest.raises(FormatError, match=r"much more than it holds, expected at most 64 MiB"):
        load_pickle(saved(tmp_path, b"(" + b"]" * 3_000_000 + b"l."))


def test_a_child_that_never_ends_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(unpickle, "_BASE_CPU_S", 1)
    # All have the same hash, so that a dictionary of them takes a time that grows with the square.
    keys = b"".join(pickle.dumps(n * (2**61 - 1), 2)[2:-1] + b"N" for n in range(1, 40_000))
    with pytest.raises(FormatError, match=r"1 s of computing"):
        load_pickle(saved(tmp_path, b"\x80\x02}(" + keys + b"u."))


def test_a_child_that_waits_is_stopped_too(tmp_path, monkeypatch):
    sleeper = saved(tmp_path, b"import time\ntime.sleep(60)\n", "sleeper.py")
    monkeypatch.setattr(unpickle, "_CHILD", sleeper)
    monkeypatch.setattr(unpickle, "_BASE_CPU_S", 1)
    monkeypatch.setattr(unpickle, "_WALL_PER_CPU", 0.5)
    with pytest.raises(FormatError, match="1 s of computing"):
        load_pickle(dumped(tmp_path, 1))


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (b"", "no answer"),
        (b"K" + struct.pack("<Q", 1 << 40), "an answer of"),
        (b"K" + struct.pack("<Q", 10) + b"{}", "no answer"),
    ],
)
def test_a_child_that_answers_badly_is_an_error(tmp_path, monkeypatch, said, says):
    child = saved(tmp_path, f"import sys\nsys.stdout.buffer.write({said!r})\nsys.exit(3)".encode(), "child.py")
    monkeypatch.setattr(unpickle, "_CHILD", child)
    with pytest.raises(FormatError, match=says):
        load_pickle(dumped(tmp_path, 1))


def test_threads_may_ask_at_once(tmp_path):
    paths = [saved(tmp_path, pickle.dumps(np.full((100, 100), n)), f"{n}.pkl") for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for number, back in enumerate(pool.map(load_pickle, paths)):
            assert isinstance(back, np.ndarray)
            assert (back == number).all()


def test_an_object_in_an_npy_or_npz_file_is_read(tmp_path):
    content = {"file_name": "a", "skel": np.arange(6.0).reshape(2, 3)}
    np.save(tmp_path / "a.npy", content, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros(2), np.ones(3)]
    np.savez_compressed(tmp_path / "a.npz", one=np.array(content, dtype=object), ragged=ragged, plain=np.zeros(2))
    head = (tmp_path / "a.npy").read_bytes()[:4096]
    assert unpickle.holds_objects(head)
    for back in (load_object_array(tmp_path / "a.npy"), load_object_member(tmp_path / "a.npz", "one")):
        assert back.shape == ()
        np.testing.assert_equal(back.item(), content)
    np.testing.assert_array_equal(load_object_member(tmp_path / "a.npz", "ragged")[1], np.ones(3))
    with pytest.raises(FormatError, match="expected a numpy array of objects"):
        load_object_member(tmp_path / "a.npz", "plain")
    with pytest.raises(FormatError, match="no such member"):
        load_object_member(tmp_path / "a.npz", "other")


def test_a_hostile_npy_or_npz_file_is_refused(tmp_path):
    mark = tmp_path / CANARY
    hostile = np.array(Call(os.system, f"touch {mark}"), dtype=object)
    np.save(tmp_path / "a.npy", hostile, allow_pickle=True)
    np.savez(tmp_path / "a.npz", a=hostile)
    with pytest.raises(FormatError, match="asks for"):
        load_object_array(tmp_path / "a.npy")
    with pytest.raises(FormatError, match=r"member a, offset \d+: .*asks for"):
        load_object_member(tmp_path / "a.npz", "a")
    assert not mark.exists()
    bomb = io.BytesIO()
    np.save(bomb, np.array(b"a" * (50 << 20), dtype=object), allow_pickle=True)
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bomb.getvalue())
    with pytest.raises(FormatError, match="at most 100 times"):
        load_object_member(tmp_path / "b.npz", "a")
    for data in (
        b"",
        b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{'descr': '|O'",
        (tmp_path / "a.npy").read_bytes()[:128],
    ):
        with pytest.raises(FormatError):
            load_object_array(saved(tmp_path, data, "c.npy"))


VALUE = {"a": [np.zeros((2, 3), np.float16), np.array(["a"], object)], "b": ("c", 1, 2.0, None)}


@settings(max_examples=60, deadline=None)
@given(
    protocol=st.sampled_from((2, 4, 5)),
    cut=st.integers(0, 100),
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
)
def test_a_cut_or_flipped_pickle_is_a_format_error_or_a_value(tmp_path_factory, protocol, cut, flips):
    data = bytearray(pickle.dumps(VALUE, protocol))
    for place, value in flips:
        data[place % len(data)] = value
    path = saved(tmp_path_factory.mktemp("flip"), bytes(data[: len(data) - cut * len(data) // 300]))
    try:
        load_pickle(path)
    except FormatError:
        return


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
@pytest.mark.parametrize("file", ["jhmdb/GT_train_1.pkl", "pyskl_k400_index/sample.pkl"])
def test_real_pickles_hold_what_pickle_itself_says(file):
    path = DATA / file
    np.testing.assert_equal(load_pickle(path), pickle.loads(path.read_bytes()))
