"""NW-UCLA files: round trip and damage, in JSON and in the original text."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, files_of, find_recordings, nwucla, read
from tests.makers import make_clip
from tests.skeletonllm.skeleton.formats.texts import standing


@settings(max_examples=15)
@given(frames=st.integers(1, 20), seed=st.integers(0, 1000))
def test_what_is_written_is_read_back(tmp_path_factory, frames, seed):
    clip = make_clip("a", num_frames=frames, seed=seed)
    path = tmp_path_factory.mktemp("nwucla") / "a05_s06_e03_v02.json"
    nwucla.write(clip, path, label=5)
    (back,) = read(path)
    np.testing.assert_allclose(back.positions, clip.positions, rtol=1e-5, atol=1e-6)
    assert (back.source.subject, back.source.camera) == ("S06", "2")
    assert (back.fps, back.action) == (30, "sit down")


def test_a_joint_at_the_origin_was_not_seen(tmp_path):
    clip = make_clip()
    positions = clip.positions.copy()
    positions[0, 3, 7] = 0
    nwucla.write(make_clip(positions=positions), tmp_path / "a.json")
    (back,) = read(tmp_path / "a.json")
    assert back.confidence[0, 3, 7] == 0
    assert back.confidence.sum() == back.confidence.size - 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"skeletons": [[[0, 1', "no JSON"),
        ('{"skeletons": 3}', "key 'skeletons': found 3"),
        ('{"skeletons": []}', "expected a list of frames"),
        (json.dumps({"skeletons": [[[1, 2, 3]] * 19]}), "frame 0: found 19 joints, expected 20"),
        (json.dumps({"skeletons": [[[1, 2, 3]] * 19 + [[1, 2]]]}), "frame 0, joint 19"),
        (json.dumps({"skeletons": [[[1, 2, 3]] * 19 + [[1, 2, "x"]]]}), "frame 0, joint 19"),
        (json.dumps({"skeletons": [[[0, 0, 0]] * 20]}), "no joint of anybody that was seen"),
        ('{"skeletons": [[[1' + "0" * 5000, "no JSON"),
        (json.dumps({"skeletons": [[[10**400, 0, 0]] * 20]}), "numbers that do not fit"),
        (json.dumps({"skeletons": [[[1e300, 0, 0]] * 20]}), "a joint 1e+300 m from the origin"),
        ('{"skeletons": ' + "[" * 20000, "no JSON"),
    ],
)
def test_damage_is_named(tmp_path, content, says):
    path = tmp_path / "a01_s01_e00_v01.json"
    path.write_text(content)
    with pytest.raises(FormatError) as error:
        read(path)
    assert says in str(error.value)


def text_folder(folder: Path, frames: int = 3) -> Path:
    """A clip in the original layout; nobody is seen in the last frame, two are in the second."""
    clip = folder / "view_2" / "a08_s03_e01"
    clip.mkdir(parents=True)
    (clip / "fileList.txt").write_text("".join(f"{9 + number} 0 {1000 + 33 * number}\n" for number in range(frames)))
    for number, joints in enumerate(standing("kinect_v1_20", frames)):
        lines = [f"{x:.6f},{y:.6f},{z:.6f},{2 - (joint == 4)}" for joint, (x, y, z) in enumerate(joints)]
        body = "1\n" + "\n".join(lines) + "\n"
        text = "" if number == frames - 1 else body * (1 + (number == 1))
        (clip / f"frame_{9 + number}_tc_{1000 + 33 * number}_skeletons.txt").write_text(text)
    return clip


def test_the_original_text_layout_is_a_folder_per_clip(tmp_path):
    folder = text_folder(tmp_path)
    assert detect(folder).name == "nwucla_text"
    assert find_recordings(tmp_path) == [folder]
    (clip,) = read(folder)
    assert (clip.clip_id, clip.action) == ("a08_s03_e01_v02", "donning")
    assert (clip.source.subject, clip.source.camera, clip.source.repetition) == ("S03", "2", "1")
    # Frame 10 comes after frame 9, whatever the order of names.
    np.testing.assert_allclose(clip.positions[0, :2], standing("kinect_v1_20")[:2], atol=1e-5)
    assert clip.confidence[0, 0].tolist() == [1.0] * 4 + [0.5] + [1.0] * 15
    assert not clip.confidence[0, 2].any()
    assert len(files_of(folder)) == 4


def test_the_original_text_layout_is_found_without_its_list(tmp_path):
    folder = text_folder(tmp_path)
    (folder / "fileList.txt").unlink()
    assert detect(folder).name == "nwucla_text"


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["1", "0.1,0.2,0.3"], "line 2: found 3 values, expected x,y,z,state of a joint"),
        (["1", "0.1,0.2,0.3,2"], "line 2: found 1 joints, expected 20 joints"),
        (["1", *["0.1,0.2,x,2"] * 20], "lines 2 to 21: found a word, expected four numbers"),
    ],
)
def test_damage_in_the_original_text_layout_is_named(tmp_path, lines, says):
    folder = text_folder(tmp_path)
    (folder / "frame_9_tc_1000_skeletons.txt").write_text("\n".join(lines))
    with pytest.raises(FormatError) as error:
        read(folder)
    assert says in str(error.value)
    assert "frame_9_tc_1000_skeletons.txt" in str(error.value)


def test_a_folder_without_frames_is_no_clip(tmp_path):
    with pytest.raises(FormatError, match="found no file of a frame"):
        read(tmp_path, "nwucla_text")
