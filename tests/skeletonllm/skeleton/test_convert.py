"""A clip with other joints: what is shared stays where it is, nothing is padded, every loss is told."""

import itertools

import numpy as np
import pytest

from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.convert import convert, landmarks, points_of
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology
from tests.makers import make_clip, random_topology

# Where the parts of a figure are that stands upright.
HEIGHTS = {
    "head": 9,
    "face": 8.8,
    "neck": 8,
    "chest": 7.5,
    "shoulder": 7.5,
    "spine": 6.5,
    "pelvis": 5.5,
    "elbow": 6,
    "wrist": 5,
    "hand": 4.8,
    "hip": 5.4,
    "knee": 3,
    "ankle": 1,
    "foot": 0.8,
}


def place(topology: Topology, joint: int) -> np.ndarray:
    """Where a joint is on a figure that is drawn by part and side only: left at +x, head above feet."""
    x = {"left": 1.0, "center": 0.0, "right": -1.0}[topology.sides[joint]]
    return np.array((x, HEIGHTS[topology.parts[joint]], joint * 1e-3), np.float32)


def figure(topology: Topology):
    places = np.array([place(topology, joint) for joint in range(topology.num_joints)])
    return make_clip(
        "a",
        topology,
        positions=np.broadcast_to(places, (1, 3, *places.shape)).copy(),
        num_frames=3,
        confidence=np.ones((1, 3, len(places)), np.float32),
    )


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_left_stays_left_head_stays_above_and_kept_joints_stay_in_place(name):
    for target in TOPOLOGIES.values():
        check(TOPOLOGIES[name], target)


def check(source: Topology, target: Topology) -> None:
    clip = figure(source)
    made, losses = convert(clip, target)
    assert made.topology.name == target.name
    assert made.topology.dims == source.dims
    assert [row.joint for row in losses.joints] == list(target.joint_names)
    for joint, row in enumerate(losses.joints):
        at, side = made.positions[0, 0, joint], target.sides[joint]
        if row.how == "not seen":
            assert not made.confidence[0, :, joint].any()
            assert not at.any()
            continue
        assert {"left": at[0] > 0.2, "right": at[0] < -0.2, "center": abs(at[0]) < 0.01}[side], row
        if target.parts[joint] in ("head", "face"):
            assert at[1] > 8
        if target.parts[joint] in ("ankle", "foot"):
            assert at[1] < 2
        if row.how == "kept":
            (name,) = row.source
            assert np.array_equal(made.positions[:, :, joint], clip.positions[:, :, source.joint_names.index(name)])
    used = {name for row in losses.joints for name in row.source}
    assert set(losses.lost) == set(source.joint_names) - used
    assert (source is target) == losses.is_lossless or (source.name, target.name) in SAME_BODY


# Other orders of the same joints, or a body and its first part: nothing is lost one way.
SAME_BODY = {
    pair
    for group in (("kinect_v1_20", "msraction3d_20", "utdmhad_20"), ("kard_15", "cad60_15", "florence_15"))
    for pair in itertools.permutations(group, 2)
}


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_the_limbs_of_every_topology_reach_every_other(name):
    """What all bodies have is never lost: shoulders, elbows, wrists, hips, knees, ankles."""
    limbs = list(itertools.product(("left", "right"), ("shoulder", "elbow", "wrist", "hip", "knee", "ankle"), ("0",)))
    has = set(landmarks(TOPOLOGIES[name]))
    for target in TOPOLOGIES.values():
        keys, points = landmarks(target), points_of(TOPOLOGIES[name], target)
        for limb in limbs:
            if limb in has and limb in keys:
                point = points[keys.index(limb)]
                assert point is not None, (target.name, limb)
                assert list(point.values()) == [1.0]


def test_a_missing_pelvis_and_neck_are_the_middle_of_hips_and_shoulders():
    clip = sensors.convert(perform("kick", 0, 0, 0, fps=30.0), TOPOLOGIES["coco_17"])
    made, losses = convert(clip, TOPOLOGIES["openpose_25"])
    at = made.topology.joint_names.index
    hips = clip.positions[:, :, 11:13].mean(2)
    np.testing.assert_allclose(made.positions[:, :, at("mid_hip")], hips, atol=1e-6)
    rows = {row.joint: row for row in losses.joints}
    assert (rows["mid_hip"].how, rows["mid_hip"].source) == ("averaged", ("left_hip", "right_hip"))
    assert rows["left_big_toe"].how == "not seen"
    assert losses.lost == ()


def test_a_joint_of_several_is_as_sure_as_the_least_sure():
    clip = make_clip("a", "coco_17")
    clip.confidence[:, :, 11] = 0.25
    clip.confidence[:, 3:, 12] = 0
    made, _ = convert(clip, TOPOLOGIES["openpose_25"])
    pelvis = made.topology.joint_names.index("mid_hip")
    assert made.confidence[0, :, pelvis].tolist() == [0.25] * 3 + [0.0] * 9
    assert not made.positions[0, 3:, pelvis].any()


def test_the_figure_of_simulated_people_is_nearly_the_same_by_both_ways():
    """Through another topology and back: kept joints come back exactly, the spine within some centimetres."""
    clip = sensors.convert(perform("wave", 0, 0, 0, fps=30.0), TOPOLOGIES["smpl_22"])
    there, _ = convert(clip, TOPOLOGIES["kinect_v2_25"])
    back, losses = convert(there, TOPOLOGIES["smpl_22"])
    for joint, row in enumerate(losses.joints):
        away = np.linalg.norm(back.positions[:, :, joint] - clip.positions[:, :, joint], axis=-1).max()
        assert away < (1e-6 if row.how == "kept" else 0.12), (row, away)


def test_a_topology_that_is_not_registered_is_converted_too():
    own = Topology.from_names("mine", ("hips", "head", "l_hand", "r_hand"), (-1, 0, 0, 0))
    made, losses = convert(make_clip("a", "kinect_v1_20"), own)
    assert [row.source for row in losses.joints] == [("hip_center",), ("head",), ("wrist_left",), ("wrist_right",)]
    assert made.topology is own
    strange = random_topology(12, 3)
    convert(make_clip("b", strange), TOPOLOGIES["smpl_22"])
    convert(make_clip("c", "smpl_22"), strange)


def test_rotations_stay_only_where_all_joints_do():
    turns = np.zeros((1, 12, 20, 4), np.float32)
    turns[..., 0] = 1
    clip = make_clip("a", rotations=turns)
    same, losses = convert(clip, clip.topology)
    assert losses.is_lossless
    assert same.rotations is not None
    other, losses = convert(clip, TOPOLOGIES["smpl_22"])
    assert losses.rotations
    assert other.rotations is None
