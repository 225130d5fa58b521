"""PKU-MMD files: recordings cut by labels, one or two persons."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, files_of, find_recordings, pkummd, read
from tests.skeletonllm.skeleton.formats.texts import edited, standing, write_rows


def recording(folder: Path, labels: str | None = None, name: str = "0002-M.txt") -> Path:
    one = standing("kinect_v2_25", 10).reshape(10, -1)
    two = one + 0.5
    two[:5] = 0  # the second person comes later
    if labels is not None:
        (folder / "label").mkdir()
        (folder / "label" / name).write_text(labels)
    return write_rows(folder / "skeleton" / name, np.c_[one, two])


def test_each_label_is_a_clip_with_its_own_persons(tmp_path):
    path = recording(tmp_path, "8,0,4,2\n16,5,9,1\n")
    assert detect(path).name == "pkummd"
    alone, both = read(path)
    assert (alone.clip_id, alone.action, alone.num_persons, alone.num_frames) == ("0002-M_001", "drink water", 1, 5)
    assert (both.clip_id, both.action, both.num_persons, both.num_frames) == (
        "0002-M_002",
        "hugging other person",
        2,
        5,
    )
    np.testing.assert_allclose(alone.positions[0], standing("kinect_v2_25", 10)[:5], atol=1e-5)
    np.testing.assert_allclose(both.positions[1], standing("kinect_v2_25", 10)[5:] + 0.5, atol=1e-5)
    assert (both.fps, both.source.camera) == (30, "M")


def test_without_labels_a_recording_is_one_clip(tmp_path):
    (clip,) = read(recording(tmp_path))
    assert (clip.clip_id, clip.action, clip.num_frames) == ("0002-M", None, 10)
    assert not clip.confidence[1, :5].any()
    assert clip.confidence[1, 5:].all()


def test_the_second_phase_has_other_names(tmp_path):
    (clip,) = read(recording(tmp_path, name="A01N02-L.txt"))
    assert clip.source.camera == "L"


def test_labels_belong_to_the_recording_and_are_none_themselves(tmp_path):
    path = recording(tmp_path, "8,0,4,2\n")
    assert files_of(path) == [tmp_path / "label" / "0002-M.txt", path]
    assert find_recordings(tmp_path) == [path]


def test_an_end_one_past_the_recording_is_its_last_frame(tmp_path):
    (clip,) = read(recording(tmp_path, "8,6,10,2\n"))
    assert clip.num_frames == 4


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("8;0;4;2\n", "label/0002-M.txt, line 1: found '8;0;4;2', expected action,start,end,confidence"),
        ("52,0,4,2\n", "line 1: found action 52, expected 1 to 51"),
        ("8,0,4,2\n8,5,11,2\n", "line 2: found frames 5 to 11, expected frames within the 10 of the recording"),
        ("8,4,3,2\n", "line 1: found frames 4 to 3"),
        ("\n", "found no label"),
        ("8,0,9,2\n" * 50, "line 5: found labels that overlap many times"),
        (f"8,0,{'9' * 400},2\n", "line 1: found"),
    ],
)
def test_a_damaged_label_is_named_by_its_line(tmp_path, labels, says):
    with pytest.raises(FormatError) as error:
        read(recording(tmp_path, labels))
    assert says in str(error.value)


def test_a_label_of_frames_in_which_nobody_is_seen_is_refused(tmp_path):
    path = recording(tmp_path, "8,0,1,2\n")
    zeros = " ".join(["0"] * 150)
    with pytest.raises(FormatError, match="frames 0 to 1: found no joint of anybody"):
        read(edited(edited(path, 1, zeros), 2, zeros))


def test_damage_is_named_by_its_line(tmp_path):
    with pytest.raises(FormatError, match="line 3: found 2 values, expected 150 numbers"):
        read(edited(recording(tmp_path), 3, "1 2"))
    assert not pkummd.sniff(Path("0002-M.txt"), b"1 " * 149 + b"\n")
    assert not pkummd.sniff(Path("0002-M.txt"), b"8,0,4,2\n")
