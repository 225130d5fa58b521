"""MediaPipe landmarks: arrays, folders of Holistic vectors, JSON; shares, pixels and metres."""

import json
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, detect, find_recordings, read
from skeletonllm.skeleton.kinematics import body_size_m, canonicalise, point

DATA = Path(__file__).parents[5] / "shared" / "data"
FPS = Declared(fps=30.0)


def standing(frames: int = 4) -> np.ndarray:
    """Metres from the middle of the hips, y down, z away: somebody facing the camera, their left at the right."""
    left = {7: (0.07, -0.68), 11: (0.18, -0.5), 13: (0.22, -0.25), 15: (0.23, 0), 23: (0.1, 0), 25: (0.1, 0.43)}
    left |= {27: (0.1, 0.85), 29: (0.1, 0.9), 31: (0.1, 0.9), 17: (0.23, 0.08), 19: (0.23, 0.08), 21: (0.22, 0.06)}
    points = np.zeros((33, 4))
    points[:11] = (0, -0.7, -0.1, 1)
    for joint, (x, y) in left.items():
        points[joint], points[joint + 1] = (x, y, 0, 1), (-x, y, 0, 1)
    points[(31, 32), 2] = -0.15  # toes to the camera
    return np.repeat(points[None], frames, 0)


def shares(points: np.ndarray, shape: float = 4 / 3) -> np.ndarray:
    """The same as shares of an image that is 2.4 m high."""
    image = points.copy()
    image[..., 0] = 0.5 + points[..., 0] / 2.4 / shape
    image[..., 1] = 0.45 + points[..., 1] / 2.4
    image[..., 2] = points[..., 2] / 2.4 / shape
    return image


def test_shares_world_metres_and_pixels_are_the_same_person(tmp_path):
    world = standing()
    pixels = world * (300, 300, 300, 1) + (320, 240, 0, 0)
    clips = []
    for name, points in (("shares", shares(world)), ("world", world), ("pixels", pixels)):
        np.save(tmp_path / f"{name}.npy", points.astype(np.float32))
        assert detect(tmp_path / f"{name}.npy").name == "mediapipe"
        clips += read(tmp_path / f"{name}.npy", declared=FPS)
    assert [clip.source.space.split(",")[0] for clip in clips] == [
        "shares of an image",
        "m from the middle of the hips",
        "px",
    ]
    for clip in clips:
        assert body_size_m(clip) == pytest.approx(1.4, rel=0.06)
        canonical = canonicalise(clip)
        np.testing.assert_allclose(canonical.positions, canonicalise(clips[1]).positions, atol=0.01)
        left, right = point(canonical, "shoulder", "left"), point(canonical, "shoulder", "right")
        assert left is not None
        assert right is not None
        assert left[0, 0, 0] > right[0, 0, 0]
        assert canonical.positions[0, 0, 31, 2] > canonical.positions[0, 0, 27, 2], "toes ahead"
        assert canonical.positions[0, 0, 0, 1] > 0 > canonical.positions[0, 0, 27, 1]


def test_without_visibility_all_are_seen_and_with_it_that_is_the_confidence(tmp_path):
    points = shares(standing())
    points[..., 3] = 0.25
    points[1] = 0
    np.save(tmp_path / "four.npy", points)
    np.save(tmp_path / "three.npy", points[..., :3])
    four, three = (read(tmp_path / f"{name}.npy", declared=FPS)[0] for name in ("four", "three"))
    assert set(four.confidence[:, (0, 2, 3)].flat) == {0.25}
    assert set(three.confidence[:, (0, 2, 3)].flat) == {1.0}
    assert not four.confidence[:, 1].any()
    assert not three.confidence[:, 1].any()


