"""Numpy files: what numpy writes is read, and nothing that a header or an archive claims is believed."""

import contextlib
import io
import os
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats.arrays import fits, header_of, load_array, load_arrays, names_in

PLAIN = np.arange(24.0).reshape(2, 4, 3)


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "<i4", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_numpy_writes_is_read_in_the_machines_byte_order(tmp_path, kind, order):
    array = np.asarray(PLAIN.astype(kind), order=order)
    np.save(tmp_path / "a.npy", array)
    back = load_array(tmp_path / "a.npy", (None, 4, 3))
    np.testing.assert_array_equal(back, array)
    assert back.dtype.isnative
    np.savez_compressed(tmp_path / "a.npz", x=array, y=array[0], name=np.array("someone"))
    arrays = load_arrays(tmp_path / "a.npz")
    np.testing.assert_array_equal(arrays["x"], array)
    np.testing.assert_array_equal(arrays["y"], array[0])
    assert str(arrays["name"]) == "someone"
    assert names_in(tmp_path / "a.npz") == {"x", "y", "name"}


def test_a_header_says_shape_and_type_and_objects_say_nothing(tmp_path):
    np.save(tmp_path / "a.npy", PLAIN)
    np.save(tmp_path / "o.npy", np.array([{}, None], object))
    assert header_of((tmp_path / "a.npy").read_bytes()) == ((2, 4, 3), np.dtype("<f8"))
    assert header_of((tmp_path / "o.npy").read_bytes()) is None
    assert header_of(b"\x93NUMPY") is None
    assert names_in(tmp_path / "a.npy") == frozenset()


def test_none_in_a_shape_is_any_number_from_one():
    assert fits((7, 17, 3), (None, 16, 3), (None, 17, 3))
    assert not fits((0, 17, 3), (None, 17, 3))
    assert not fits((7, 17, 3), (None, 17))


def test_objects_are_never_unpickled(tmp_path):
    trap = np.array([Trap(str(tmp_path / "sprung"))], object)
    np.save(tmp_path / "a.npy", trap)
    np.savez(tmp_path / "a.npz", x=PLAIN, trap=trap)
    with pytest.raises(FormatError, match="Python objects"):
        load_array(tmp_path / "a.npy")
    with pytest.raises(FormatError, match="array 'trap': found an array of Python objects"):
        load_arrays(tmp_path / "a.npz")
    assert set(load_arrays(tmp_path / "a.npz", leave_out={"trap"})) == {"x"}
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data[:-1], "191 bytes of data, expected 192 bytes"),
        (lambda data: data + b"0", "193 bytes of data, expected 192 bytes"),
        (lambda data: data.replace(b"(2, 4, 3), ", b"(9, 4, 3), "), "expected 864 bytes"),
        (lambda data: data.replace(b"(2, 4, 3), }   ", b"(10000000, 40)}"), "expected at most"),
        (lambda data: data.replace(b"(2, 4, 3)", b"(2, 12)  "), r"shape \(2, 12\), expected \(frames, 4, 3\)"),
        (lambda data: data.replace(b"<f8", b"<c8"), "type complex64"),
        (lambda data: data.replace(b"'<f8'", b"'<q99'"), "found"),
        (lambda data: data.replace(b"'descr'", b"'other'"), "expected descr"),
        (lambda data: data[:8] + b"\xff\xff" + data[10:], "a length of 65535 bytes"),
        (lambda data: b"PK" + data, "the header of a numpy file"),
        (lambda data: b"", "the header of a numpy file"),
    ],
)
def test_damage_is_named(tmp_path, change, says):
    np.save(tmp_path / "a.npy", PLAIN)
    path = tmp_path / "b.npy"
    path.write_bytes(change((tmp_path / "a.npy").read_bytes()))
    with pytest.raises(FormatError, match=says):
        load_array(path, (None, 4, 3))


def archive(path, members, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in members:
            file.writestr(name, data)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ("members", "packing", "says"),
    [
        ([("../x.npy", npy(PLAIN))], zipfile.ZIP_DEFLATED, "a plain name"),
        ([("/x.npy", npy(PLAIN))], zipfile.ZIP_DEFLATED, "a plain name"),
        ([("x.txt", b"1")], zipfile.ZIP_DEFLATED, "a plain name"),
        ([("x.npy", npy(PLAIN))] * 2, zipfile.ZIP_DEFLATED, "the name twice"),
        ([("x.npy", npy(np.zeros(1 << 19)))], zipfile.ZIP_DEFLATED, "at most 100:1"),
        ([("x.npy", npy(PLAIN))], zipfile.ZIP_BZIP2, "packing 12"),
        ([("x.npy", npy(PLAIN)[:-5])], zipfile.ZIP_DEFLATED, "187 bytes of data"),
        ([("x.npy", b"1")], zipfile.ZIP_STORED, "array 'x', header"),
        ([], zipfile.ZIP_STORED, "no arrays"),
    ],
)
def test_archives_that_lie_or_climb_are_refused(tmp_path, members, packing, says):
    archive(tmp_path / "a.npz", members, packing)
    with pytest.raises(FormatError, match=says):
        load_arrays(tmp_path / "a.npz")


def test_an_archive_that_is_none_is_one_error(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 and no more")
    with pytest.raises(FormatError, match="no directory"):
        load_arrays(tmp_path / "a.npz")


@settings(max_examples=150)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_whatever_byte_is_flipped_there_is_an_array_or_one_error(tmp_path_factory, at, byte, cut):
    folder = tmp_path_factory.mktemp("arrays")
    np.savez_compressed(folder / "a.npz", x=PLAIN, y=PLAIN[0])
    for path, load in ((folder / "a.npz", load_arrays), (folder / "a.npy", load_array)):
        data = bytearray((folder / "a.npz").read_bytes() if path.suffix == ".npz" else npy(PLAIN))
        place = at % len(data)
        data[place] = byte
        path.write_bytes(bytes(data[:place]) if cut else bytes(data))
        with contextlib.suppress(FormatError):
            load(path)
