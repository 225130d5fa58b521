"""The figure: bones never change length, limbs reach what they can, rotations carry the joints."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.skeleton.figure import FIGURE, JOINT, Body, Pose, pose_figure
from skeletonllm.skeleton.kinematics import bone_lengths
from skeletonllm.skeleton.rotations import about, matrices, quaternions


def random_pose(num_frames: int, seed: int, size: float = 0.5) -> Pose:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-size, size, (num_frames, *shape))

    return Pose(
        pelvis=draw(3),
        yaw=draw(),
        lean=draw(),
        bend=draw(),
        twist=draw(),
        tilt=draw(),
        nod=draw(),
        hands=draw(2, 3),
        elbows=draw(2, 3) + np.array((0, -2, 0)),
        ankles=draw(2, 3),
        toes=draw(2),
    )


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), height=st.floats(1.0, 2.2))
def test_bones_keep_their_length_in_any_pose(seed, height):
    body = Body(height_m=height, arm_scale=1.1)
    positions, rotations = pose_figure(body, random_pose(4, seed, size=1.0))
    lengths = bone_lengths(positions, FIGURE)
    np.testing.assert_allclose(lengths, np.broadcast_to(lengths[0], lengths.shape), atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(rotations, axis=-1), 1, atol=1e-5)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_rotations_carry_each_joint_from_its_parent(seed):
    body = Body()
    positions, rotations = pose_figure(body, random_pose(3, seed))
    rest, turns = body.rest_positions(), matrices(rotations)
    for parent, child in FIGURE.bones:
        carried = positions[:, parent] + turns[:, parent] @ (rest[child] - rest[parent])
        np.testing.assert_allclose(positions[:, child], carried, atol=1e-4)


def test_a_hand_in_reach_arrives_and_one_out_of_reach_points_there():
    body = Body()
    pose = random_pose(2, 0, size=0.1)
    near = np.array((0.1, -0.2, 0.3))
    pose = replace(pose, yaw=np.zeros(2), hands=np.stack([np.stack((near, 10 * near))] * 2))
    positions, _ = pose_figure(body, pose)
    reach = [
        positions[:, JOINT[f"wrist_{side}"]] - positions[:, JOINT[f"shoulder_{side}"]] for side in ("left", "right")
    ]
    np.testing.assert_allclose(reach[0], np.stack((near, near)), atol=1e-5)
    np.testing.assert_allclose(
        reach[1] / np.linalg.norm(reach[1], axis=-1, keepdims=True), [near / np.linalg.norm(near)] * 2, atol=1e-5
    )
    assert np.linalg.norm(reach[1], axis=-1) == pytest.approx(0.999 * body.arm_m, rel=1e-4)


def test_the_figure_stands_as_tall_as_its_body_says_with_its_left_at_plus_x():
    zero = replace(random_pose(1, 0, size=0.0), hands=np.full((1, 2, 3), (0.0, -0.5, 0.1)))
    positions, _ = pose_figure(Body(height_m=1.8), zero)
    assert positions[0, JOINT["eye_left"], 1] == pytest.approx(1.66, abs=0.05)
    assert positions[0, JOINT["foot_left"], 1] == pytest.approx(0.0, abs=0.03)
    assert positions[0, JOINT["shoulder_left"], 0] > 0.1
    assert positions[0, JOINT["nose"], 2] > positions[0, JOINT["head"], 2]


@settings(max_examples=50)
@given(angles=st.tuples(*[st.floats(-7, 7)] * 3))
def test_quaternions_and_matrices_are_the_same_rotation(angles):
    turn = about("z", np.array(angles[:1])) @ about("x", np.array(angles[1:2])) @ about("y", np.array(angles[2:]))
    np.testing.assert_allclose(matrices(quaternions(turn)), turn, atol=1e-5)


def test_about_is_right_handed():
    quarter = np.array([np.pi / 2])
    for axis, start, end in (("x", 1, 2), ("y", 2, 0), ("z", 0, 1)):
        np.testing.assert_allclose(about(axis, quarter)[0] @ np.eye(3)[start], np.eye(3)[end], atol=1e-12)