def test_a_folder_of_holistic_vectors_is_a_clip_whose_action_is_the_folder_above(tmp_path):
    folder = tmp_path / "MP_Data" / "hello" / "7"
    folder.mkdir(parents=True)
    for number, frame in enumerate(shares(standing(12))):
        vector = np.concatenate((frame.ravel() if number != 3 else np.zeros(132), np.full(1662 - 132, 9.0)))
        np.save(folder / f"{number}.npy", vector)
    assert detect(folder).name == "mediapipe_frames"
    assert find_recordings(tmp_path) == [folder]
    (clip,) = read(folder, declared=FPS)
    assert (clip.clip_id, clip.action, clip.num_frames) == ("hello_7", "hello", 12)
    assert np.flatnonzero(~clip.confidence[0].any(1)).tolist() == [3]
    assert clip.source.repetition == "7"
    np.save(folder / "12.npy", np.zeros(1661))
    with pytest.raises(FormatError, match=r"12\.npy, header: found shape \(1661,\)"):
        read(folder, declared=FPS)
    with pytest.raises(FormatError, match="expected a folder"):
        read(folder / "0.npy", "mediapipe_frames", FPS)


def as_json(points: np.ndarray) -> list:
    return [
        {"keypoints": [dict(zip(("x", "y", "z", "visibility"), p, strict=True)) for p in f]} for f in points.tolist()
    ]


def test_json_of_named_numbers_is_the_same_as_the_array(tmp_path):
    points = shares(standing())
    np.save(tmp_path / "a.npy", points)
    frames = as_json(points)
    frames[2] = {"keypoints": []}
    (tmp_path / "a.json").write_text(json.dumps(frames))
    assert detect(tmp_path / "a.json").name == "mediapipe_json"
    (one,), (other,) = (read(tmp_path / name, declared=FPS) for name in ("a.npy", "a.json"))
    np.testing.assert_allclose(one.positions[:, 0], other.positions[:, 0], atol=1e-6)
    assert not other.confidence[:, 2].any()


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], r"a list of frames"),
        ([3], r"frame 0, key 'keypoints': found 3"),
        ([{"keypoints": [{"x": 1}] * 32}], r"found 32 keypoints, expected 33, or none"),
        ([{"keypoints": [{"x": "a"}] * 33}], r"the numbers x, y, z, visibility"),
        ([{"keypoints": []}], r"no landmark in any frame"),
        ([{"keypoints": [{"x": 1e9, "y": 1, "z": 1, "visibility": 1}] * 33}], r"the number 1e\+09"),
    ],
)
def test_damaged_json_is_one_clear_error(tmp_path, frames, says):
    (tmp_path / "a.json").write_text(json.dumps(frames))
    with pytest.raises(FormatError, match=says):
        read(tmp_path / "a.json", "mediapipe_json", FPS)


def test_the_frame_rate_is_asked_for_and_nobody_is_an_error(tmp_path):
    np.save(tmp_path / "a.npy", shares(standing()))
    with pytest.raises(FormatError, match="give it with --fps"):
        read(tmp_path / "a.npy")
    for value, says in ((0.0, "no landmark"), (np.nan, "no landmark"), (1e30, r"the number 1e\+30")):
        np.save(tmp_path / "a.npy", np.full((3, 33, 4), value))
        with pytest.raises(FormatError, match=says):
            read(tmp_path / "a.npy", declared=FPS)


@pytest.mark.skipif(not (DATA / "mp_pose33_derived").is_dir(), reason=f"no recordings at {DATA}")
def test_the_real_files_are_what_the_manifest_says():
    entries = [e for e in json.loads((DATA / "MANIFEST.json").read_text()) if e["dataset"] == "mp_pose33_derived"]
    assert len(find_recordings(DATA / "mp_pose33_derived")) == len(entries)
    wide = []
    for entry in entries[::3]:
        (clip,) = read(DATA / entry["file"], declared=FPS)
        assert (clip.action, clip.num_frames) == (entry["label"], entry["n_frames"])
        assert entry["subject"].endswith(clip.source.subject)
        nose, hips = clip.positions[0, :, 0], clip.positions[0, :, 23:25].mean(1)
        assert (nose[:, 1] > hips[:, 1]).all()
        shoulders = clip.positions[0, :, 11] - clip.positions[0, :, 12]
        assert shoulders[:, 0].mean() > 0, "they face the camera, their left is at +x"
        trunk = np.linalg.norm((clip.positions[0, :, 11:13].mean(1) - hips)[:, :2], axis=-1)
        wide.append(np.median(np.linalg.norm(shoulders[:, :2], axis=-1) / trunk))
    assert 0.6 < np.median(wide) < 0.9, "broad as people are, which says that the image is 4:3"
