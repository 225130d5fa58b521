"""OpenPose folders: frames from names, several videos, both body models, shares of the image, damage."""

import json

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, detect, find_recordings, read

FPS = Declared(fps=25.0)


def body(x: float, joints: int = 25, scale: float = 1.0) -> dict:
    """Somebody around `x`, the joints from top to bottom; joint 3 is not seen."""
    points = np.column_stack((x + np.linspace(0, 60, joints), np.linspace(100, 400, joints), np.full(joints, 0.9)))
    points[3] = 0
    points[:, :2] *= scale
    return {
        "person_id": [-1],
        "pose_keypoints_2d": points.ravel().tolist(),
        "face_keypoints_2d": [1, 2, 3],
        "hand_left_keypoints_2d": [],
    }


def saved(folder, number: int, people: list, prefix: str = "walk_"):
    folder.mkdir(exist_ok=True)
    path = folder / f"{prefix}{number:012d}_keypoints.json"
    path.write_text(json.dumps({"version": 1.3, "people": people}))
    return path


def test_a_folder_is_one_video_and_missing_frames_are_frames_of_nobody(tmp_path):
    folder = tmp_path / "video"
    for number in (5, 6, 9):
        saved(folder, number, [body(300), body(50)] if number != 6 else [body(50), body(300)])
    saved(folder, 7, [])
    assert detect(folder).name == "openpose"
    assert find_recordings(tmp_path) == [folder]
    (clip,) = read(folder, declared=FPS)
    assert (clip.clip_id, clip.fps, clip.topology.name) == ("walk", 25.0, "openpose_25")
    assert (clip.action, clip.source.fps_from) == (None, "declared")
    assert clip.positions.shape == (2, 5, 25, 3)
    assert (clip.confidence[0] > 0).any(1).tolist() == [True, True, False, False, True]
    assert clip.confidence[0, 0, 0] == np.float32(0.9)
    assert not clip.confidence[:, :, 3].any()
    np.testing.assert_array_equal(clip.positions[:, 0], clip.positions[:, 1])
    assert clip.positions[0, 0, 0, 1] > clip.positions[0, 0, 24, 1]


def test_several_prefixes_are_several_clips_and_the_model_of_18_joints_is_known(tmp_path):
    for prefix in ("b_", "a_", ""):
        for number in (0, 1):
            saved(tmp_path / "v", number, [body(10, 18)], prefix)
    clips = read(tmp_path / "v", declared=FPS)
    assert [clip.clip_id for clip in clips] == ["v", "a", "b"]
    assert {clip.topology.name for clip in clips} == {"openpose_18"}


def test_shares_of_the_image_are_the_same_clip_as_pixels(tmp_path):
    saved(tmp_path / "px", 0, [body(100)])
    shares = body(100)
    flat = np.array(shares["pose_keypoints_2d"]).reshape(25, 3)
    flat[:, :2] /= (1280, 720)
    saved(tmp_path / "shares", 0, [{"pose_keypoints_2d": flat.ravel().tolist()}])
    (one,), (other,) = (read(tmp_path / name, declared=FPS) for name in ("px", "shares"))
    moved = one.positions - one.positions[:, :, :1], other.positions - other.positions[:, :, :1]
    seen = one.confidence > 0
    np.testing.assert_allclose(moved[0][seen], moved[1][seen], atol=1e-5)
    assert "16:9" in other.source.space


def test_the_frame_rate_is_asked_for(tmp_path):
    saved(tmp_path / "v", 0, [body(10)])
    with pytest.raises(FormatError, match="give it with --fps"):
        read(tmp_path / "v")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", r"no JSON"),
        ('{"people": 3}', r"key 'people': found 3"),
        ('{"people": [3]}', r"person 0, key 'pose_keypoints_2d'"),
        ('{"people": [{"pose_keypoints_2d": [1, 2, 3]}]}', r"expected 75 or 54 numbers"),
        ('{"people": [{"pose_keypoints_2d": "abc"}]}', r"person 0"),
        (json.dumps({"people": [body(0, 18)]}), r"openpose_18, expected openpose_25"),
        (json.dumps({"people": [body(0), body(0, 18)]}), r"person 1.*found 54 numbers, expected 75"),
    ],
)
def test_damage_is_named_by_its_file(tmp_path, content, says):
    saved(tmp_path / "v", 0, [body(10)])
    bad = saved(tmp_path / "v", 1, [])
    bad.write_text(content)
    with pytest.raises(FormatError, match=says) as error:
        read(tmp_path / "v", declared=FPS)
    assert str(error.value).startswith(str(bad))


def test_other_trouble_is_one_clear_error(tmp_path):
    file = saved(tmp_path / "v", 0, [])
    with pytest.raises(FormatError, match="nobody in any frame"):
        read(tmp_path / "v", declared=FPS)
    saved(tmp_path / "v", 10**11, [body(10)])
    with pytest.raises(FormatError, match="only 2 of them"):
        read(tmp_path / "v", declared=FPS)
    saved(tmp_path / "w", 1, [])
    (tmp_path / "w" / "walk_1_keypoints.json").write_text("{}")
    with pytest.raises(FormatError, match="frame 1 twice"):
        read(tmp_path / "w", "openpose", FPS)
    with pytest.raises(FormatError, match="expected a folder"):
        read(file, "openpose", FPS)
    (tmp_path / "x").mkdir()
    with pytest.raises(FormatError, match="no file named"):
        read(tmp_path / "x", "openpose", FPS)
