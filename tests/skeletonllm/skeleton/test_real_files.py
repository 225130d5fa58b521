"""Recordings of real people, where they are at hand: upright, of human size, and not mirrored."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import detect, find_recordings, read
from skeletonllm.skeleton.kinematics import body_size_m, canonicalise, point

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")

FOLDERS = {
    "ntu_skeleton": "ntu",
    "nwucla/all_sqe": "nwucla",
    "humanml3d/new_joints": "humanml3d",
    "bandai1/data": "bvh",
    "xia_bvh": "bvh",
    "aalto_bvh": "bvh",
    "games105_bvh": "bvh",
}


def some(folder: str, count: int = 8) -> list[Path]:
    files = find_recordings(DATA / folder) if (DATA / folder).is_dir() else []
    if not files:
        pytest.skip(f"no recordings in {DATA / folder}")
    return files[:: max(1, len(files) // count)][:count]


def height(clip: Clip, part: str, side: str = "center") -> float:
    path = point(clip, part, side)
    assert path is not None
    return float(np.median(path[0, :, 1]))


@pytest.mark.parametrize("folder", FOLDERS)
def test_people_stand_upright_and_are_of_human_size(folder):
    for path in some(folder):
        assert detect(path).name == FOLDERS[folder]
        for clip in read(path):
            assert height(clip, "head") > height(clip, "pelvis") > height(clip, "ankle", "left")
            assert 0.9 < body_size_m(clip) < 1.8, f"{path}: {body_size_m(clip):.2f} m from neck to ankle"
            assert 1 <= clip.num_frames < 2000
            assert 20 <= clip.fps <= 125


@pytest.mark.parametrize("folder", FOLDERS)
def test_people_walk_and_reach_to_where_they_face_with_their_left_at_plus_x(folder):
    left_of_right, toes_ahead = [], []
    for path in some(folder):
        clip = canonicalise(read(path)[0])
        left, right = point(clip, "shoulder", "left"), point(clip, "shoulder", "right")
        assert left is not None
        assert right is not None
        start = max(1, clip.num_frames // 5)
        left_of_right.append(float((left - right)[0, :start, 0].mean()))
        # Toes point ahead: a file whose sides were swapped would show them behind.
        for side in ("left", "right"):
            ankle = clip.topology.find("ankle", side)
            toes = [j for j, parent in enumerate(clip.topology.parents) if parent == ankle]
            if ankle is not None and toes:
                toes_ahead.append(
                    float((clip.positions[0, :start, toes[0]] - clip.positions[0, :start, ankle])[:, 2].mean())
                )
    assert min(left_of_right) > 0
    if toes_ahead:
        assert np.median(toes_ahead) > 0.01


def test_the_pushups_of_a_pose_estimator_are_read():
    path = DATA / "pyskl_derived" / "pushup_movenet_coco17.pkl"
    if not path.exists():
        pytest.skip(f"no {path}")
    clips = read(path)
    assert len(clips) == 205
    assert {clip.action for clip in clips} == {"label 0", "label 1"}
    assert all(clip.topology.dims == 2 and clip.num_persons == 1 for clip in clips)
    # A body in a push-up is longer than it is high.
    extents = [np.ptp(clip.positions[0, 0][clip.confidence[0, 0] > 0.3], axis=0) for clip in clips]
    assert np.median([extent[0] / extent[1] for extent in extents]) > 1


def test_the_same_recording_is_the_same_in_two_formats():
    text, pickled = (
        DATA / "ntu_skeleton" / "S001C001P001R001A001.skeleton",
        DATA / "pyskl_derived" / "ntu60_3danno_sample.pkl",
    )
    if not (text.exists() and pickled.exists()):
        pytest.skip("not both are here")
    (one,) = read(text)
    other = next(clip for clip in read(pickled) if clip.clip_id == one.clip_id)
    np.testing.assert_allclose(other.positions, one.positions, atol=0.005)  # float16


def test_a_real_caption_comes_with_its_clip():
    path = DATA / "humanml3d" / "new_joints" / "000000.npy"
    if not path.exists():
        pytest.skip(f"no {path}")
    (clip,) = read(path)
    assert clip.num_frames == 116
    assert "kick" in clip.captions[0]
    # He kicks with the left leg.
    left, right = point(clip, "ankle", "left"), point(clip, "ankle", "right")
    assert left is not None
    assert right is not None
    assert left[0, :, 1].max() > right[0, :, 1].max() + 0.1


def test_a_frame_count_that_is_known_is_found():
    path = DATA / "ntu_skeleton" / "S001C001P001R001A001.skeleton"
    if not path.exists():
        pytest.skip(f"no {path}")
    (clip,) = read(path)
    assert (clip.num_persons, clip.num_frames) == (1, 103)
