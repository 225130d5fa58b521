"""MSR-Action3D files: joints, confidence, names, and the screen files put back into space."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, msraction3d, read
from tests.skeletonllm.skeleton.formats.texts import DATA, edited, standing, write_rows


def real3d(folder: Path, confidence: float = 1.0, name: str = "a05_s02_e03_skeleton3D.txt") -> Path:
    places = standing("msraction3d_20")
    rows = np.concatenate((places, np.full((*places.shape[:2], 1), confidence)), axis=-1)
    return write_rows(folder / name, rows.reshape(-1, 4))


def screen(folder: Path) -> Path:
    x, y, z = np.moveaxis(standing("msraction3d_20"), -1, 0)
    rows = np.stack((np.round(160 + 285.63 * x / z), np.round(120 - 285.63 * y / z), np.round(z / 0.004)), -1)
    return write_rows(folder / "a05_s02_e03_skeleton.txt", np.c_[rows.reshape(-1, 3), np.ones(rows[..., 0].size)])


def test_joints_lie_where_the_file_puts_them(tmp_path):
    path = real3d(tmp_path)
    assert detect(path).name == "msraction3d"
    (clip,) = read(path)
    np.testing.assert_allclose(clip.positions[0], standing("msraction3d_20"), atol=1e-5)
    assert clip.topology.joint_names[12] == "hand_right"
    assert (clip.fps, clip.source.fps_from, clip.source.space) == (15, "format", "m, +y up")


def test_the_name_says_action_subject_and_repetition(tmp_path):
    (clip,) = read(real3d(tmp_path))
    assert (clip.clip_id, clip.action) == ("a05_s02_e03_skeleton3D", "forward punch")
    assert (clip.source.subject, clip.source.repetition) == ("S02", "3")
    (other,) = read(real3d(tmp_path, name="mine.txt"), "msraction3d")
    assert (other.action, other.source.subject) == (None, "")


def test_an_inferred_joint_is_half_trusted(tmp_path):
    (clip,) = read(real3d(tmp_path, confidence=0.0))
    assert (clip.confidence == 0.5).all()
    (clip,) = read(real3d(tmp_path, confidence=1.0))
    assert (clip.confidence == 1).all()


def test_a_joint_at_the_origin_was_not_seen(tmp_path):
    (clip,) = read(edited(real3d(tmp_path), 3, "0 0 0 0"))
    assert clip.confidence[0, 0, 2] == 0
    assert np.count_nonzero(clip.confidence) == clip.confidence.size - 1


def test_pixels_and_depth_are_the_same_places(tmp_path):
    (clip,) = read(screen(tmp_path))
    np.testing.assert_allclose(clip.positions[0], standing("msraction3d_20"), atol=0.008)
    assert clip.source.space == "pixels and depth, +y up"


def test_a_pixel_that_overflowed_was_not_seen(tmp_path):
    (clip,) = read(edited(screen(tmp_path), 2, "150 2147483648 620 1"))
    assert clip.confidence[0, 0, 1] == 0
    assert np.abs(clip.positions).max() < 4


@pytest.mark.parametrize(
    ("number", "line", "says"),
    [
        (7, "1 2 3", "line 7: found 3 values, expected 4 numbers"),
        (7, "1 2 x 3", "line 7: found 'x', expected a number"),
        (60, "", "found 59 rows, expected a multiple of 20"),
    ],
)
def test_damage_is_named_by_its_line(tmp_path, number, line, says):
    with pytest.raises(FormatError) as error:
        read(edited(real3d(tmp_path), number, line))
    assert says in str(error.value)


def test_a_recording_of_nobody_is_refused(tmp_path):
    path = write_rows(tmp_path / "a13_s09_e02_skeleton3D.txt", np.zeros((40, 4)))
    with pytest.raises(FormatError, match="found no joint of anybody that was seen"):
        read(path)


def test_other_numbers_are_not_of_this_format(tmp_path):
    head = real3d(tmp_path).read_bytes()
    assert not msraction3d.sniff(Path("table.txt"), head)
    assert not msraction3d.sniff(Path("a01_s01_e01_skeleton3D.txt"), b"1 2 3\n" * 20)
    assert not msraction3d.sniff(Path("a01_s01_e01_skeleton.txt"), b"50 20\n40\n1 2 3 4\n")  # MSRDailyActivity3D


@pytest.mark.skipif(not (DATA / "msraction3d").is_dir(), reason=f"no real recordings in {DATA}")
def test_both_layouts_of_real_recordings_agree():
    files = sorted((DATA / "msraction3d").glob("screen*/*.txt"))
    assert len(files) == 24
    for path in files:
        (one,) = read(path)
        (other,) = read(DATA / "msraction3d" / "Real3D" / f"{path.stem}3D.txt")
        both = (one.confidence > 0) & (other.confidence > 0)
        assert both.mean() >= 0.6
        # Half a pixel and half a step of depth.
        far = np.abs(one.positions - other.positions)[both]
        assert far.max() < 0.012
