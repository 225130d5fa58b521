"""Clips refuse what cannot be; the canonical pose does not depend on where and how large somebody was recorded."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import DataError
from skeletonllm.skeleton.clip import mask_unseen
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, body_size_m, canonicalise, fill_unseen, rotate_y
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology, part_of, side_of
from tests.makers import make_clip


def test_a_clip_refuses_zero_fps():
    with pytest.raises(DataError, match="fps is 0"):
        make_clip(fps=0.0)


def test_a_clip_refuses_positions_that_are_not_finite():
    positions = make_clip().positions.copy()
    positions[0, 0, 0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        make_clip(positions=positions)


def test_what_has_no_confidence_has_no_place():
    positions, confidence = mask_unseen(np.ones((1, 2, 1, 3), np.float32), np.array([[[0.0], [1.0]]], np.float32))
    assert not positions[0, 0].any()
    assert positions[0, 1].all()
    assert confidence.ravel().tolist() == [0, 1]


def test_unseen_joints_are_filled_between_sightings():
    positions = np.arange(5, dtype=np.float32)[None, :, None, None] * np.ones(3, np.float32)
    confidence = np.array([[[0], [1], [0], [1], [0]]], np.float32)
    filled = fill_unseen(np.where(confidence[..., None] > 0, positions, 0).astype(np.float32), confidence)
    assert filled[0, :, 0, 0].tolist() == [1, 1, 2, 3, 3]


@settings(max_examples=20)
@given(yaw=st.floats(-3, 3), scale=st.floats(0.3, 3), shift=st.floats(-5, 5))
def test_the_canonical_clip_forgets_place_heading_and_size(yaw, scale, shift):
    clip = perform("throw", 0, 0, 0, fps=15.0)
    moved = (rotate_y(clip.positions, yaw) * scale + shift).astype(np.float32)
    here, there = canonicalise(clip), canonicalise(replace(clip, positions=moved))
    np.testing.assert_allclose(there.positions, here.positions, atol=2e-3)
    assert body_size_m(here) == pytest.approx(CANONICAL_SIZE_M, rel=1e-3)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_topology_is_a_tree_with_two_equal_sides(name):
    topology = TOPOLOGIES[name]
    assert len(topology.bones) == topology.num_joints - 1
    assert topology.sides.count("left") == topology.sides.count("right") > 0
    for left, right in topology.mirror:
        assert topology.parts[left] == topology.parts[right]


@pytest.mark.parametrize(
    ("name", "part", "side"),
    [
        ("LeftForeArm", "elbow", "left"),
        ("mixamorig:RightUpLeg", "hip", "right"),
        ("lHip", "hip", "left"),
        ("Hips", "pelvis", "center"),
        ("UpperLeg_R", "hip", "right"),
        ("left_ear", "face", "left"),
        ("spine_shoulder", "chest", "center"),
        ("rTorso_Clavicle", "shoulder", "right"),
    ],
)
def test_names_of_joints_say_what_they_are(name, part, side):
    assert (part_of(name), side_of(name)) == (part, side)


def test_a_topology_with_a_ring_is_refused():
    with pytest.raises(DataError, match="do not lead to the root"):
        Topology("ring", ("a", "b", "c"), (-1, 2, 1), ("pelvis", "hip", "knee"))


def test_a_joint_that_is_never_seen_is_not_measured():
    whole = perform("wave", 0, 0, 0, fps=30.0)
    seen = whole.confidence.copy()
    ankle = whole.topology.joint_names.index("ankle_right")
    seen[:, :, ankle] = 0
    partly = replace(whole, confidence=seen, positions=np.where(seen[..., None] > 0, whole.positions, 0))
    assert body_size_m(partly) == pytest.approx(body_size_m(whole), rel=0.02)
    # Without hips there is no trunk to measure: what is seen is.
    for name in ("pelvis", "hip_left", "hip_right"):
        seen[:, :, whole.topology.joint_names.index(name)] = 0
    upper = replace(whole, confidence=seen, positions=np.where(seen[..., None] > 0, whole.positions, 0))
    assert 1 < body_size_m(upper) < 2.5
    assert np.isfinite(canonicalise(upper).positions).all()
