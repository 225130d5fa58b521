"""HumanML3D and KIT-ML files: round trip, feature vectors, captions and their windows, headers that lie."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, detect, files_of, find_recordings, humanml3d, read
from skeletonllm.skeleton.kinematics import canonicalise, point, rotate_y
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip

DATA = Path(__file__).parents[5] / "shared" / "data" / "humanml3d"
KIT = TOPOLOGIES["kit_21"]


@settings(max_examples=15)
@given(frames=st.integers(1, 20), seed=st.integers(0, 1000))
def test_what_is_written_is_read_back_on_the_floor_and_at_the_origin(tmp_path_factory, frames, seed):
    clip = make_clip("a", "smpl_22", num_frames=frames, seed=seed)
    path = tmp_path_factory.mktemp("h") / "000001.npy"
    humanml3d.write(clip, path)
    (back,) = read(path)
    shift = back.positions[0, 0, 0] - clip.positions[0, 0, 0]
    # A coordinate that is exactly zero in all three places would count as unseen; the pelvis keeps its height.
    np.testing.assert_allclose(back.positions - shift, clip.positions, atol=1e-5)
    assert back.positions[..., 1].min() == pytest.approx(0, abs=1e-6)
    assert back.positions[0, 0, 0, (0, 2)] == pytest.approx([0, 0], abs=1e-6)
    assert back.fps == 20


def saved(tmp_path, lines: str):
    folder = tmp_path / "new_joints"
    folder.mkdir()
    (tmp_path / "texts").mkdir()
    humanml3d.write(make_clip("a", "smpl_22"), folder / "000001.npy")
    (tmp_path / "texts" / "000001.txt").write_text(lines)
    return folder / "000001.npy"


def test_captions_of_the_whole_clip_come_from_the_folder_beside(tmp_path):
    lines = "a man waves.#a/DET man/NOUN#0.0#0.0\nthen he sits.#then/ADV#0.1#0.5\nhe waves#he/PRON#nan#nan\n\n"
    clip, _ = read(saved(tmp_path, lines))
    assert clip.captions == ("a man waves.", "he waves")


def test_a_window_with_captions_is_a_clip_of_its_own(tmp_path):
    lines = "all.#a/X#0.0#0.0\none.#a/X#0.1#0.35\nother.#a/X#0.1#0.35\nlast#a/X#0.5#9.0\n"
    whole, one, last = read(saved(tmp_path, lines))
    assert [clip.clip_id for clip in (whole, one, last)] == ["000001", "000001@0.1-0.35", "000001@0.5-9.0"]
    assert [clip.captions for clip in (whole, one, last)] == [("all.",), ("one.", "other."), ("last",)]
    np.testing.assert_array_equal(one.positions, whole.positions[:, 2:7])
    np.testing.assert_array_equal(last.positions, whole.positions[:, 10:])  # a window may reach beyond the end


def test_with_windows_only_the_whole_clip_is_there_without_captions(tmp_path):
    whole, part = read(saved(tmp_path, "sits.#a/X#0.0#0.2\n"))
    assert (whole.captions, whole.num_frames) == ((), 12)
    assert (part.captions, part.num_frames) == (("sits.",), 4)


@pytest.mark.parametrize(
    ("window", "says"),
    [
        ("2.0#1.0", "line 1: found from 2.0 to 1.0, expected 0 <= from < to"),
        ("-1.0#1.0", "from -1.0 to 1.0"),
        ("0.0#inf", "from 0.0 to inf"),
        ("1.0#nan", "from 1.0 to 0.0"),
        ("1.5#2.0", "window 000001@1.5-2.0: found no frame"),
        ("0.0#x", "caption#tokens#from#to"),
    ],
)
def test_a_window_that_cannot_be_is_told(tmp_path, window, says):
    with pytest.raises(FormatError) as error:
        read(saved(tmp_path, f"sits.#a/X#{window}\n"))
    assert says in str(error.value)


def test_texts_that_are_no_text_are_told_and_empty_ones_say_nothing(tmp_path):
    path = saved(tmp_path, "")
    assert read(path)[0].captions == ()
    (tmp_path / "texts" / "000001.txt").write_bytes(b"\xff\xfe a#b#0.0#0.0")
    with pytest.raises(FormatError, match=r"000001\.txt, offset 0"):
        read(path)


def test_the_captions_are_part_of_a_recording(tmp_path):
    path = saved(tmp_path, "a#a/X#0.0#0.0\n")
    assert files_of(path) == [path, tmp_path / "texts" / "000001.txt"]


def features_of(joints: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """The first features of joints `[frames, joints, 3]` seen by a body that has turned by `yaw`, from 0 on."""
    floor = joints[:, :1] * (1, 0, 1)
    local = np.stack([rotate_y(frame, -turn) for frame, turn in zip(joints - floor, yaw, strict=True)])
    steps = [rotate_y(step, -turn) for step, turn in zip(np.diff(floor[:, 0], axis=0), yaw[1:], strict=True)]
    width = 263 if joints.shape[1] == 22 else 251
    rows = np.zeros((len(joints), width))
    rows[:-1, 0] = np.diff(yaw) / -2
    rows[:-1, 1:3] = np.array(steps).reshape(-1, 3)[:, (0, 2)]
    rows[:, 3] = joints[:, 0, 1]
    rows[:, 4 : 4 + 3 * (joints.shape[1] - 1)] = local[:, 1:].reshape(len(joints), -1)
    return rows


@settings(max_examples=20)
@given(frames=st.integers(1, 30), seed=st.integers(0, 1000))
def test_joints_are_recovered_from_their_feature_vectors(tmp_path_factory, frames, seed):
    rng = np.random.default_rng(seed)
    joints = np.cumsum(rng.normal(scale=0.05, size=(frames, 22, 3)), axis=0) + rng.normal(scale=0.4, size=(1, 22, 3))
    joints -= joints[0, 0] * (1, 0, 1)
    yaw = np.concatenate(([0.0], np.cumsum(rng.normal(scale=0.2, size=frames - 1))))
    path = tmp_path_factory.mktemp("h") / "000001.npy"
    np.save(path, features_of(joints, yaw))
    (clip,) = read(path)
    assert (clip.topology.name, clip.fps) == ("smpl_22", 20)
    np.testing.assert_allclose(clip.positions[0], joints, atol=1e-5)


def kit_joints(frames: int = 6) -> np.ndarray:
    """Somebody who stands, faces +z and lifts the left hand, millimetres."""
    places = {"pelvis": (0, 950, 0), "spine": (0, 1050, 0), "chest": (0, 1200, 0), "neck": (0, 1400, 0)}
    places |= {"head": (0, 1600, 0), "left_shoulder": (170, 1380, 0), "left_elbow": (190, 1100, 0)}
    places |= {"left_wrist": (200, 850, 0), "left_hip": (90, 920, 0), "left_knee": (95, 500, 0)}
    places |= {"left_ankle": (95, 80, 0), "left_foot": (95, 40, 60), "left_toe": (95, 20, 150)}
    joints = np.zeros((frames, 21, 3))
    for number, name in enumerate(KIT.joint_names):
        x, y, z = places[name.replace("right", "left")]
        joints[:, number] = (-x if name.startswith("right") else x, y, z)
    joints[:, KIT.joint_names.index("left_wrist"), 1] += np.linspace(0, 900, frames)
    return joints


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("as_features", [False, True])
def test_kit_ml_is_millimetres_at_12_5_fps_with_the_named_left_on_the_left(tmp_path, mirrored, as_features):
    joints = kit_joints() * ((-1, 1, 1) if mirrored else (1, 1, 1))
    folder = tmp_path / ("new_joint_vecs" if as_features else "new_joints")
    folder.mkdir()
    np.save(folder / "00001.npy", features_of(joints, np.zeros(6)) if as_features else joints)
    (clip,) = read(folder)
    assert (clip.topology, clip.fps, clip.source.space) == (KIT, 12.5, "mm, +y up")
    np.testing.assert_allclose(clip.positions[0], kit_joints() / 1000, atol=1e-6)


def test_21_joints_outside_a_folder_of_the_data_set_are_not_taken_for_kit_ml(tmp_path):
    np.save(tmp_path / "hand.npy", kit_joints())
    assert all(detect(path).name != "humanml3d" for path in find_recordings(tmp_path))


def test_a_movement_that_lies_there_in_several_forms_is_one_recording(tmp_path):
    for folder, shape in (("new_joints", (22, 3)), ("new_joint_vecs", (263,)), ("joints", (52, 3))):
        (tmp_path / folder).mkdir()
        for name in ("000001", "000002")[: 1 if folder == "new_joints" else 2]:
            np.save(tmp_path / folder / f"{name}.npy", np.ones((3, *shape), np.float32))
    np.save(tmp_path / "Mean.npy", np.ones(263))
    np.save(tmp_path / "Std.npy", np.ones(263))
    found = [f"{path.parent.name}/{path.stem}" for path in find_recordings(tmp_path)]
    assert found == ["new_joint_vecs/000002", "new_joints/000001"]
    # Who asks for one form gets it.
    assert len(find_recordings(tmp_path / "joints")) == 2
    assert detect(tmp_path / "new_joint_vecs" / "000001.npy").name == "humanml3d"


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ((1, 0), np.nan, "row 1: found [nan"),
        ((2, 3), np.inf, "row 2"),
        ((1, 10), 1e9, "a feature of 1e+09"),
        ((1, 10), 1e300, "a feature of 1e+300"),
    ],
)
def test_features_that_cannot_be_are_told(tmp_path, place, value, says):
    features = features_of(np.ones((3, 22, 3)), np.zeros(3))
    features[place] = value
    np.save(tmp_path / "000001.npy", features)
    with pytest.raises(FormatError) as error:
        read(tmp_path / "000001.npy")
    assert says in str(error.value)


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(4, 22, 3), (4, 263)])
def test_a_signalling_nan_is_a_joint_that_is_not_seen(tmp_path, shape, kind):
    array = np.ones(shape, kind)
    bits = array.reshape(4, -1).view("u4" if kind == "f4" else "u8")
    bits[1, 6] = 0x7F800001 if kind == "f4" else 0x7FF0000000000001
    np.save(tmp_path / "000001.npy", array)
    (clip,) = read(tmp_path / "000001.npy")
    assert (clip.confidence[0] == 0).sum() == 1


def test_a_joint_without_features_is_not_seen(tmp_path):
    features = features_of(np.ones((3, 22, 3)), np.zeros(3))
    features[1, 4:7] = np.nan
    np.save(tmp_path / "000001.npy", features)
    (clip,) = read(tmp_path / "000001.npy")
    assert clip.confidence[0, :, 1].tolist() == [1, 0, 1]
    assert clip.confidence[0, :, 2:].all()


def test_a_damaged_caption_is_named_by_its_line(tmp_path):
    with pytest.raises(FormatError, match=r"000001\.txt, line 2"):
        read(saved(tmp_path, "a#a/DET#0.0#0.0\nno fields\n"))


def test_caption_lines_are_read_as_captions(tmp_path):
    text = humanml3d.caption_lines(("a person bows", "someone bends, slowly"), {"bows": "VERB"})
    assert "bows/VERB#0.0#0.0" in text
    (clip,) = read(saved(tmp_path, text))
    assert clip.captions == ("a person bows", "someone bends, slowly")


def numpy_bytes(shape: tuple[int, ...], kind: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue() + data


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (numpy_bytes((10**12, 22, 3), "<f4", b"1234"), "found shape (1000000000000, 22, 3), expected at most"),
        (numpy_bytes((2, 22, 3), "<f4", b"\0" * 100), "expected 528"),
        (numpy_bytes((2, 22, 3), "<i4", b"\0" * 528), "found type int32"),
        (numpy_bytes((2, 22, 3), "<f4", b"\0" * 528), "no joint of anybody"),
        (numpy_bytes((2, 263), "<f4", b""), "found shape (2, 263) of float32 and 0 bytes"),
        (numpy_bytes((2, 23, 3), "<f4", b"\0" * 552), "found shape (2, 23, 3), expected (frames, 22, 3)"),
        (numpy_bytes((0, 22, 3), "<f4", b""), "found shape (0, 22, 3)"),
        (numpy_bytes((-1, 22, 3), "<f4", b""), "expected descr"),
        (b"\x93NUMPY\x01", "the header of a numpy file"),
        (b"", "the header of a numpy file"),
    ],
)
def test_a_header_that_lies_is_refused_before_anything_is_allocated(tmp_path, content, says):
    path = tmp_path / "000001.npy"
    path.write_bytes(content)
    with pytest.raises(FormatError) as error:
        humanml3d.read(path, Declared())
    assert says in str(error.value)


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    path = tmp_path / "000001.npy"
    np.save(path, np.empty((1, 22, 3), object), allow_pickle=True)
    with pytest.raises(FormatError, match="array of Python objects"):
        humanml3d.read(path, Declared())


def of_the_data_set(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no {path}")
    return path


def test_real_features_give_the_joints_that_the_data_set_has_of_them():
    (joints,), (recovered,) = (read(of_the_data_set(f"{form}/000000.npy")) for form in ("new_joints", "new_joint_vecs"))
    np.testing.assert_allclose(recovered.positions, joints.positions, atol=1e-5)
    assert recovered.captions == joints.captions
    assert len(joints.captions) == 4


def test_real_files_of_every_form_are_people_who_face_ahead():
    for name, frames in (("new_joint_vecs/000612", 199), ("joints/000021", 180), ("new_joint_vecs/000000", 116)):
        (clip,) = read(of_the_data_set(f"{name}.npy"))
        assert clip.num_frames == frames
        clip = canonicalise(clip)
        left, right = point(clip, "shoulder", "left"), point(clip, "shoulder", "right")
        ankle, head = point(clip, "ankle", "left"), point(clip, "head")
        assert (left[0, :9, 0] > right[0, :9, 0]).all()
        toes = [
            point(clip, "foot", side)[0, :9, 2] - point(clip, "ankle", side)[0, :9, 2] for side in ("left", "right")
        ]
        assert np.mean(toes) > 0.05
        assert (head[0, :, 1] > ankle[0, :, 1] + 1).mean() > 0.8


def test_the_whole_data_set_is_three_movements():
    found = [f"{path.parent.name}/{path.stem}" for path in find_recordings(of_the_data_set("."))]
    assert found == ["joints/000021", "new_joint_vecs/000612", "new_joints/000000"]
