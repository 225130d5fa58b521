"""BVH files: round trip, units, axes, names, a root that only marks the place, damage, and real recordings."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, bvh, files_of, find_recordings, read
from skeletonllm.skeleton.kinematics import bone_lengths, point, quaternion_product, rotate_y
from skeletonllm.skeleton.orientation import rotations_from_positions
from skeletonllm.skeleton.performers import ACTIONS, perform
from skeletonllm.skeleton.rotations import matrices, quaternions
from skeletonllm.skeleton.spaces import upright
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology, part_of, side_of
from tests.makers import make_clip

DATA = Path(__file__).parents[5] / "shared" / "data"

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
        ("1 90 0 90", "1 90 x 90", "line 25: found 'x', expected a number"),
        ("1 90 0 90", "1 90 1_0 90", "line 25: found '1_0', expected a number"),
        ("1 90 0 90", "1 90 NA 90", "line 25: found 'NA', expected a number"),
        ("1 90 0 90", "1 90 1e999 90", "line 25: found 1e999, expected finite"),
        ("1 90 0 90", "1 90 2e8 90", "from the origin"),
        ("OFFSET 0 50 0", "OFFSET 0 50", "line 8: found '0 50', expected OFFSET and three numbers"),
        ("OFFSET 0 50 0", "OFFSET 0 inf 0", "line 8: found '0 inf 0', expected an offset below"),
        ("OFFSET 0 50 0", "Offset 0 50 0", "line 8: found 'Offset 0 50 0', expected ROOT"),
        ("JOINT Neck\n", "JOINT Neck\nJOINT Neck\n", "line 7: found 'JOINT Neck', expected {"),
        ("JOINT Neck", "ROOT Neck", "line 6: found 'ROOT Neck', expected one ROOT"),
        ("JOINT Neck", "JOINT " + "N" * 300, "joint 2, NNN"),
        ("\t\t\tEnd Site\n", "", "line 14: found '{', expected no bracket here"),
        ("HIERARCHY\n", "HIERARCHY }\n", "line 1: found '}'"),
        ("HIERARCHY\n", "HIERARCHY\n" + "}" * 3, "line 2: found '}'"),
        ("1 90 0 90", "1 90 nan 90", "line 25: found nan, expected finite"),
        ("\t\t}\n\t}\n}\n", "\t\t}\n\t}\n", "found the end with 1 brackets open"),
        ("CHANNELS 3", "CHANNELS 4", "line 9, joint Neck: found '4' and 3 channels"),
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


def test_a_joint_whose_name_says_nothing_is_of_its_ancestors_part(tmp_path):
    (tmp_path / "a.bvh").write_text(
        SMALL.replace("JOINT Neck", "JOINT Bip01 X Ponytail").replace("JOINT Head", "JOINT tip")
    )
    (clip,) = read(tmp_path / "a.bvh")
    assert clip.topology.joint_names == ("Hips", "Bip01 X Ponytail", "tip")
    assert clip.topology.parts == ("pelvis", "pelvis", "pelvis")
    (tmp_path / "b.bvh").write_text(SMALL.replace("Hips", "joint1").replace("Neck", "joint2").replace("Head", "joint3"))
    with pytest.raises(FormatError, match="'joint1': no body part is known by this name"):
        read(tmp_path / "b.bvh")


def test_joints_of_the_same_name_are_told_apart(tmp_path):
    (tmp_path / "a.bvh").write_text(SMALL.replace("JOINT Neck", "JOINT Head"))
    (clip,) = read(tmp_path / "a.bvh")
    assert clip.topology.joint_names == ("Hips", "Head", "Head_2")


def test_numbers_with_a_plus_are_numbers(tmp_path):
    (tmp_path / "a.bvh").write_text(SMALL)
    (tmp_path / "b.bvh").write_text(SMALL.replace("1 90 0 90", "+1 +90. 0 +9e1"))
    one, other = read(tmp_path / "a.bvh")[0], read(tmp_path / "b.bvh")[0]
    np.testing.assert_array_equal(one.positions, other.positions)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (
            ("mixamorig:Hips", "mixamorig:LeftUpLeg", "mixamorig:LeftHandIndex1", "mixamorig:HeadTop_End"),
            ("pelvis center", "hip left", "hand left", "head center"),
        ),
        (
            ("Bip01 Pelvis", "Bip01 L Thigh", "Bip01 R Calf", "Bip01 L Finger0", "Bip01 R Clavicle"),
            ("pelvis center", "hip left", "knee right", "hand left", "shoulder right"),
        ),
        (("Hips", "RightShin", "LeftThigh", "RightToeTip"), ("pelvis center", "knee right", "hip left", "foot right")),
        (("Armature_Hips", "Armature_Leg_L", "Armature_Arm.R"), ("pelvis center", "knee left", "shoulder right")),
    ],
)
def test_the_names_of_usual_programs_are_known(names, parts):
    assert tuple(f"{part_of(name)} {side_of(name)}" for name in names) == parts


def turned_file(folder, up):
    clip = mocap("wave")
    turn = upright(up).T
    turned = (clip.positions.astype(np.float64) @ turn.T).astype(np.float32)
    assert clip.rotations is not None
    # The bones at rest stand on that axis too, as in files of programs that have z up.
    rotations = quaternions(turn @ matrices(clip.rotations) @ turn.T)
    bvh.write(replace(clip, positions=turned, rotations=rotations), folder / "a.bvh")
    return clip


@pytest.mark.parametrize("up", ["+y", "+z", "-z"])
def test_the_axis_on_which_movement_and_rest_pose_stand_is_up(tmp_path, up):
    clip = turned_file(tmp_path, up)
    (back,) = read(tmp_path / "a.bvh")
    assert back.source.space == f"cm, {up} up (by the body's size)"
    order = [back.topology.joint_names.index(name) for name in clip.topology.joint_names]
    np.testing.assert_allclose(back.positions[:, :, order], clip.positions, atol=1e-4)


def test_what_is_declared_wins(tmp_path):
    (tmp_path / "a.bvh").write_text(SMALL)
    (clip,) = read(tmp_path / "a.bvh", declared=Declared(unit="mm", up="-y"))
    np.testing.assert_allclose(clip.positions[0, 0, 0], (0, -0.09, 0), atol=1e-6)
    assert clip.source.space == "mm, -y up (declared)"
    assert clip.rotations is not None
    np.testing.assert_allclose(matrices(clip.rotations[0, 0, 0]), upright("-y"), atol=1e-6)


def test_known_data_sets_say_their_action_in_the_files_name(tmp_path):
    path = tmp_path / "dataset-2_walk-turn-left_masculine_012.bvh"
    path.write_text(SMALL)
    path.with_suffix(".json").write_text('{"content": 1, "style": 2}')
    (clip,) = read(path)
    assert (clip.action, clip.source.setup, clip.source.repetition) == ("walk-turn-left", "masculine", "12")
    assert files_of(path) == [path, path.with_suffix(".json")]
    assert find_recordings(tmp_path) == [path]
    path = path.rename(tmp_path / "fallAndGetUp2_subject3.bvh")
    (clip,) = read(path)
    assert (clip.action, clip.source.subject, clip.source.repetition) == ("fallAndGetUp", "subject3", "2")


@pytest.mark.parametrize(
    "content",
    [
        SMALL.replace("Frames: 2", "Frames: 99999999999999999999"),
        SMALL.replace("Frames: 2", "Frames: " + "9" * 5000),
        SMALL.replace("Frames: 2", "Frames: -2"),
        SMALL.replace("Time: 0.0333333", "Time: nan"),
        "HIERARCHY\nROOT Hips\n" + "{" * 5000,
        "HIERARCHY\n"
        + "".join(f"{'JOINT' if i else 'ROOT'} Hips{i}\n{{\n" for i in range(3000))
        + "}" * 3000
        + "MOTION\nFrames: 1\nFrame Time: 1\n",
        "HIERARCHY\nROOT Hips\n{\n}\nMOTION\nFrames: 1000000000\nFrame Time: 1\n",
        SMALL.replace("Hips", "H\0ips"),
        SMALL.replace("CHANNELS 3", "CHANNELS " + "9" * 5000),
    ],
)
def test_hostile_files_are_one_error(tmp_path, content):
    (tmp_path / "a.bvh").write_text(content)
    with pytest.raises(FormatError):
        read(tmp_path / "a.bvh")


@settings(max_examples=150)
@given(at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_whatever_byte_is_flipped_there_is_a_clip_or_one_error(tmp_path_factory, at, byte):
    path = tmp_path_factory.mktemp("bvh") / "a.bvh"
    data = bytearray(SMALL.encode())
    data[at % len(data)] = byte
    path.write_bytes(bytes(data))
    with contextlib.suppress(FormatError):
        read(path, "bvh")


@pytest.mark.skipif(not (DATA / "xia_bvh").is_dir(), reason="no real recordings")
def test_every_real_file_has_the_frames_and_the_rate_that_are_known():
    known = [entry for entry in json.loads((DATA / "MANIFEST.json").read_text()) if entry["format"] == "bvh"]
    assert {entry["dataset"] for entry in known} == {
        *("aalto_bvh", "bandai1", "bandai2", "games105_bvh", "pybvh_bvh", "xia_bvh")
    }
    bandai = [entry for entry in known if entry["dataset"].startswith("bandai")]
    for entry in [entry for entry in known if entry not in bandai] + bandai[::4]:
        (clip,) = read(DATA / entry["file"])
        assert clip.num_frames == entry["n_frames"]
        assert clip.fps == pytest.approx(entry["fps"], abs=0.01)
        # One file has bones and movement along z.
        assert f", {'+z' if 'standard_skeleton' in entry['file'] else '+y'} up" in clip.source.space
        if entry in bandai:
            assert (clip.action, clip.source.setup) == (entry["label"], entry["style"])
        else:
            assert clip.action is None


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
