"""CAD-60 files: positions, orientations and their confidence, the last line, the labels."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import cad60, detect, files_of, read
from skeletonllm.skeleton.rotations import about, matrices
from tests.skeletonllm.skeleton.formats.texts import DATA, edited, standing, write_rows

TURN = about("y", np.array([0.4]))[0]


def rows(frames: int = 3) -> np.ndarray:
    places = 1000 * standing("cad60_15", frames)
    turned = np.concatenate(
        (np.tile(TURN.ravel(), (frames, 11, 1)), np.ones((frames, 11, 1)), places[:, :11], np.ones((frames, 11, 1))), -1
    )
    tips = np.concatenate((places[:, 11:], np.ones((frames, 4, 1))), -1)
    return np.c_[1 + np.arange(frames), turned.reshape(frames, -1), tips.reshape(frames, -1)]


def recording(folder: Path, table: np.ndarray | None = None, last: str = "END\n") -> Path:
    path = write_rows(folder / "0512164529.txt", rows() if table is None else table, ",", ",")
    path.write_text(path.read_text() + last)
    return path


@pytest.mark.parametrize("last", ["END\n", "END", ""])
def test_positions_and_orientations_are_read_with_and_without_the_last_line(tmp_path, last):
    path = recording(tmp_path, last=last)
    assert detect(path).name == "cad60"
    (clip,) = read(path)
    np.testing.assert_allclose(clip.positions[0], standing("cad60_15"), atol=1e-5)
    assert clip.rotations is not None
    np.testing.assert_allclose(matrices(clip.rotations[0, 1, 3]), TURN, atol=1e-6)
    assert not clip.rotations[:, :, 11:].any()
    assert (clip.fps, clip.source.space) == (30, "mm, +y up")


def test_what_has_confidence_0_is_not_kept(tmp_path):
    table = rows()
    table[1, 1 + 14 * 3 + 9] = 0  # orientation of joint 3
    table[1, 1 + 14 * 3 + 13] = 0  # its position
    (clip,) = read(recording(tmp_path, table))
    assert clip.rotations is not None
    assert not clip.rotations[0, 1, 3].any()
    assert clip.confidence[0, 1, 3] == 0
    assert np.count_nonzero(clip.confidence) == clip.confidence.size - 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300, 0.0, -5.0])
def test_a_matrix_that_is_no_rotation_is_left_out(tmp_path, value):
    table = rows()
    table[0, 1:10] = value
    (clip,) = read(recording(tmp_path, table))
    assert clip.rotations is not None
    assert np.isfinite(clip.rotations).all()
    assert not clip.rotations[0, 0, 0].any()
    assert clip.rotations[0, 1, 0].any()


@pytest.mark.parametrize(
    ("line", "folder", "subject"),
    [
        ("0512164529,brushing teeth,", "data3", "S3"),
        ("0512164529,brushing teeth,Subject1,1:cup,", "taking_food", "S1"),
    ],
)
def test_the_labels_say_the_activity(tmp_path, line, folder, subject):
    path = recording(tmp_path / folder)
    (path.parent / "activityLabel.txt").write_text(f"0510160858,still,\n{line}\nEND\n")
    (clip,) = read(path)
    assert (clip.action, clip.source.subject) == ("brushing teeth", subject)
    assert files_of(path) == [path, path.parent / "activityLabel.txt"]


def test_damage_is_named_by_its_line(tmp_path):
    with pytest.raises(FormatError, match="line 2: found 3 values, expected 171 numbers"):
        read(edited(recording(tmp_path), 2, "1,2,3,"))
    path = recording(tmp_path)
    with pytest.raises(FormatError, match="line 2: found 1 values, expected 171 numbers"):
        read(edited(path, 2, "END"))


def test_other_numbers_are_not_of_this_format():
    assert not cad60.sniff(Path("0512164529.txt"), b"1 " * 171)
    assert not cad60.sniff(Path("activityLabel.txt"), b"0512164529,brushing teeth,\n")


@pytest.mark.skipif(not (DATA / "cad60").is_dir(), reason=f"no real recordings in {DATA}")
def test_the_orientations_of_real_recordings_carry_the_bones():
    for path in sorted((DATA / "cad60").glob("*.txt")):
        (clip,) = read(path)
        assert clip.rotations is not None
        names = clip.topology.joint_names
        # In the frame of its joint a bone of the trunk or a thigh stays where it is.
        for joint, end in (("torso", "neck"), ("torso", "shoulder_left"), ("hip_left", "knee_left")):
            at, to = names.index(joint), names.index(end)
            given = np.linalg.norm(clip.rotations[0, :, at], axis=-1) > 0.5
            assert given.all()
            bone = clip.positions[0, :, to] - clip.positions[0, :, at]
            local = np.einsum("fba,fb->fa", matrices(clip.rotations[0, :, at]), bone)
            assert local.std(0).max() < 0.001
