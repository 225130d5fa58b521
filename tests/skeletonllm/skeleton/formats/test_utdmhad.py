"""UTD-MHAD: MATLAB 5 files made by hand, damage, and the real recordings where they are at hand."""

import contextlib
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, read, utdmhad
from skeletonllm.skeleton.kinematics import body_size_m, canonicalise, point, velocities

DATA = Path(__file__).parents[5] / "shared" / "data"
JOINTS = np.random.default_rng(0).normal(size=(20, 3, 4))


def element(kind, data, order="<"):
    return struct.pack(order + "II", kind, len(data)) + data + bytes(-len(data) % 8)


def mat(joints=JOINTS, name=b"d_skel", order="<", packed=True, flags=6, sizes=None):
    sizes = joints.shape if sizes is None else sizes
    content = element(6, struct.pack(order + "II", flags, 0), order)
    content += element(5, struct.pack(f"{order}{len(sizes)}i", *sizes), order)
    content += element(1, name, order)
    content += element(9, joints.astype(order + "f8").tobytes("F"), order)
    matrix = element(14, content, order)
    if packed:
        tight = zlib.compress(matrix)
        matrix = struct.pack(order + "II", 15, len(tight)) + tight
    end = b"\0\1IM" if order == "<" else b"\1\0MI"
    return b"MATLAB 5.0 MAT-file, made by a test".ljust(124) + end + matrix


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_variable_is_read_packed_or_not_in_either_byte_order(tmp_path, order, packed):
    path = tmp_path / "a3_s7_t2_skeleton.mat"
    path.write_bytes(mat(order=order, packed=packed))
    assert detect(path).name == "utdmhad"
    (clip,) = read(path)
    np.testing.assert_allclose(clip.positions[0], JOINTS.transpose(2, 0, 1), rtol=1e-6)
    assert (clip.action, clip.source.subject, clip.source.repetition) == ("right hand wave", "S7", "2")
    assert (clip.fps, clip.source.fps_from) == (30, "format")


def test_a_single_frame_whose_size_matlab_drops_is_read(tmp_path):
    (tmp_path / "x.mat").write_bytes(mat(JOINTS[..., 0]))
    (clip,) = read(tmp_path / "x.mat")
    assert clip.num_frames == 1
    assert clip.action is None


def test_a_joint_at_the_origin_was_not_seen(tmp_path):
    joints = JOINTS.copy()
    joints[7, :, 2] = 0
    joints[8, 1, 3] = np.nan
    (tmp_path / "x.mat").write_bytes(mat(joints))
    (clip,) = read(tmp_path / "x.mat")
    assert np.argwhere(clip.confidence[0] == 0).tolist() == [[2, 7], [3, 8]]


def test_a_signalling_nan_is_a_joint_that_was_not_seen(tmp_path):
    joints = JOINTS.copy()
    joints.view(np.uint64)[7, 0, 2] = 0x7FF0000000000001
    (tmp_path / "x.mat").write_bytes(mat(joints))
    (clip,) = read(tmp_path / "x.mat")
    assert np.argwhere(clip.confidence[0] == 0).tolist() == [[2, 7]]


def test_files_of_the_other_sensors_are_not_skeletons(tmp_path):
    path = tmp_path / "a1_s1_t1_inertial.mat"
    path.write_bytes(mat(name=b"d_iner"))
    assert not utdmhad.sniff(path, path.read_bytes())
    with pytest.raises(FormatError, match=r"found the variables \['d_iner'\], expected d_skel"):
        read(path, "utdmhad")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"MATLAB 7.3 MAT-file".ljust(200), "save -v7"),
        (mat(sizes=(20, 3, 5)), "1920 bytes of numbers, expected 2400 for 5 frames"),
        (mat(sizes=(20, 3, -4)), "found 20 x 3 x -4 numbers"),
        (mat(sizes=(25, 3, 4)), "expected 20 joints x 3 x frames"),
        (mat(flags=1), "found class 1, expected an array of real numbers"),
        (mat(flags=0x0806), "expected an array of real numbers"),
        (mat()[:-20], "an element of"),
        (mat(packed=False)[:1000], "an element of"),
        (mat()[:132], "the 8 bytes of a tag"),
        (mat()[:128], r"the variables \[\]"),
        (mat()[:140] + bytes(20) + mat()[160:], "packed by zlib"),
        (mat(np.zeros((20, 3, 40000))), "more than"),
        (mat(np.zeros((20, 3, 4)), packed=False), "no joint of anybody that was seen"),
        (mat(np.full((20, 3, 4), 1e300)), "from the origin"),
    ],
)
def test_damage_is_named(tmp_path, content, says):
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(FormatError, match=says):
        read(tmp_path / "a.mat", "utdmhad")


@settings(max_examples=200)
@given(at=st.integers(0, 5000), byte=st.integers(0, 255), cut=st.booleans(), packed=st.booleans())
def test_whatever_byte_is_flipped_there_is_a_clip_or_one_error(tmp_path_factory, at, byte, cut, packed):
    path = tmp_path_factory.mktemp("mat") / "a1_s1_t1_skeleton.mat"
    data = bytearray(mat(packed=packed))
    place = at % len(data)
    data[place] = byte
    path.write_bytes(bytes(data[:place]) if cut else bytes(data))
    utdmhad.sniff(path, path.read_bytes())
    with contextlib.suppress(FormatError):
        read(path, "utdmhad")


@pytest.mark.skipif(not (DATA / "utdmhad").is_dir(), reason="no real recordings")
def test_real_people_are_upright_and_use_the_hand_of_the_label():
    known = [entry for entry in json.loads((DATA / "MANIFEST.json").read_text()) if entry["format"] == "utdmhad.mat"]
    assert {entry["label"] for entry in known} == set(utdmhad.ACTIONS)
    right_moves_more = []
    for entry in known[::5]:
        path = DATA / entry["file"]
        assert detect(path).name == "utdmhad"
        (clip,) = read(path)
        assert (clip.action, clip.num_frames, clip.topology.num_joints) == (entry["label"], entry["n_frames"], 20)
        assert clip.source.subject == entry["subject"].upper()
        head, pelvis, ankle = (
            point(clip, part, side) for part, side in (("head", "center"), ("pelvis", "center"), ("ankle", "left"))
        )
        assert head is not None
        assert pelvis is not None
        assert ankle is not None
        assert np.median(head[..., 1]) > np.median(pelvis[..., 1]) > np.median(ankle[..., 1])
        assert 0.9 < body_size_m(clip) < 1.8
        left, right = (
            canonicalise(clip).positions[0, 0, clip.topology.find("shoulder", side)] for side in ("left", "right")
        )
        assert left[0] > right[0]
        if "right hand" in entry["label"] or "right arm" in entry["label"]:
            speed = np.linalg.norm(velocities(clip.positions, clip.fps)[0], axis=-1).mean(0)
            names = clip.topology.joint_names
            right_moves_more.append(speed[names.index("hand_right")] > 1.5 * speed[names.index("hand_left")])
    assert np.mean(right_moves_more) > 0.95
