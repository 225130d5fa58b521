"""NTU recordings as the txt2npy script saves them."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, read

DATA = Path(__file__).parents[5] / "shared" / "data"


def saved(folder, bodies=(1.0,), **changes):
    rng = np.random.default_rng(0)
    content = {"file_name": "S001C002P003R002A007", "nbodys": [len(bodies)] * 6, "njoints": 25}
    content |= {f"skel_body{n}": 2 + rng.normal(0, spread, (6, 25, 3)) for n, spread in enumerate(bodies)}
    path = folder / "S001C002P003R002A007.skeleton.npy"
    np.save(path, {**content, **changes}, allow_pickle=True)  # pyright: ignore[reportArgumentType]
    return path


def test_bodies_in_metres_are_kept_and_the_name_is_understood(tmp_path):
    path = saved(tmp_path)
    assert detect(path).name == "ntu_npy"
    (clip,) = read(path)
    assert (clip.clip_id, clip.topology.name, clip.fps) == ("S001C002P003R002A007", "kinect_v2_25", 30.0)
    assert (clip.source.subject, clip.source.camera, clip.source.repetition) == ("P003", "2", "2")
    held = np.load(path, allow_pickle=True).item()
    np.testing.assert_array_equal(clip.positions[0], held["skel_body0"].astype(np.float32))


def test_of_three_bodies_the_two_who_move_most_are_kept_and_zeros_are_not_seen(tmp_path):
    path = saved(tmp_path, (0.1, 0.01, 1.0), extra=np.zeros(3))
    held = np.load(path, allow_pickle=True).item()
    held["skel_body2"][:2] = 0
    np.save(path, held, allow_pickle=True)
    (clip,) = read(path)
    assert clip.num_persons == 2
    np.testing.assert_array_equal(clip.positions[0], held["skel_body2"].astype(np.float32))
    np.testing.assert_array_equal(clip.confidence[0].any(1), [False, False, True, True, True, True])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"skel_body0": np.zeros((6, 24, 3))}, r"key 'skel_body0': found shape \(6, 24, 3\)"),
        ({"skel_body0": "a"}, r"key 'skel_body0': found 'a'"),
        ({"skel_body0": np.zeros((6, 25, 3))}, r"no joint of anybody"),
        ({"skel_body0": np.full((6, 25, 3), 1e200)}, r"found the number 1e\+200"),
        ({"skel_body0": np.zeros((0, 25, 3))}, r"found 0 frames"),
        ({"skel_body1": np.ones((5, 25, 3))}, r"bodies of \[6, 5\] frames"),
    ],
)
def test_damage_is_one_clear_error(tmp_path, changes, says):
    with pytest.raises(FormatError, match=says):
        read(saved(tmp_path, **changes))


class Touch:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_what_would_run_something_or_is_something_else_is_refused(tmp_path):
    with pytest.raises(FormatError, match="asks for"):
        read(saved(tmp_path, skel_body0=Touch(tmp_path / "ran")))
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FormatError, match="expected 'skel_body0'"):
        read(saved(tmp_path, bodies=()))
    np.save(tmp_path / "a.npy", np.array([{"file_name": 1, "njoints": 2}], object), allow_pickle=True)
    with pytest.raises(FormatError, match="one dictionary"):
        read(tmp_path / "a.npy")


@pytest.mark.skipif(not (DATA / "ntu_npy").is_dir(), reason=f"no recordings at {DATA}")
def test_the_real_file_is_the_recording_of_the_text_file():
    (path,) = (DATA / "ntu_npy").glob("*.npy")
    (entry,) = (e for e in json.loads((DATA / "MANIFEST.json").read_text()) if e["dataset"] == "ntu_npy")
    (clip,) = read(path)
    assert clip.source.subject == entry["subject"]
    text = DATA / "ntu_skeleton" / f"{clip.clip_id}.skeleton"
    if text.exists():
        np.testing.assert_allclose(clip.positions, read(text)[0].positions, atol=1e-4)
