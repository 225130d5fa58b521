"""What holds for every body and every movement: turned, moved, scaled and mirrored ones, and small changes of a joint."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from skeletonllm.render.skinning import rotate, skin
from skeletonllm.render.turns import joint_turns
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import quaternion_product
from skeletonllm.skeleton.performers import ACTIONS, TWO_PERSONS, perform
from skeletonllm.skeleton.rotations import from_axis_angle, quaternions
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import mirrored, moved, t_pose
from tests.skeletonllm.render.clouds import (
    any_topology,
    batch_of,
    built,
    cloud_of,
    covariances,
    offsets_for,
    pictures,
    placed,
)

ALONE = tuple(action for action in ACTIONS if action not in TWO_PERSONS)
performances = st.tuples(st.sampled_from(ALONE), st.integers(0, 9))
axis_angles = st.tuples(*[st.floats(-3, 3)] * 3).map(np.array)
shifts = st.tuples(*[st.floats(-5, 5)] * 3)


def body_of(performance: tuple[str, int]) -> Clip:
    return perform(*performance, 0, 0, fps=30.0)


def degrees_between(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    dots = np.abs((one.astype(np.float64) * other).sum(-1))
    return np.degrees(2 * np.arccos(np.clip(dots, 0, 1)))


@settings(max_examples=30)
@given(performances, axis_angles)
def test_a_turned_body_has_the_turned_turns(performance, axis_angle) -> None:
    body = body_of(performance)
    turn = from_axis_angle(axis_angle)
    before = joint_turns(body.positions, body.confidence, body.topology)
    after = joint_turns((body.positions @ turn.T).astype(np.float32), body.confidence, body.topology)
    assert degrees_between(after, quaternion_product(quaternions(turn), before)).max() < 0.5


@settings(max_examples=30)
@given(performances)
def test_a_mirrored_body_has_the_mirrored_turns(performance) -> None:
    body = body_of(performance)
    swap = list(range(body.topology.num_joints))
    for left, right in body.topology.mirror:
        swap[left], swap[right] = right, left
    image = mirrored(body)
    found = joint_turns(image.positions, image.confidence, body.topology)
    before = joint_turns(body.positions, body.confidence, body.topology)
    assert degrees_between(found, before[:, :, swap] * np.array([1, 1, -1, -1])).max() < 0.5


@settings(max_examples=30)
@given(performances, axis_angles, shifts, st.sampled_from((1.0, 0.5, 3.0)))
def test_turning_moving_and_scaling_a_body_turns_moves_and_scales_its_gaussians(
    performance, axis_angle, shift, scale
) -> None:
    body = body_of(performance)
    batch = batch_of(body)
    offsets = offsets_for(batch)
    turn, by = torch.from_numpy(from_axis_angle(axis_angle)).float(), torch.tensor(shift).float()
    changed = placed(batch, body.topology, scale * batch.joints @ turn.T + by)
    before, after = cloud_of(batch, offsets), cloud_of(changed, scale * offsets, scale * 0.035)
    # A bone without length is a sphere, and what counts as no length does not grow with the body.
    close = 3e-4 + 2e-3 * abs(scale - 1)
    torch.testing.assert_close(after.means, scale * before.means @ turn.T + by, rtol=0, atol=close)
    expected = scale**2 * turn @ covariances(before) @ turn.T
    torch.testing.assert_close(covariances(after), expected, rtol=0, atol=2e-5 * scale**2)


@settings(max_examples=25)
@given(performances, st.floats(-3.1, 3.1), shifts, st.floats(0.01, 100), st.booleans())
def test_a_picture_is_the_same_wherever_a_person_stands_and_in_any_unit(
    performance, yaw, shift, scale, file_turns
) -> None:
    body = body_of(performance)
    here = body if file_turns else replace(body, rotations=None)
    there = moved(body, yaw, shift, scale)
    if file_turns and body.rotations is not None:
        turn = np.array([np.cos(yaw / 2), 0, np.sin(yaw / 2), 0], np.float32)
        there = replace(there, rotations=quaternion_product(turn, body.rotations).astype(np.float32))
    difference = (pictures([there]) - pictures([here])).abs()
    # Two Gaussians in the same millimetre of depth may change places.
    assert difference.mean() < 1e-4
    assert (difference > 0.02).float().mean() < 2e-3


@pytest.mark.parametrize("action", TWO_PERSONS)
def test_a_picture_of_two_persons_is_the_same_wherever_they_stand(action) -> None:
    pair = perform(action, 0, 0, 0)
    difference = (pictures([moved(pair, 2.0, (3, 1, -2), 40.0)]) - pictures([moved(pair)])).abs()
    assert difference.mean() < 1e-4


@settings(max_examples=20)
@given(performances)
def test_a_mirrored_body_has_the_mirrored_picture_with_the_sides_colours_swapped(performance) -> None:
    body = body_of(performance)
    renderer, swapped = built(), built()
    with torch.no_grad():
        swapped.get_parameter("modulator.colors").copy_(renderer.get_parameter("modulator.colors")[[2, 1, 0]])
        picture = renderer(renderer.collate([replace(body, rotations=None)]))
        image = swapped(swapped.collate([mirrored(body)]))
    difference = (image.flip(-1) - picture).abs()
    assert difference.mean() < 5e-4
    assert (difference > 0.02).float().mean() < 5e-3


def _unit(values: Tensor) -> Tensor:
    return torch.nn.functional.normalize(values, dim=-1)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(("any", "twisted", "opposite sign", "the same")))
def test_between_any_two_turns_a_limb_keeps_its_thickness(seed, along, how) -> None:
    random = torch.Generator().manual_seed(seed)
    batch = batch_of(t_pose())
    turns = _unit(torch.randn(batch.turns.shape, generator=random))
    if how != "any":
        # All joints alike, but every other one twisted by nearly half a turn, or written with the other sign.
        other = {"twisted": (0.01, 1.0, 0.0, 0.0), "opposite sign": (-1.0, 0, 0, 0), "the same": (1.0, 0, 0, 0)}[how]
        turns = turns[..., :1, :].expand_as(turns).clone()
        twist = quaternion_product(turns[:, :, ::2].numpy(), np.array(other, np.float32))
        turns[:, :, ::2] = _unit(torch.from_numpy(twist).float())
    batch = replace(batch, turns=turns, along=torch.full_like(batch.along, along))
    offsets = offsets_for(batch, seed)
    carried = skin(batch, offsets).means - skin(batch).means
    torch.testing.assert_close(carried.norm(dim=-1), offsets.norm(dim=-1)[:, None].expand(-1, 3, -1), rtol=0, atol=1e-5)
    if how in ("opposite sign", "the same"):
        expected = rotate(turns[:, :, 1:2].expand(-1, -1, offsets.shape[1], -1), offsets[:, None].expand_as(carried))
        torch.testing.assert_close(carried, expected, rtol=0, atol=1e-5)


HARD = {
    "a straight arm": {},
    "an arm folded back on itself": {"wrist_left": (0.2, 1.45, 0), "hand_left": (0.15, 1.45, 0)},
    "a forearm without length": {"wrist_left": (0.45, 1.45, 0), "hand_left": (0.45, 1.45, 0)},
    "a leg folded to the back": {"ankle_left": (0.1, 0.93, -0.02), "foot_left": (0.1, 0.93, -0.1)},
    "a head in the neck": {"head": (0, 1.5, 0)},
    "shoulders and hips edge-on": {
        "shoulder_left": (0, 1.45, 0),
        "shoulder_right": (0, 1.45, 0),
        "hip_left": (0, 0.95, 0),
        "hip_right": (0, 0.95, 0),
    },
}


def _posed(places: dict[str, tuple[float, float, float]]) -> Clip:
    clip = t_pose()
    positions = clip.positions.copy()
    for name, place in places.items():
        positions[:, :, clip.topology.joint_names.index(name)] = place
    return replace(clip, positions=positions)


@settings(max_examples=60)
@given(st.sampled_from(sorted(HARD)), st.integers(0, 19), axis_angles, st.sampled_from((1e-2, 1e-3, 1e-4)))
def test_a_small_change_of_a_joint_is_a_small_change_of_the_cloud(pose, joint, direction, size) -> None:
    clip = _posed(HARD[pose])
    batch = batch_of(clip)
    change = size * direction / max(1e-6, np.linalg.norm(direction))
    joints = batch.joints.clone()
    joints[:, :, joint] += torch.from_numpy(change).float()
    offsets = offsets_for(batch)
    before, after = cloud_of(batch, offsets), cloud_of(placed(batch, clip.topology, joints), offsets)
    # Places on the bones move no farther than the joint; offsets of 3 cm add how fast a limb may turn.
    torch.testing.assert_close(
        skin(placed(batch, clip.topology, joints)).means, skin(batch).means, rtol=0, atol=1.01 * size
    )
    assert float((after.means - before.means).norm(dim=-1).max()) <= 30 * size
    assert float((covariances(after) - covariances(before)).abs().max()) <= 0.06 * size


@settings(max_examples=30)
@given(st.integers(5, 133), st.integers(0, 10**6), st.sampled_from((2, 3)))
def test_turns_and_axes_of_any_tree_have_length_one_or_less(num_joints, seed, dims) -> None:
    clip = make_clip(topology=any_topology(num_joints, seed, dims), num_frames=3, seed=seed)
    batch = batch_of(clip)
    torch.testing.assert_close(batch.turns.norm(dim=-1), torch.ones(1, 3, num_joints), rtol=0, atol=1e-5)
    cloud = cloud_of(batch, offsets_for(batch, seed))
    assert float(cloud.axes.norm(dim=-1).max()) <= 1 + 1e-5
    assert bool((torch.linalg.eigvalsh(covariances(cloud)) > 0).all())
