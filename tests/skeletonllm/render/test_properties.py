"""What must hold for any body: moving it, turning it, mirroring it, taking joints away."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.render import build_renderer
from skeletonllm.render.batch import collate
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.gaussians import GaussianCloud, on_limbs
from skeletonllm.render.renderer import draw
from skeletonllm.render.skinning import skin
from skeletonllm.render.turns import joint_turns
from skeletonllm.skeleton.kinematics import rotate_y
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip, random_topology
from tests.skeletonllm.render.bodies import mirrored, moved, t_pose, waving, with_joint
from tests.thinning import thinned

CONFIG = RenderConfig(num_frames=2, size_px=24, gaussians_per_bone=2)
angles, shifts, scales = st.floats(-3, 3), st.floats(-5, 5), st.floats(0.2, 4)
seeds = st.integers(0, 1000)


def cloud_of(batch) -> GaussianCloud:
    """Gaussians of one thickness that hang a little beside their bones."""
    offsets = torch.full((len(batch), batch.parent.shape[1], 3), 0.02)
    limbs = skin(batch, offsets)
    return on_limbs(limbs, torch.full_like(limbs.confidence, 0.03), limbs.confidence, limbs.means, 2)


@settings(max_examples=20)
@given(angles, shifts, seeds)
def test_turning_and_moving_the_joints_turns_and_moves_the_cloud(angle, shift, seed) -> None:
    batch = collate([make_clip(seed=seed)], CONFIG)
    turn = torch.tensor(rotate_y(np.eye(3, dtype=np.float32), angle))
    half = torch.tensor([np.cos(angle / 2), 0, np.sin(angle / 2), 0], dtype=torch.float32)
    real, axis = batch.turns[..., :1], batch.turns[..., 1:]
    turned = replace(
        batch,
        joints=batch.joints @ turn + shift,
        turns=torch.cat(
            (
                half[0] * real - (half[1:] * axis).sum(-1, keepdim=True),
                half[0] * axis + real * half[1:] + torch.linalg.cross(half[1:].expand_as(axis), axis),
            ),
            -1,
        ),
    )
    before, after = cloud_of(batch), cloud_of(turned)
    torch.testing.assert_close(after.means, before.means @ turn + shift, rtol=0, atol=1e-4)
    torch.testing.assert_close(after.axes, before.axes @ turn, rtol=0, atol=1e-4)
    torch.testing.assert_close(after.scale_along, before.scale_along, rtol=0, atol=1e-5)


@settings(max_examples=20)
@given(angles, shifts, scales)
def test_a_body_that_stands_elsewhere_turned_and_in_another_unit_gives_the_same_picture(angle, shift, scale) -> None:
    clip = replace(waving(), rotations=None)
    renderer = build_renderer(CONFIG)
    batch = renderer.collate([clip, moved(clip, angle, (shift, -shift, 2 * shift), scale)])
    with torch.no_grad():
        one, other = renderer(batch)
    assert (one - other).abs().mean() < 0.01
    torch.testing.assert_close(batch.joints[0], batch.joints[1], rtol=0, atol=0.03)


@settings(max_examples=15)
@given(st.sampled_from(["kinect_v1_20", "kinect_v2_25", "coco_17", "smpl_22"]), seeds)
def test_a_mirrored_body_gives_a_mirrored_silhouette(topology, seed) -> None:
    clip = replace(make_clip(topology=topology, seed=seed), rotations=None)
    plain = build_renderer(replace(CONFIG, renderer="skeleton_2d"))
    picture, mirror = plain(plain.collate([clip, mirrored(clip)])).amax(2)
    assert (picture - mirror.flip(-1)).abs().mean() < 0.02


@settings(max_examples=20)
@given(seeds, angles)
def test_turns_are_rotations_whichever_way_the_body_faces(seed, angle) -> None:
    clip = make_clip(seed=seed, num_frames=4)
    body = clip.positions - clip.positions[:, :, :1]
    turns, other = (joint_turns(part, clip.confidence, clip.topology) for part in (body, rotate_y(body, angle)))
    for found in (turns, other):
        np.testing.assert_allclose((found**2).sum(-1), 1, atol=1e-5)
        assert np.isfinite(found).all()


@pytest.mark.parametrize("seed", range(3))
def test_joints_change_the_cloud_smoothly_through_straight_limbs_folds_and_bones_without_length(seed) -> None:
    elbow, hand = np.array((0.45, 1.45, 0)), np.array((0.8, 1.45, 0))
    rng = np.random.default_rng(seed)
    for bad in (hand, elbow, np.array((0.2, 1.45, 0))):  # straight, no length, folded back on the shoulder
        step = 1e-4 * rng.normal(size=3)
        clips = [with_joint(t_pose(), "wrist_left", bad + share * step) for share in (0, 1, 2, 3)]
        clouds = [cloud_of(collate([clip], CONFIG)) for clip in clips]
        for before, after in pairwise(clouds):
            assert (after.means - before.means).abs().max() < 0.03
            assert (after.axes - before.axes).abs().max() < 0.3


def test_an_arm_that_turns_about_itself_keeps_its_thickness() -> None:
    batch = collate([t_pose()], CONFIG)
    twisted = batch.turns.clone()
    hand = TOPOLOGIES["kinect_v1_20"].joint_names.index("hand_left")
    twisted[:, :, hand] = torch.tensor([np.cos(1.5), np.sin(1.5), 0, 0], dtype=torch.float32)
    limbs = skin(replace(batch, turns=twisted), torch.tensor((0.0, 0.03, 0.0)).expand(1, batch.parent.shape[1], 3))
    beside = limbs.means - skin(batch).means
    torch.testing.assert_close(beside.norm(dim=-1), torch.full(beside.shape[:-1], 0.03), rtol=0, atol=1e-5)


@settings(max_examples=12)
@given(st.integers(5, 133), seeds, st.integers(1, 2))
def test_one_set_of_weights_draws_any_tree_and_every_gradient_is_finite(joints, seed, persons) -> None:
    renderer = build_renderer(CONFIG)
    clip = make_clip(topology=random_topology(joints, seed), num_persons=persons, seed=seed)
    frames = renderer(renderer.collate([clip, t_pose()]))
    assert frames.isfinite().all()
    assert frames.amax((1, 2, 3, 4)).min() > 0.05
    frames.square().sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in renderer.parameters())


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("camera", ["orthographic", "perspective"])
@settings(max_examples=15)
@given(
    seeds,
    st.sampled_from([float("nan"), float("inf"), -float("inf"), 1e6, -1e30, 1e-30, 0.0]),
    st.sampled_from(["joint", "frame", "person", "everything"]),
    st.sampled_from([1, 5]),
    st.sampled_from([0.001, 30.0, 1e5]),
)
def test_numbers_that_are_no_places_give_finite_frames_and_gradients(
    backend, camera, seed, bad, where, frames, fps
) -> None:
    clip = make_clip(num_persons=2, num_frames=frames, seed=seed, fps=fps)
    place = {
        "joint": (slice(None), slice(None), slice(3, 5)),
        "frame": (slice(None), slice(0, 1)),
        "person": (slice(0, 1),),
        "everything": (slice(None),),
    }[where]
    positions, confidence = clip.positions.copy(), clip.confidence.copy()
    positions[place] = bad if np.isfinite(bad) else 0
    if not np.isfinite(bad) or bad == 0:
        confidence[place] = 0
    renderer = build_renderer(replace(CONFIG, camera=camera, backend=backend))
    batch = renderer.collate([replace(clip, positions=positions, confidence=confidence)])
    joints = batch.joints.clone().requires_grad_()
    drawn = renderer(replace(batch, joints=joints))
    assert drawn.isfinite().all()
    assert drawn.min() >= 0
    assert drawn.max() < 1 + 1e-5
    if drawn.requires_grad:
        gradients = torch.autograd.grad(drawn.sum(), [joints, *renderer.parameters()], allow_unused=True)
        assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)


def test_who_is_in_front_hides_who_is_behind_whichever_comes_first_in_the_file() -> None:
    renderer = build_renderer(replace(CONFIG, renderer="skeleton_2d", view="fixed", size_px=48))
    body = t_pose()
    batch = renderer.collate(
        [replace(body, positions=np.concatenate((body.positions,) * 2), confidence=np.ones((2, 3, 20), np.float32))]
    )
    half = batch.joints.shape[2] // 2
    pictures = []
    for front in (0, 1):
        joints = batch.joints.clone()
        joints[:, :, front * half : (front + 1) * half, 2] += 1.0
        cloud = renderer.cloud(replace(batch, joints=joints))
        colors = torch.zeros_like(cloud.colors)
        colors[:, :, : colors.shape[2] // 2, 0] = 1
        colors[:, :, colors.shape[2] // 2 :, 2] = 1
        pictures.append(draw(replace(cloud, colors=colors), batch.center_m, batch.half_width_m, renderer.config)[0, 0])
    red_first, blue_first = pictures
    assert red_first[0].sum() > 3 * red_first[2].sum()
    assert blue_first[2].sum() > 3 * blue_first[0].sum()


def test_confidence_fades_exactly_the_gaussians_of_that_joint() -> None:
    clip = make_clip(topology="coco_17")
    faded = clip.confidence.copy()
    faded[:, :, 9] = 0.25
    renderer = build_renderer(CONFIG)
    batch = renderer.collate([clip, replace(clip, confidence=faded)])
    full, half = renderer.cloud(batch).opacities.detach()
    on_joint = (batch.parent[0] == 9) | (batch.child[0] == 9)
    torch.testing.assert_close(half[:, ~on_joint], full[:, ~on_joint])
    own = (batch.parent[0] == 9) & (batch.child[0] == 9)
    torch.testing.assert_close(half[:, own], 0.25 * full[:, own])
    assert (half[:, on_joint] < 0.6 * full[:, on_joint]).all()


def test_fewer_joints_change_the_picture_gracefully() -> None:
    clip = make_clip("a", "kinect_v2_25", num_frames=10)
    base = t_pose(10)
    # A body of 25 joints in a T-pose: the 20 of Kinect v1, the neck between, and tips beside the hands.
    names = {name: place for place, name in enumerate(base.topology.joint_names)}
    same = {
        "spine_base": "hip_center",
        "spine_mid": "spine",
        "neck": "shoulder_center",
        "spine_shoulder": "shoulder_center",
    }
    positions = np.stack(
        [
            base.positions[:, :, names[same.get(name, name.replace("hand_tip", "hand").replace("thumb", "hand"))]]
            for name in clip.topology.joint_names
        ],
        2,
    )
    body = replace(clip, positions=positions)
    renderer = build_renderer(replace(CONFIG, size_px=64))
    with torch.no_grad():
        pictures = renderer(renderer.collate([thinned(body, count) for count in (25, 20, 17, 13)]))[:, 0]
    differences = [float((picture - pictures[0]).abs().mean()) for picture in pictures]
    assert differences[0] == 0
    assert differences[1] < 0.01
    assert max(differences) < 0.04
    light = pictures.amax(1).mean((1, 2))
    assert light.min() > 0.6 * light[0]
