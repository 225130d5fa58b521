"""What the Kinect's text formats share, and that none of them falls over whatever the bytes are."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, formats
from skeletonllm.skeleton.formats.common import HEAD_BYTES
from skeletonllm.skeleton.formats.kinect import numbers_in_line, turns_leaving, unproject
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.skeletonllm.skeleton.formats import (
    test_cad60,
    test_florence3d,
    test_kard,
    test_keraal,
    test_msraction3d,
    test_msrc12,
    test_nwucla,
    test_pkummd,
    test_uiprmd,
    test_utkinect,
)

SIXTY = Declared(fps=60.0)
HOSTILE_WORDS = (
    b"nan",
    b"-inf",
    b"1e308",
    b"-1e308",
    b"1e-320",
    b"9" * 400,
    b"0x1",
    b"1_0",
    b"",
    b"\x00",
    b"\xff",
    b";",
)


@pytest.fixture
def small_files(tmp_path):
    """One recording of each format; a folder where a recording is a folder."""
    return {
        "msraction3d": test_msraction3d.real3d(tmp_path / "msr"),
        "msraction3d screen": test_msraction3d.screen(tmp_path / "msr"),
        "florence3d": test_florence3d.per_clip(tmp_path / "florence"),
        "florence3d whole": test_florence3d.whole_set(tmp_path / "florence"),
        "kard": test_kard.realworld(tmp_path / "kard"),
        "kard screen": test_kard.screen(tmp_path / "kard"),
        "utkinect": test_utkinect.labelled(made(tmp_path / "ut")),
        "cad60": test_cad60.recording(tmp_path / "cad"),
        "msrc12": test_msrc12.recording(tmp_path / "msrc"),
        "pkummd": test_pkummd.recording(made(tmp_path / "pku"), "8,0,4,2\n16,5,9,1\n"),
        "uiprmd": test_uiprmd.recording(tmp_path / "ui"),
        "keraal": test_keraal.kinect(tmp_path / "keraal"),
        "keraal vicon": test_keraal.vicon(tmp_path / "keraal"),
        "nwucla_text": test_nwucla.text_folder(tmp_path / "nwucla"),
    }


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_numbers_of_a_line_are_known_only_where_it_ends():
    assert numbers_in_line(b"1 2.5 -3e0\n4 5 6\n") == [1.0, 2.5, -3.0]
    assert numbers_in_line(b"1,2,\r\n", ",") == [1.0, 2.0]
    assert numbers_in_line(b"1 2") == [1.0, 2.0]
    assert numbers_in_line(b"1 " * HEAD_BYTES) == []
    assert numbers_in_line(b"1 two\n") == []
    assert numbers_in_line(b"\xff\xfe1") == []
    assert numbers_in_line(b"") == []


def test_the_middle_of_an_image_lies_straight_ahead():
    image = np.array([[[160.0, 120.0, 500.0], [160.0, 0.0, 500.0], [1e9, 0.0, 500.0]]])
    places = unproject(image, 300.0, (160.0, 120.0), 0.004)
    np.testing.assert_allclose(places[0, :2], [[0, 0, 2], [0, 0.8, 2]])
    assert np.isnan(places[0, 2]).all()


def test_a_bone_turns_the_joint_where_it_begins():
    names = TOPOLOGIES["kinect_v2_25"].joint_names
    orientations = np.zeros((1, 1, 25, 4))
    orientations[0, 0, :, 0] = np.arange(25)
    turns = turns_leaving(orientations)[0, 0, :, 0]
    assert turns[names.index("elbow_left")] == names.index("wrist_left")
    assert turns[names.index("knee_right")] == names.index("ankle_right")
    assert turns[names.index("spine_base")] == names.index("spine_base")
    assert turns[names.index("hand_tip_left")] == 0


def test_every_small_file_is_of_its_format_alone(small_files):
    for name, path in small_files.items():
        first = min(path.iterdir()) if path.is_dir() else path
        known = [format.name for format in formats().values() if format.sniff(first, first.read_bytes()[:HEAD_BYTES])]
        assert known == [name.split()[0]]


@pytest.mark.parametrize("seed", range(4))
def test_whatever_the_bytes_are_a_file_is_refused_or_read(small_files, seed):
    rng = np.random.default_rng(seed)
    for name, path in small_files.items():
        reader = formats()[name.split()[0]]
        for target in changed_files(path):
            whole = target.read_bytes()
            for kind in range(8):
                target.write_bytes(mutated(whole, kind, rng))
                reader.sniff(target, target.read_bytes()[:HEAD_BYTES])
                check(reader.read, path)
            target.write_bytes(whole)


def changed_files(path: Path) -> list[Path]:
    """The files of a recording that are damaged: its own, and those beside it."""
    own = sorted(path.iterdir())[:2] if path.is_dir() else [path]
    reader_files = [file for format in formats().values() if path.is_file() for file in format.beside(path)]
    return sorted({*own, *reader_files})


def mutated(whole: bytes, kind: int, rng: np.random.Generator) -> bytes:
    at, to = sorted(rng.integers(0, len(whole), 2).tolist())
    words = whole.split(b" ") if b"," not in whole else whole.split(b",")
    separator = b"," if b"," in whole else b" "
    lines = whole.split(b"\n")
    flipped = bytearray(whole)
    flipped[at] ^= 1 << int(rng.integers(8))
    words[int(rng.integers(len(words)))] = HOSTILE_WORDS[int(rng.integers(len(HOSTILE_WORDS)))]
    order = rng.permutation(len(lines))
    return (
        bytes(flipped),
        whole[:at],
        whole[at:],
        whole[:at] + whole[to:],
        whole[:to] + whole[at:],
        separator.join(words),
        b"\n".join(lines[line] for line in order),
        bytes(rng.integers(0, 256, 500, np.uint8)),
    )[kind]


def check(read, path: Path) -> None:
    """A format error or valid clips; warnings are errors in tests."""
    try:
        clips = read(path, SIXTY)
    except FormatError:
        return
    assert clips
    for clip in clips:
        assert isinstance(clip, Clip)
        assert np.isfinite(clip.confidence).all()
        assert np.isfinite(clip.fps)
        assert clip.rotations is None or np.isfinite(clip.rotations).all()


def test_every_number_may_be_absurd(small_files):
    for name, path in small_files.items():
        if path.is_dir():
            continue
        reader = formats()[name.split()[0]]
        lines = path.read_bytes().split(b"\n")
        separator = b"," if b"," in lines[0] else b" "
        for word in HOSTILE_WORDS:
            whole = [separator.join([word] * len(line.split(separator))) for line in lines[:-1]]
            path.write_bytes(b"\n".join(whole))
            check(reader.read, path)
            path.write_bytes(b"\n".join([whole[0], *lines[1:]]))
            check(reader.read, path)
        path.write_bytes(b"\n".join(lines))
