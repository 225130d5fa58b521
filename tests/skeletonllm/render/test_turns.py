import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.render.turns import file_turns, joint_turns
from skeletonllm.skeleton.kinematics import quaternion_product
from skeletonllm.skeleton.rotations import about, matrices, quaternions
from tests.makers import make_clip, random_topology
from tests.skeletonllm.render.bodies import t_pose, waving, with_joint

REST = np.array([1.0, 0, 0, 0])


def turns_of(clip) -> np.ndarray:
    return joint_turns(clip.positions, clip.confidence, clip.topology)


def angle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Degrees between rotations."""
    return np.degrees(2 * np.arccos(np.clip(np.abs((one * other).sum(-1)), 0, 1)))


def test_in_the_t_pose_nothing_is_turned() -> None:
    assert angle(turns_of(t_pose()), REST).max() < 2.5


def test_a_joint_that_is_never_seen_is_passed_over() -> None:
    bent = with_joint(t_pose(), "wrist_left", np.array((0.45, 1.45, 0.25)))
    bent = with_joint(bent, "hand_left", np.array((0.45, 1.45, 0.35)))
    names = bent.topology.joint_names
    confidence = bent.confidence.copy()
    confidence[:, :, names.index("shoulder_left")] = 0
    hidden = with_joint(bent, "shoulder_left", np.zeros(3))
    found = joint_turns(hidden.positions, confidence, bent.topology)
    for name in ("elbow_left", "wrist_left", "knee_left", "elbow_right"):
        joint = names.index(name)
        assert angle(found[0, 0, joint], turns_of(bent)[0, 0, joint]) < 12


def test_a_fold_turns_about_the_elbows_and_the_knees_hinge() -> None:
    body = with_joint(
        with_joint(t_pose(), "wrist_left", np.array((0.25, 1.45, 0))), "hand_left", np.array((0.2, 1.45, 0))
    )
    body = with_joint(with_joint(body, "ankle_right", np.array((-0.1, 0.9, 0))), "foot_right", np.array((-0.1, 1, 0)))
    turns = dict(zip(body.topology.joint_names, turns_of(body)[0, 0], strict=True))
    # The palm that faced the ground does so still; the shin that faced the front faces the back.
    assert angle(turns["elbow_left"], quaternions(about("y", np.array([np.pi])))[0]) < 3
    assert angle(turns["knee_right"], quaternions(about("x", np.array([np.pi])))[0]) < 3


def test_a_forearm_that_bends_turns_its_elbow_and_nothing_above() -> None:
    body = t_pose()
    up = with_joint(with_joint(body, "wrist_left", np.array((0.45, 1.7, 0))), "hand_left", np.array((0.45, 1.8, 0)))
    turns = dict(zip(body.topology.joint_names, turns_of(up)[0, 0], strict=True))
    assert angle(turns["elbow_left"], quaternions(about("z", np.array([np.pi / 2])))[0]) < 2.5
    assert angle(turns["hand_left"], turns["elbow_left"]) < 2.5
    assert angle(turns["shoulder_left"], REST) < 2.5
    assert angle(turns["wrist_right"], REST) < 2.5


@pytest.mark.parametrize("wrist", [(0.2001, 1.45, 0), (0.2, 1.45, 0), (0.45, 1.45, 0), (0.7, 1.45, 1e-4)])
def test_folds_zero_lengths_and_straight_limbs_give_rotations(wrist) -> None:
    turns = turns_of(with_joint(t_pose(), "wrist_left", np.array(wrist)))
    np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-5)


def test_a_fold_is_passed_without_a_jump() -> None:
    angles = np.linspace(np.pi - 0.3, np.pi + 0.3, 61)
    path = np.stack((0.45 + 0.25 * np.cos(angles), 1.45 + 0.25 * np.sin(angles), 0 * angles), -1)
    body = with_joint(t_pose(num_frames=61), "wrist_left", path)
    elbow = turns_of(body)[0, :, body.topology.joint_names.index("elbow_left")]
    # The hinge may stand across the fold's plane: half a turn, but spread over many frames of 0.6 degrees.
    assert angle(elbow[1:], elbow[:-1]).max() < 90


@given(st.integers(2, 60), st.integers(0, 10**6))
def test_any_tree_has_unit_turns(num_joints, seed) -> None:
    clip = make_clip(topology=random_topology(num_joints, seed), num_frames=3, seed=seed)
    for positions in (clip.positions, np.zeros_like(clip.positions)):
        turns = joint_turns(positions, clip.confidence, clip.topology)
        np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-5)


def test_a_file_says_how_a_joint_turns_whatever_its_rest_pose() -> None:
    body = waving()
    assert body.rotations is not None
    joints = body.topology.num_joints
    rng = np.random.default_rng(0)
    other_rest = rng.normal(size=(joints, 4)).astype(np.float32)
    other_rest /= np.linalg.norm(other_rest, axis=-1, keepdims=True)
    plain = file_turns(body.positions, body.confidence, body.topology, body.rotations)
    disguised = quaternion_product(body.rotations, other_rest[None, None]).astype(np.float32)
    assert angle(file_turns(body.positions, body.confidence, body.topology, disguised), plain).max() < 0.5
    # Between two frames the joint turns exactly as in the file.
    own = matrices(plain[:, 5]) @ np.swapaxes(matrices(plain[:, 0]), -1, -2)
    file = matrices(body.rotations[:, 5]) @ np.swapaxes(matrices(body.rotations[:, 0]), -1, -2)
    np.testing.assert_allclose(own, file, atol=1e-4)


def test_rotations_that_a_file_leaves_out_come_from_the_places() -> None:
    body = waving()
    assert body.rotations is not None
    rotations = body.rotations.copy()
    rotations[:, :, 3] = 0
    found = file_turns(body.positions, body.confidence, body.topology, rotations)
    np.testing.assert_allclose(found[:, :, 3], turns_of(body)[:, :, 3], atol=1e-6)
