"""BVH files: round trip, units, a root that only marks the place, damage."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, bvh, read
from skeletonllm.skeleton.kinematics import bone_lengths, point, quaternion_product, rotate_y
from skeletonllm.skeleton.orientation import rotations_from_positions
from skeletonllm.skeleton.performers import ACTIONS, perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology
from tests.makers import make_clip

SMALL = """HIERARCHY
ROOT Hips
{
\tOFFSET 0 0 0
\tCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
\tJOINT Neck
\t{
\t\tOFFSET 0 50 0
\t\tCHANNELS 3 Zrotation Xrotation Yrotation
\t\tJOINT Head
\t\t{
\t\t\tOFFSET 0 20 0
\t\t\tCHANNELS 3 Zrotation Xrotation Yrotation
\t\t\tEnd Site
\t\t\t{
\t\t\t\tOFFSET 0 10 0
\t\t\t}
\t\t}
\t}
}
MOTION
Frames: 2
Frame Time: 0.0333333
0 90 0 0 0 0 0 0 0 0 0 0
1 90 0 90 0 0 0 0 0 0 0 0
"""


def mocap(action: str = "throw", performer: int = 1, fps: float = 30.0):
    return sensors.as_mocap(perform(action, performer, 0, 0, fps))


@settings(max_examples=10)
@given(action=st.sampled_from(ACTIONS), performer=st.integers(0, 20), units=st.sampled_from([1.0, 100.0, 1000.0]))
def test_what_is_written_is_read_back_whatever_the_unit(tmp_path_factory, action, performer, units):
    clip = mocap(action, performer)
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    bvh.write(clip, path, units)
    (back,) = read(path)
    order = [back.topology.joint_names.index(name) for name in clip.topology.joint_names]
    np.testing.assert_allclose(back.positions[:, :, order], clip.positions, atol=1e-4)
    assert back.rotations is not None
    assert clip.rotations is not None
    alike = np.abs((back.rotations[:, :, order] * clip.rotations).sum(-1))
    np.testing.assert_allclose(alike, 1, atol=1e-5)
    assert back.fps == pytest.approx(clip.fps, rel=1e-4)


def test_rotations_turn_what_hangs_on_them(tmp_path):
    path = tmp_path / "a.bvh"
    path.write_text(SMALL)
    (clip,) = read(path)
    steps = clip.positions[0, :, 2] - clip.positions[0, :, 0]
    unit = np.linalg.norm(steps[0])
    np.testing.assert_allclose(steps / unit, [(0, 1, 0), (-1, 0, 0)], atol=1e-6)  # 90 degrees about z: up becomes -x


def test_windows_line_ends_and_blank_lines_do_not_matter(tmp_path):
    (tmp_path / "a.bvh").write_text(SMALL)
    (tmp_path / "b.bvh").write_bytes(SMALL.replace("\n", "\r\n").replace("MOTION", "\r\nMOTION").encode() + b"\r\n")
    one, other = read(tmp_path / "a.bvh")[0], read(tmp_path / "b.bvh")[0]
    np.testing.assert_array_equal(one.positions, other.positions)


def test_a_root_that_only_marks_the_place_is_not_the_pelvis(tmp_path):
    head, motion = SMALL.split("MOTION\n")
    body = head.removeprefix("HIERARCHY\n").replace("ROOT Hips", "JOINT Hips")
    rows = motion.splitlines()
    motion = "\n".join([*rows[:2], *(f"0 0 0 0 0 0 {row}" for row in rows[2:])])
    marked = (
        "HIERARCHY\nROOT joint_Root\n{\nOFFSET 0 0 0\n"
        "CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n"
    )
    (tmp_path / "a.bvh").write_text(f"{marked}{body}}}\nMOTION\n{motion}\n")
    (clip,) = read(tmp_path / "a.bvh")
    assert clip.topology.joint_names == ("Hips", "Neck", "Head")
    pelvis = point(clip, "pelvis")
    assert pelvis is not None
    assert pelvis[0, 0, 1] > 0.1


def test_bones_keep_their_length(tmp_path):
    bvh.write(mocap(), tmp_path / "a.bvh")
    (clip,) = read(tmp_path / "a.bvh")
    assert np.ptp(bone_lengths(clip.positions, clip.topology), axis=1).max() < 1e-5


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("MOTION\nFrames: 2", "", "expected MOTION"),
        ("Frames: 2", "Frames: 3", "line 25: found 2 frames, expected 3"),
        ("Frames: 2", "Frames: two", "found 'two'"),
        ("Frame Time: 0.0333333", "Frame Time: 0", "2 frames of 0.0 s"),
        ("1 90 0 90", "1 90 90", "line 25: found 11 numbers, expected 12 channels"),
        ("1 90 0 90", "1 90 x 90", "expected numbers"),
        ("1 90 0 90", "1 90 nan 90", "line 25: found nan, expected finite"),
        ("\t\t}\n\t}\n}\n", "\t\t}\n\t}\n", "4 opening and 3 closing brackets"),
        ("CHANNELS 3", "CHANNELS 4", "Channel count mismatch"),
        ("JOINT Neck", "JOINT Zork", "no body part is known by this name"),
        ("3 Zrotation", "3 Wrotation", "channel 'Wrotation'"),
    ],
)
def test_damage_is_named(tmp_path, old, new, says):
    assert old in SMALL
    path = tmp_path / "a.bvh"
    path.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(FormatError) as error:
        read(path)
    assert says in str(error.value)


@settings(max_examples=40)
@given(cut=st.integers(2, len(SMALL) - 12))
def test_a_file_cut_anywhere_is_one_error_and_never_waits(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    path.write_text(SMALL[:-cut])
    with pytest.raises(FormatError):
        read(path)


def walking(topology: str) -> Clip:
    return sensors.convert(perform("kick", 1, 0, 0, fps=30.0), TOPOLOGIES[topology])


@pytest.mark.parametrize("topology", ["kinect_v2_25", "kinect_v1_20", "smpl_22", "coco_17"])
def test_positions_alone_become_a_bvh_file_with_the_same_positions(tmp_path, topology):
    clip = walking(topology)
    bvh.write(clip, tmp_path / "a.bvh")
    (back,) = read(tmp_path / "a.bvh", declared=Declared(unit="cm"))
    order = [back.topology.joint_names.index(name) for name in clip.topology.joint_names]
    assert np.abs(back.positions[:, :, order] - clip.positions[:1]).max() < 1e-3
    assert np.linalg.norm(back.rotations, axis=-1) == pytest.approx(1, abs=1e-5)


def test_bones_of_constant_length_need_no_position_channels(tmp_path):
    """An arm and a leg that swing: a chain of bones of constant length turns, and no more."""
    names = ("hips", "spine", "neck", "head")
    topology = Topology.from_names("chain", names, (-1, 0, 1, 2))
    bend = np.cumsum(np.random.default_rng(0).normal(scale=0.1, size=(30, 3)), 0)
    steps = 0.3 * np.stack((np.sin(bend), np.cos(bend), np.zeros_like(bend)), -1)
    places = np.concatenate((np.zeros((30, 1, 3)), np.cumsum(steps, 1)), 1) + np.array((0, 1, 0))
    clip = make_clip(
        "a", topology, positions=places[None].astype(np.float32), confidence=np.ones((1, 30, 4), np.float32)
    )
    bvh.write(clip, tmp_path / "a.bvh")
    assert (tmp_path / "a.bvh").read_text().count("position") == 3  # the root's
    (back,) = read(tmp_path / "a.bvh", declared=Declared(unit="cm"))
    assert np.abs(back.positions - clip.positions).max() < 1e-3


def test_the_root_of_a_clip_without_rotations_turns_with_the_body(tmp_path):
    clip = walking("kinect_v1_20")
    turned = replace(clip, positions=rotate_y(clip.positions, 1.0).astype(np.float32))
    one, other = rotations_from_positions(clip), rotations_from_positions(turned)
    spun = quaternion_product(np.array([np.cos(0.5), 0, np.sin(0.5), 0]), one)
    assert np.abs(np.abs((spun * other).sum(-1)) - 1).max() < 1e-4


def test_joints_that_are_not_seen_are_held_or_lie_on_their_parents(tmp_path):
    clip = walking("kinect_v1_20")
    positions, confidence = clip.positions.copy(), clip.confidence.copy()
    positions[:, 5:9, 7], confidence[:, 5:9, 7] = 0, 0
    positions[:, :, 11], confidence[:, :, 11] = 0, 0
    bvh.write(replace(clip, positions=positions, confidence=confidence), tmp_path / "a.bvh")
    (back,) = read(tmp_path / "a.bvh", declared=Declared(unit="cm"))
    at = back.topology.joint_names.index
    np.testing.assert_allclose(
        back.positions[0, :, at("hand_right")], back.positions[0, :, at("wrist_right")], atol=1e-4
    )
    assert np.linalg.norm(back.positions[0, 5:9, at("hand_left")] - clip.positions[0, 5:9, 7], axis=-1).max() < 0.3
