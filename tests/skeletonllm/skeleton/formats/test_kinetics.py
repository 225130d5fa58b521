"""Kinetics-skeleton JSON: persons linked over frames, missing joints, empty frames, damage."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, detect, find_recordings, kinetics, read

DATA = Path(__file__).parents[5] / "shared" / "data"


def skeleton(x: float, score: float = 0.8) -> dict:
    """Somebody of 18 joints around `x`; joint 4 is not seen."""
    pose = np.column_stack((x + np.linspace(0, 0.1, 18), np.linspace(0.2, 0.9, 18)))
    scores = np.full(18, score)
    pose[4], scores[4] = 0, 0
    return {"pose": pose.ravel().round(3).tolist(), "score": scores.tolist()}


def saved(folder, frames, **more):
    path = folder / "-abc.json"
    data = [{"frame_index": n, "skeleton": people} for n, people in frames]
    path.write_text(json.dumps({"data": data, "label": "waving", "label_index": 3, **more}))
    return path


def test_a_clip_has_its_label_and_its_persons_keep_their_identity(tmp_path):
    frames = [(n, [skeleton(0.1), skeleton(0.7, 0.6)][:: 1 if n % 2 else -1]) for n in range(1, 9)]
    path = saved(tmp_path, [*frames[:3], (4, []), *frames[4:]])
    assert detect(path).name == "kinetics"
    (clip,) = read(path)
    assert (clip.clip_id, clip.action, clip.fps, clip.topology.name) == ("-abc", "waving", 30.0, "openpose_18")
    assert clip.positions.shape == (2, 8, 18, 3)
    assert clip.confidence[0].max() == np.float32(0.8)
    assert not clip.confidence[:, 3].any(), "nobody in frame 4"
    assert not clip.confidence[:, :, 4].any()
    seen = clip.confidence[0, :, 0] > 0
    assert np.ptp(clip.positions[0, seen, 0, 0]) < 1e-6
    assert clip.positions[0, 0, 0, 0] < clip.positions[1, 0, 0, 0]
    assert clip.positions[0, 0, 0, 1] > clip.positions[0, 0, 13, 1], "y is up"


def test_frames_before_the_first_one_listed_are_frames_too(tmp_path):
    (clip,) = read(saved(tmp_path, [(5, [skeleton(0.1)]), (7, [])]))
    assert clip.num_frames == 7
    assert clip.confidence.any((0, 2)).tolist() == [False] * 4 + [True, False, False]


def test_lists_of_labels_are_no_recordings(tmp_path):
    saved(tmp_path, [(1, [skeleton(0.1)])])
    labels = {"-abc": {"has_skeleton": True, "label": "waving", "label_index": 3}}
    (tmp_path / "kinetics_val_label.json").write_text(json.dumps(labels))
    assert [path.name for path in find_recordings(tmp_path)] == ["-abc.json"]


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], r"no joint of anybody"),
        ([(1, [])], r"no joint of anybody"),
        ([(1, [skeleton(0.1)]), (1, [])], r"frame 1: found frame_index 1 twice"),
        ([("1", [])], r"frame 0: found .*'frame_index', a whole number"),
        ([(1, None)], r"'skeleton', a list"),
        ([(1, ["a"])], r"frame 0, person 0: found 'a'"),
        ([(1, [{"pose": [1, 2], "score": [1]}])], r"expected 36 numbers and 18 scores"),
        ([(1, [{"pose": ["x"] * 36, "score": [1] * 18}])], r"key 'pose': found"),
        ([(1, [{**skeleton(0.1), "pose": [1e300] * 36}])], r"the number 1e\+300"),
        ([(1, [skeleton(0.1)]), (10**9, [])], r"frames 1 to 1000000000"),
        ([(-5, [skeleton(0.1)])], r"frames -5 to 1"),
    ],
)
def test_damage_is_one_clear_error(tmp_path, frames, says):
    with pytest.raises(FormatError, match=says):
        kinetics.read(saved(tmp_path, frames), Declared())


def test_a_label_that_is_no_text_is_an_error(tmp_path):
    with pytest.raises(FormatError, match="key 'label': found 3"):
        read(saved(tmp_path, [(1, [skeleton(0.1)])], label=3))


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 99), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_a_cut_or_flipped_file_is_a_format_error_or_a_clip(tmp_path_factory, cut, flips):
    path = saved(tmp_path_factory.mktemp("kinetics"), [(n, [skeleton(0.1)]) for n in (1, 2, 3)])
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(bytes(data[: len(data) - cut * len(data) // 400]))
    kinetics.sniff(path, bytes(data[:4096]))
    try:
        (clip,) = kinetics.read(path, Declared())
    except FormatError:
        return
    assert np.isfinite(clip.positions).all()


@pytest.mark.skipif(not (DATA / "kinetics_skeleton").is_dir(), reason=f"no recordings at {DATA}")
def test_the_real_files_are_what_the_manifest_says():
    entries = {
        DATA / e["file"]: e
        for e in json.loads((DATA / "MANIFEST.json").read_text())
        if e["dataset"] == "kinetics_skeleton" and e["format"] == "kinetics.json"
    }
    assert sorted(entries) == find_recordings(DATA / "kinetics_skeleton")
    for path, entry in entries.items():
        (clip,) = read(path)
        assert (clip.action, clip.num_frames, clip.fps) == (entry["label"], entry["n_frames"], entry["fps"])
        assert clip.topology.num_joints == entry["joints"]
        assert clip.num_persons == min(2, entry["max_bodies"])
