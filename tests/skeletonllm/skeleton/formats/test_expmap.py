"""Exponential maps: forward kinematics by hand, the root's conventions, damage, and real recordings."""

import contextlib
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, expmap, read
from skeletonllm.skeleton.kinematics import body_size_m, bone_lengths, canonicalise, point
from skeletonllm.skeleton.rotations import matrices

DATA = Path(__file__).parents[5] / "shared" / "data"
H36M = expmap._KINDS[99].topology.joint_names


def write(path, table):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(path, table, fmt="%.9g", delimiter=",")
    return path


def of_joint(name):
    at = 3 + 3 * H36M.index(name)
    return slice(at, at + 3)


def test_a_rotation_turns_what_hangs_on_it(tmp_path):
    table = np.zeros((2, 99))
    table[1, of_joint("LeftUpLeg")] = (np.pi / 2, 0, 0)
    path = write(tmp_path / "S5" / "walking_1.txt", table)
    assert detect(path).name == "expmap"
    (clip,) = read(path)
    hip, knee, ankle, toe = (
        clip.positions[0, :, H36M.index(n)] for n in ("LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase")
    )
    np.testing.assert_allclose(hip, [(0.132948826, 0.897101, 0)] * 2, atol=1e-6)  # standing on the floor
    np.testing.assert_allclose((knee - hip)[0], (0, -0.442894413, 0), atol=1e-6)
    # A kick: the leg goes ahead and the toes up.
    np.testing.assert_allclose((knee - hip)[1], (0, 0, 0.442894413), atol=1e-6)
    np.testing.assert_allclose((toe - ankle)[1], (0, 0.162767426, 0), atol=1e-6)
    assert (clip.action, clip.source.subject, clip.source.repetition) == ("walking", "S5", "1")
    assert (clip.fps, clip.source.fps_from) == (50, "format")
    assert clip.confidence.min() == 1
    assert clip.rotations is not None
    turn = matrices(clip.rotations[0, 1, H36M.index("LeftUpLeg")])
    np.testing.assert_allclose(turn @ (0, -1, 0), (0, 0, 1), atol=1e-6)


def test_changes_of_the_root_add_up_in_its_own_axes(tmp_path):
    table = np.zeros((3, 99))
    table[:, 2] = (0, 100, 100)  # ahead
    table[1, of_joint("Hips")] = (0, -np.pi / 2, 0)  # then to the left
    (clip,) = read(write(tmp_path / "S1" / "posing_2.txt", table))
    np.testing.assert_allclose(
        clip.positions[0, :, 0], [(0, 0.897101, 0), (0, 0.897101, 0.1), (0.1, 0.897101, 0.1)], atol=1e-6
    )


def test_the_root_of_cmu_is_absolute(tmp_path):
    table = np.zeros((2, 117))
    table[:, 1] = (16, 17)
    (clip,) = read(write(tmp_path / "train" / "washwindow" / "washwindow_3.txt", table))
    np.testing.assert_allclose(clip.positions[0, :, 0, 1], np.array((16, 17)) * 0.0254 / 0.45, rtol=1e-6)
    assert (clip.action, clip.source.subject, clip.fps) == ("washwindow", "", 120)


def test_another_name_says_nothing(tmp_path):
    (clip,) = read(write(tmp_path / "mine.txt", np.zeros((1, 99))))
    assert (clip.action, clip.source.subject) == (None, "")


def test_other_tables_of_99_numbers_are_not_exponential_maps(tmp_path):
    path = write(tmp_path / "landmarks.csv", np.random.default_rng(0).normal(size=(3, 99)))
    assert not expmap.sniff(path, path.read_bytes())
    assert not expmap.sniff(path, b",".join([b"x"] * 99) + b"\n")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("0,0", "0", 1), "line 1: found 98 values, expected 99"),
        (lambda text: text[:-3] + "\n", "line 3: found 98 values, expected 99 numbers"),
        (lambda text: text[:-2] + "x\n", "line 3: found 'x', expected a number"),
        (lambda text: text[:-2] + "nan\n", "row 3: found a number that is not finite"),
        (lambda text: text[:-2] + "1e999\n", "row 3: found a number that is not finite"),
        (lambda text: text[:-2] + "-1e7\n", "row 3: found a number that is not finite or absurd"),
        (lambda text: "", "an empty file"),
    ],
)
def test_damage_is_named(tmp_path, change, says):
    path = write(tmp_path / "a.txt", np.zeros((3, 99)))
    path.write_text(change(path.read_text()))
    with pytest.raises(FormatError, match=says):
        read(path, "expmap")


@settings(max_examples=60)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255), cut=st.booleans())
def test_whatever_byte_is_flipped_there_is_a_clip_or_one_error(tmp_path_factory, at, byte, cut):
    path = write(tmp_path_factory.mktemp("expmap") / "a.txt", np.zeros((3, 99)))
    data = bytearray(path.read_bytes())
    place = at % len(data)
    data[place] = byte
    path.write_bytes(bytes(data[:place]) if cut else bytes(data))
    expmap.sniff(path, path.read_bytes())
    with contextlib.suppress(FormatError):
        read(path, "expmap")


@pytest.mark.skipif(not (DATA / "h36m17_derived").is_dir(), reason="no real recordings")
def test_the_bones_are_those_of_joint_positions_in_circulation(tmp_path):
    known = np.load(DATA / "h36m17_derived" / "S1_walking_1.npy")
    (clip,) = read(write(tmp_path / "a.txt", np.zeros((1, 99))))
    pairs = (
        ("RightUpLeg", "RightLeg", 1, 2),
        ("RightLeg", "RightFoot", 2, 3),
        ("LeftArm", "LeftForeArm", 11, 12),
        ("Neck", "Head", 8, 9),
    )
    for parent, child, one, other in pairs:
        ours = np.linalg.norm(clip.positions[0, 0, H36M.index(child)] - clip.positions[0, 0, H36M.index(parent)])
        theirs = np.linalg.norm(known[:, other] - known[:, one], axis=-1) / 1000
        np.testing.assert_allclose(theirs, ours, atol=1e-6)


@pytest.mark.skipif(not (DATA / "cmu_expmap").is_dir(), reason="no real recordings")
def test_real_people_stand_on_the_floor_and_move_as_the_label_says():
    known = [e for e in json.loads((DATA / "MANIFEST.json").read_text()) if e["format"] == "expmap117.txt"]
    assert len(known) == 8
    for entry in known:
        (clip,) = read(DATA / entry["file"])
        assert (clip.action, clip.num_frames, clip.fps) == (entry["label"], entry["n_frames"], entry["fps"])
        assert clip.topology.num_joints == entry["joints"]
        head, pelvis = point(clip, "head"), point(clip, "pelvis")
        assert head is not None
        assert pelvis is not None
        feet = clip.positions[0][:, [clip.topology.joint_names.index(f"{side}ToeBase") for side in ("Left", "Right")]]
        assert np.median(head[..., 1]) > np.median(pelvis[..., 1]) > np.median(feet[..., 1])
        assert abs(np.median(feet[..., 1].min(-1))) < 0.12  # the floor is at 0
        assert 0.9 < body_size_m(clip) < 1.8
        assert np.ptp(bone_lengths(clip.positions, clip.topology), axis=1).max() < 1e-4
        ready = canonicalise(clip).positions[0, 0]
        names = clip.topology.joint_names
        assert ready[names.index("LeftArm"), 0] > ready[names.index("RightArm"), 0]
        assert ready[names.index("LeftToeSite"), 2] > ready[names.index("LeftFoot"), 2]
