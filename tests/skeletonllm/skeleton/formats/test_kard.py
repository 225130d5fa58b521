"""KARD files: a left-handed frame, pixels and depth."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, kard, read
from skeletonllm.skeleton.kinematics import canonicalise, point
from tests.skeletonllm.skeleton.formats.texts import DATA, edited, standing, write_rows

MIRROR = np.array((-1.0, 1.0, 1.0))


def realworld(folder: Path) -> Path:
    rows = 1000 * MIRROR * standing("kard_15")
    return write_rows(folder / "a09_s04_e02_realworld.txt", rows.reshape(-1, 3))


def screen(folder: Path) -> Path:
    x, y, z = np.moveaxis(1000 * MIRROR * standing("kard_15"), -1, 0)
    rows = np.stack((320 + 575.8157 * x / z, 240 - 575.8157 * y / z, z), -1)
    return write_rows(folder / "a09_s04_e02_screen.txt", rows.reshape(-1, 3))


@pytest.mark.parametrize("write", [realworld, screen])
def test_both_layouts_are_the_same_person_in_a_right_handed_frame(tmp_path, write):
    path = write(tmp_path)
    assert detect(path).name == "kard"
    (clip,) = read(path)
    np.testing.assert_allclose(clip.positions[0], standing("kard_15"), atol=1e-4)
    left, right = point(canonicalise(clip), "shoulder", "left"), point(canonicalise(clip), "shoulder", "right")
    assert left is not None
    assert right is not None
    assert (left[..., 0] > right[..., 0]).all()


def test_the_name_says_action_subject_and_repetition(tmp_path):
    (clip,) = read(realworld(tmp_path))
    assert (clip.action, clip.source.subject, clip.source.repetition, clip.fps) == ("Forward Kick", "S04", "2", 30)


def test_damage_is_named(tmp_path):
    with pytest.raises(FormatError, match="line 4: found 2 values, expected 3 numbers"):
        read(edited(realworld(tmp_path), 4, "1 2"))
    with pytest.raises(FormatError, match="found 44 rows, expected a multiple of 15"):
        read(edited(realworld(tmp_path), 1, ""))


def test_other_numbers_are_not_of_this_format(tmp_path):
    head = realworld(tmp_path).read_bytes()
    assert not kard.sniff(Path("a01_s10_id193.txt"), head)
    assert not kard.sniff(Path("a01_s10_e01_realworld.txt"), b"1 2 3 4\n" * 15)


@pytest.mark.skipif(not (DATA / "kard").is_dir(), reason=f"no real recordings in {DATA}")
def test_both_layouts_of_real_recordings_agree():
    files = sorted((DATA / "kard" / "screen").glob("*.txt"))
    assert len(files) == 10
    for path in files:
        (one,) = read(path)
        (other,) = read(DATA / "kard" / "realworld" / path.name.replace("screen", "realworld"))
        np.testing.assert_allclose(one.positions, other.positions, atol=2e-6)
