"""pyskl pickles: round trip, numpy 1 and 2, damage, and pickles that would run something."""

import os
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, pyskl, read
from skeletonllm.skeleton.kinematics import canonicalise
from tests.makers import make_clip


def annotation(num_frames: int = 5, **changes) -> dict:
    rng = np.random.default_rng(0)
    values = {
        "frame_dir": "c0",
        "label": 3,
        "img_shape": (1080, 1920),
        "original_shape": (1080, 1920),
        "total_frames": num_frames,
        "keypoint": rng.uniform(100, 900, (1, num_frames, 17, 2)).astype(np.float16),
        "keypoint_score": np.ones((1, num_frames, 17), np.float16),
    }
    return {**values, **changes}


def saved(path, *annotations, protocol: int = 4):
    path.write_bytes(pickle.dumps({"split": {}, "annotations": list(annotations)}, protocol=protocol))
    return path


@settings(max_examples=15)
@given(persons=st.integers(1, 2), frames=st.integers(1, 10), seed=st.integers(0, 1000))
def test_what_is_written_is_read_back(tmp_path_factory, persons, frames, seed):
    clips = [make_clip(f"c{n}", "coco_17", persons, frames, seed=seed + n) for n in range(2)]
    path = tmp_path_factory.mktemp("pyskl") / "all.pkl"
    pyskl.write(clips, path, [4, 7], px_per_m=150.0)
    back = read(path)
    assert [clip.clip_id for clip in back] == ["c0", "c1"]
    assert [clip.action for clip in back] == ["label 4", "label 7"]
    for clip, one in zip(clips, back, strict=True):
        # Pixels carry no scale, so the canonical forms are what must agree; float16 leaves about half a pixel.
        np.testing.assert_allclose(canonicalise(one).positions, canonicalise(clip).positions, atol=0.03)
        assert not one.positions[..., 2].any()


def test_the_left_of_a_person_who_faces_the_camera_is_at_the_right_of_the_image(tmp_path):
    keypoints = np.full((1, 1, 17, 2), 500, np.float16)
    keypoints[0, 0, 5] = (700, 300)  # left shoulder: right in the image, above the hips
    (clip,) = read(
        saved(tmp_path / "a.pkl", annotation(1, keypoint=keypoints, keypoint_score=np.ones((1, 1, 17), np.float16)))
    )
    shoulder, hip = clip.positions[0, 0, 5], clip.positions[0, 0, 11]
    assert shoulder[0] > hip[0]
    assert shoulder[1] > hip[1]


def test_kinect_joints_in_metres_are_kept(tmp_path):
    keypoints = np.random.default_rng(0).normal(size=(2, 4, 25, 3)).astype(np.float16)
    keypoints[1] = 0
    bare = {"frame_dir": "S001C002P003R002A007", "label": 6, "total_frames": 4, "keypoint": keypoints}
    (clip,) = read(saved(tmp_path / "a.pkl", bare))
    assert clip.topology.name == "kinect_v2_25"
    assert clip.num_persons == 1, "a person of zeros is nobody"
    assert clip.source.subject == "P003"
    np.testing.assert_array_equal(clip.positions[0], keypoints[0].astype(np.float32))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_protocol_is_read(tmp_path, protocol):
    one = annotation()
    turned = np.asfortranarray(one["keypoint"])
    other = annotation(keypoint=turned, frame_dir="c1", label=np.int64(2), total_frames=np.int32(5))
    clips = read(saved(tmp_path / "a.pkl", one, other, protocol=protocol))
    np.testing.assert_array_equal(clips[0].positions, clips[1].positions)
    assert clips[1].action == "label 2"


def test_pickles_of_numpy_1_are_read(tmp_path):
    path = saved(tmp_path / "a.pkl", annotation(), protocol=2)
    data = path.read_bytes()
    other = data.replace(b"numpy._core.", b"numpy.core.") if b"numpy._core." in data else data
    assert b"numpy.core.multiarray" in other
    path.write_bytes(other)
    assert len(read(path)) == 1


class Bomb:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "bomb",
    [
        Bomb(os.system, "touch {mark}"),
        Bomb(eval, "open('{mark}', 'w')"),
        Bomb(exec, "open('{mark}', 'w')"),
        Bomb(getattr, "text", "upper"),
        Bomb(np.load, "{mark}"),
    ],
)
def test_a_pickle_that_would_run_something_is_refused(tmp_path, bomb):
    mark = tmp_path / "ran"
    bomb.call = (bomb.call[0], tuple(a.format(mark=mark) if isinstance(a, str) else a for a in bomb.call[1]))
    path = tmp_path / "bomb.pkl"
    path.write_bytes(pickle.dumps({"annotations": [annotation(frame_dir=bomb)]}))
    with pytest.raises(FormatError, match="asks for"):
        read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "code",
    [
        b"cnumpy\nndarray\n(J\xff\xff\xff\x7f\x85tR.",
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(J\xff\xff\xff\x7f\x85C\x01btR.",
        b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR.",
        b"(" * 50,
    ],
)
def test_a_small_pickle_cannot_ask_for_much_memory(tmp_path, code):
    path = tmp_path / "bomb.pkl"
    path.write_bytes(b"\x80\x04" + code)
    with pytest.raises(FormatError):
        read(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"keypoint": np.zeros((1, 5, 16, 2), np.float16)}, "'keypoint' of shape (1, 5, 16, 2)"),
        ({"keypoint": np.zeros((5, 17, 2), np.float16)}, "shape (5, 17, 2)"),
        ({"keypoint": [1, 2]}, "found [1, 2], expected 'keypoint'"),
        ({"total_frames": 9}, "found 5 frames, expected 'total_frames', which is 9"),
        ({"keypoint_score": np.ones((1, 4, 17))}, "expected 'keypoint_score' of shape (1, 5, 17)"),
        ({"frame_dir": 3}, "a dictionary with 'frame_dir'"),
        ({"keypoint": np.zeros((1, 5, 17, 2), np.float16)}, "nobody in any frame"),
    ],
)
def test_a_damaged_annotation_is_named_by_its_number(tmp_path, changes, says):
    with pytest.raises(FormatError) as error:
        read(saved(tmp_path / "a.pkl", annotation(), annotation(**changes)))
    assert "annotation 1" in str(error.value)
    assert says in str(error.value)


@settings(max_examples=60)
@given(cut=st.integers(0, 100), flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4))
def test_a_cut_or_flipped_pickle_is_a_format_error_or_still_clips(tmp_path_factory, cut, flips):
    path = saved(tmp_path_factory.mktemp("pyskl") / "a.pkl", annotation())
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place % len(data)] = value
    path.write_bytes(bytes(data[: len(data) - cut * len(data) // 100]))
    try:
        clips = pyskl.read(path, Declared())
    except FormatError:
        return
    assert all(np.isfinite(clip.positions).all() for clip in clips)
