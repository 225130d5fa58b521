"""MSRC-12 files: rows before anybody is found, tracking, tags."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, files_of, find_recordings, msrc12, read
from tests.skeletonllm.skeleton.formats.texts import DATA, edited, standing, write_rows

TAGS = "XQPCTick;Tag\n32066000000;G12 Kick\n32266000000;G12 Kick\n"


def recording(folder: Path, name: str = "P2_1_12A_p08.csv") -> Path:
    places = standing("kinect_v1_20", 4)
    rows = np.concatenate((places, np.ones((4, 20, 1))), -1).reshape(4, -1)
    rows[:2] = 0
    rows[2, 3] = 0  # the first joint was inferred
    return write_rows(folder / name, np.c_[642926216 + 33333 * np.arange(4), rows])


def test_frames_before_anybody_is_found_are_kept_unseen(tmp_path):
    path = recording(tmp_path)
    assert detect(path).name == "msrc12"
    (clip,) = read(path)
    assert clip.num_frames == 4
    assert not clip.confidence[0, :2].any()
    assert clip.confidence[0, 2, 0] == 0.5
    assert (clip.confidence[0, 3] == 1).all()
    np.testing.assert_allclose(clip.positions[0, 2:], standing("kinect_v1_20", 4)[2:], atol=1e-5)
    assert (clip.fps, clip.source.fps_from) == (30, "format")


def test_the_name_says_gesture_and_subject(tmp_path):
    (clip,) = read(recording(tmp_path))
    assert (clip.action, clip.source.subject) == ("kick", "P08")
    (other,) = read(recording(tmp_path, "mine.csv"))
    assert (other.action, other.source.subject) == (None, "")


def test_the_tags_win_over_the_name_and_belong_to_the_recording(tmp_path):
    path = recording(tmp_path, "P1_1_1_p06.csv")
    tags = path.with_suffix(".tagstream")
    tags.write_text(TAGS)
    (clip,) = read(path)
    assert clip.action == "kick"
    assert files_of(path) == [path, tags]
    assert find_recordings(tmp_path) == [path]
    tags.write_text(TAGS + "32366000000;G1  lift outstretched arms\n")
    (clip,) = read(path)
    assert clip.action is None  # two gestures, no single class


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tick,tag\n", "line 1: found 'tick,tag', expected XQPCTick;Tag"),
        ("XQPCTick;Tag\n12;Kick\n", "line 2: found '12;Kick', expected tick;G1"),
    ],
)
def test_damaged_tags_are_named_by_their_line(tmp_path, text, says):
    path = recording(tmp_path)
    path.with_suffix(".tagstream").write_text(text)
    with pytest.raises(FormatError) as error:
        read(path)
    assert says in str(error.value)


def test_damage_is_named_by_its_line(tmp_path):
    with pytest.raises(FormatError, match="line 3: found 2 values, expected 81 numbers"):
        read(edited(recording(tmp_path), 3, "1 2"))


def test_other_tables_are_not_of_this_format():
    assert not msrc12.sniff(Path("a.csv"), b"0.5 " * 81 + b"\n")
    assert not msrc12.sniff(Path("a.csv"), b"1," * 81 + b"\n")
    assert not msrc12.sniff(Path("labels.csv"), b"clip_id,action\n")


@pytest.mark.skipif(not (DATA / "msrc12").is_dir(), reason=f"no real recordings in {DATA}")
def test_both_arms_of_a_real_person_are_lifted():
    (clip,) = read(DATA / "msrc12" / "P1_1_1_p06.csv")
    assert clip.action == "lift outstretched arms"
    assert not clip.confidence[0, :20].any()
    assert clip.confidence[0, 20:].all()
    names = clip.topology.joint_names
    head = clip.positions[0, 20:, names.index("head"), 1]
    for side in ("left", "right"):
        over = clip.positions[0, 20:, names.index(f"hand_{side}"), 1] > head
        # About ten times up and down.
        assert 8 <= np.count_nonzero(np.diff(over.astype(int)) == 1) <= 14
