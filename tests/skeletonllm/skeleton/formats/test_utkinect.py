"""UTKinect files: cut by labels, timed by their indices."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, files_of, find_recordings, read, utkinect
from tests.skeletonllm.skeleton.formats.texts import edited, standing, write_rows

LABELS = "s01_e01\nwalk: 252 260\nsitDown:  264 270 \ncarry: NaN NaN\n\ns01_e02\nwalk: 1 2\n"


def recording(folder: Path, index=(252, 254, 254, 258, 260, 264, 270, 272)) -> Path:
    places = standing("kinect_v1_20", len(index)).reshape(len(index), -1)
    return write_rows(folder / "joints_s01_e01.txt", np.c_[index, places], sep="  ")


def labelled(folder: Path, text: str = LABELS) -> Path:
    path = recording(folder)
    (folder / "actionLabel.txt").write_text(text)
    return path


def test_without_labels_a_recording_is_one_clip(tmp_path):
    path = recording(tmp_path)
    assert detect(path).name == "utkinect"
    (clip,) = read(path)
    assert (clip.clip_id, clip.action, clip.num_frames) == ("joints_s01_e01", None, 7)
    assert (clip.source.subject, clip.source.repetition) == ("S01", "1")
    np.testing.assert_allclose(clip.positions[0, 0], standing("kinect_v1_20")[0], atol=1e-5)


def test_each_label_is_a_clip_and_its_range_holds_both_ends(tmp_path):
    clips = read(labelled(tmp_path))
    assert [(clip.clip_id, clip.action) for clip in clips] == [
        ("s01_e01_walk", "walk"),
        ("s01_e01_sitDown", "sit down"),
    ]
    assert [clip.num_frames for clip in clips] == [4, 2]


def test_of_two_rows_with_one_index_the_first_is_kept(tmp_path):
    (clip,) = read(recording(tmp_path))
    places = standing("kinect_v1_20", 8)
    np.testing.assert_allclose(clip.positions[0, 1:3], places[[1, 3]], atol=1e-5)


def test_the_rate_is_that_of_the_rows_by_their_indices(tmp_path):
    walk, sit = read(labelled(tmp_path))
    assert walk.fps == pytest.approx(3 * 60 / 8)
    assert sit.fps == pytest.approx(60 / 6)
    assert walk.source.fps_from == "file"
    (one,) = read(labelled(tmp_path, "s01_e01\nwalk: 252 253\n"))
    assert (one.num_frames, one.fps, one.source.fps_from) == (1, 15, "format")


def test_labels_may_lie_in_the_folder_above_and_belong_to_the_recording(tmp_path):
    path = recording(tmp_path / "joints")
    (tmp_path / "actionLabel.txt").write_text(LABELS)
    assert len(read(path)) == 2
    assert files_of(path) == [tmp_path / "actionLabel.txt", path]
    assert find_recordings(tmp_path) == [path]


def test_a_recording_that_no_label_speaks_of_is_one_clip(tmp_path):
    (clip,) = read(labelled(tmp_path, "s02_e01\nwalk: 1 2\n"))
    assert clip.action is None


def test_a_row_of_nan_is_a_frame_in_which_nobody_is_seen(tmp_path):
    path = edited(recording(tmp_path), 2, " ".join(["254"] + ["NaN"] * 60))
    (clip,) = read(path)
    assert not clip.confidence[0, 1].any()
    assert clip.confidence[0, 0].all()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s01_e01\nwalk 252 260\n", "actionLabel.txt, line 2: found 'walk 252 260', expected name: first last"),
        ("s01_e01\nfly: 252 260\n", "line 2: found 'fly: 252 260'"),
        ("s01_e01\nwalk: 1 9\n", "line 2: found walk: 1 to 9, expected rows of joints_s01_e01.txt with indices 252"),
        ("s01_e01\nwalk: 252 254\nwalk: 252 254\n", "line 3: found walk again"),
    ],
)
def test_a_damaged_label_is_named_by_its_line(tmp_path, text, says):
    with pytest.raises(FormatError) as error:
        read(labelled(tmp_path, text))
    assert says in str(error.value)


@pytest.mark.parametrize("index", ["250", "nan", "inf", "256.5", "-1"])
def test_an_index_that_cannot_be_is_named_by_its_row(tmp_path, index):
    path = recording(tmp_path)
    line = path.read_text().split("\n")[2]
    with pytest.raises(FormatError, match=r"row 3: found frame index"):
        read(edited(path, 3, f"{index} {line.split(maxsplit=1)[1]}"))


def test_other_numbers_are_not_of_this_format():
    assert not utkinect.sniff(Path("a.txt"), b"1 " * 60 + b"\n")
    assert not utkinect.sniff(Path("a.txt"), b"1 " + b"300 " * 60 + b"\n")
    assert not utkinect.sniff(Path("actionLabel.txt"), LABELS.encode())
