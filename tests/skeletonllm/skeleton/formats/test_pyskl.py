"""pyskl pickles: round trip, numpy 1 and 2, damage, and pickles that would run something."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, files_of, find_recordings, pyskl, read
from skeletonllm.skeleton.kinematics import canonicalise
from tests.makers import make_clip

DATA = Path(__file__).parents[5] / "shared" / "data"


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


@pytest.mark.parametrize(
    ("joints", "dims", "name"),
    [
        (17, 2, "coco_17"),
        (18, 2, "openpose_18"),
        (25, 2, "openpose_25"),
        (133, 2, "coco_wholebody_23"),
        (20, 3, "kinect_v1_20"),
        (25, 3, "kinect_v2_25"),
    ],
)
def test_every_count_of_joints_has_its_topology(tmp_path, joints, dims, name):
    keypoints = np.random.default_rng(0).uniform(1, 9, (1, 3, joints, dims)).astype(np.float16)
    bare = {"frame_dir": "a", "label": 0, "total_frames": 3, "keypoint": keypoints}
    (clip,) = read(saved(tmp_path / "a.pkl", bare))
    assert clip.topology.name == name
    assert (clip.confidence == 1).all()


def test_of_four_persons_the_two_who_move_most_are_kept_in_their_order(tmp_path):
    rng = np.random.default_rng(0)
    still = rng.uniform(400, 500, (1, 1, 17, 2))
    keypoints = still + np.stack([rng.normal(0, spread, (6, 17, 2)) for spread in (0.1, 20, 1, 40)])
    score = np.repeat(np.array([1.0, 0.9, 1.0, 0.8])[:, None, None], 6, 1).repeat(17, 2)
    (clip,) = read(saved(tmp_path / "a.pkl", annotation(6, keypoint=keypoints, keypoint_score=score)))
    assert clip.confidence[:, 0, 0].tolist() == pytest.approx([0.9, 0.8])


def contents(folder, **changes):
    """A table of contents: two boxes in frame 1, none in frame 2, one in frames 3 and 4."""
    bare = {key: value for key, value in annotation().items() if not key.startswith("keypoint")}
    entry = {"frame_inds": np.array([1, 1, 3, 4], np.int16), "box_score": np.ones(4, np.float16), "total_frames": 4}
    path = folder / "k400.pkl"
    path.write_bytes(pickle.dumps({"split": {"train": ["c0"]}, "annotations": [{**bare, **entry, **changes}]}))
    return path


def test_a_table_of_contents_asks_for_its_kpfile(tmp_path):
    with pytest.raises(FormatError, match=r"table of contents .* without keypoints, expected the kpfile .* beside it"):
        read(contents(tmp_path))


def boxes() -> np.ndarray:
    one = np.random.default_rng(0).uniform(100, 200, (17, 3))
    one[:, 2] = 0.5
    moved = np.array([(0, 0, 0), (700, 0, 0.25), (702, 0, 0.25), (704, 0, 0.25)])
    return one + moved[:, None]


def test_a_table_of_contents_with_its_kpfile_is_read_and_persons_are_linked(tmp_path):
    (tmp_path / "kpfile.pkl").write_bytes(pickle.dumps({"c0": {"keypoint": boxes().astype(np.float16)}}))
    path = contents(tmp_path)
    assert [file.name for file in files_of(path)] == ["k400.pkl", "kpfile.pkl"]
    assert [file.name for file in find_recordings(tmp_path)] == ["k400.pkl"], "the kpfile alone is no recording"
    (clip,) = read(path)
    assert (clip.num_persons, clip.num_frames) == (2, 4)
    assert clip.confidence.max(2).tolist() == [[0.75, 0, 0.75, 0.75], [0.5, 0, 0, 0]]


@pytest.mark.parametrize(
    ("changes", "keypoints", "says"),
    [
        ({}, boxes()[:3], r"'frame_inds', 3 whole numbers"),
        ({}, boxes()[..., :2], r"\[boxes, 17, 3\]"),
        ({}, None, r"'keypoint' as an array"),
        ({"frame_dir": "c1"}, boxes(), r"no entry in the kpfile"),
        ({"total_frames": 3}, boxes(), r"found frames 1 to 4, expected numbers from 1 to 3"),
        ({"total_frames": 10**9}, boxes(), r"total_frames 1000000000"),
        ({"frame_inds": "abcd"}, boxes(), r"found 'abcd', expected 'frame_inds'"),
    ],
)
def test_a_kpfile_that_does_not_fit_is_one_clear_error(tmp_path, changes, keypoints, says):
    (tmp_path / "kpfile.pkl").write_bytes(pickle.dumps({"c0": {"keypoint": keypoints}}))
    with pytest.raises(FormatError, match=says):
        read(contents(tmp_path, **changes))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
def test_real_files_hold_what_the_manifest_says():
    three, two = (DATA / "pyskl_derived" / name for name in ("ntu60_3danno_sample.pkl", "pushup_movenet_coco17.pkl"))
    assert [(clip.topology.name, clip.source.subject[:1]) for clip in read(three)] == [("kinect_v2_25", "P")] * 9
    clips = read(two)
    assert (len(clips), {clip.topology.name for clip in clips}) == (205, {"coco_17"})
    with pytest.raises(FormatError, match="table of contents"):
        read(DATA / "pyskl_k400_index" / "sample.pkl")
