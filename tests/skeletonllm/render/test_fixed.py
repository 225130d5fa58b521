from dataclasses import replace

import numpy as np
import pytest
import torch

from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.skeleton.clip import Clip
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import mirrored, t_pose, waving, with_joint

CONFIG = RenderConfig(renderer="skeleton_2d", num_frames=4, size_px=48, gaussians_per_bone=4)


def test_it_has_no_weights_and_draws_any_topology() -> None:
    plain = build_renderer(CONFIG)
    assert not list(plain.parameters())
    frames = plain(plain.collate([make_clip(topology="coco_17"), make_clip(num_persons=2)]))
    assert frames.shape == (2, 4, 3, 48, 48)
    assert (frames.amax((1, 2, 3, 4)) > 0.5).all()
    assert not frames.requires_grad


def test_left_is_warm_on_the_right_and_right_is_cool_on_the_left() -> None:
    plain = build_renderer(CONFIG)
    red, _, blue = plain(plain.collate([t_pose()]))[0, 0]
    assert red[:, 36:].sum() > 2 * blue[:, 36:].sum()
    assert blue[:, :12].sum() > 2 * red[:, :12].sum()


def test_it_shows_places_and_not_speed() -> None:
    plain = build_renderer(CONFIG)
    batch = plain.collate([waving()])
    torch.testing.assert_close(plain(batch), plain(replace(batch, velocities=batch.velocities * 9)), rtol=0, atol=0)


def test_a_mirrored_person_gives_a_mirrored_silhouette() -> None:
    plain = build_renderer(CONFIG)
    clip = replace(waving(), rotations=None)
    picture, mirror = (plain(plain.collate([body]))[0].amax(1) > 0.15 for body in (clip, mirrored(clip)))
    assert (picture != mirror.flip(-1)).float().mean() < 0.01


FIXED = ("skeleton_2d", "skeleton_3d_velocity", "jtm")


@pytest.mark.parametrize("name", FIXED)
def test_every_fixed_renderer_draws_any_clip_and_has_no_weights(name) -> None:
    fixed = build_renderer(replace(CONFIG, renderer=name, num_frames=6))
    assert not list(fixed.parameters())
    clips = [make_clip(topology="coco_17"), make_clip(num_persons=2), make_clip(num_frames=1), t_pose()]
    frames = fixed(fixed.collate(clips))
    assert frames.shape == (4, 6, 3, 48, 48)
    assert frames.isfinite().all()
    assert frames.min() >= 0
    assert frames.max() < 1 + 1e-6
    assert (frames[:2].amax((1, 2, 3, 4)) > 0.3).all()
    torch.testing.assert_close(fixed(fixed.collate(clips[:1])), frames[:1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", FIXED)
def test_the_slope_of_a_picture_is_finite_where_nothing_moves(name) -> None:
    fixed = build_renderer(replace(CONFIG, renderer=name))
    batch = fixed.collate([t_pose(5), make_clip(num_frames=1), waving()])
    joints, velocities = (value.clone().requires_grad_() for value in (batch.joints, batch.velocities))
    frames = fixed(replace(batch, joints=joints, velocities=velocities))
    for gradient in torch.autograd.grad(frames.square().sum(), (joints, velocities), allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


def swinging(toward: bool) -> Clip:
    """A left hand that swings, towards the camera or up."""
    times = np.linspace(0, 1, 31)
    swing, still = 0.5 * np.sin(2 * np.pi * times), np.zeros(31)
    return with_joint(t_pose(31), "hand_left", np.stack((still + 0.8, 1.45 + swing * (not toward), swing * toward), -1))


def test_the_3d_renderer_shows_speed_as_warmth_and_depth_as_light() -> None:
    fixed = build_renderer(replace(CONFIG, renderer="skeleton_3d_velocity"))
    still, moving = (fixed.collate([clip]) for clip in (t_pose(31), swinging(toward=False)))
    hand = still.parent[0].tolist().index(7)
    calm, fast = (fixed.cloud(batch).colors[0, 2, hand] for batch in (still, moving))
    assert calm[2] > calm[0] + 0.2
    assert fast[0] > calm[0] + 0.3
    near = replace(still, joints=still.joints + torch.tensor((0, 0, 0.5)))
    assert (fixed.cloud(near).colors > fixed.cloud(still).colors + 0.01).any()
    assert (fixed.cloud(near).colors >= fixed.cloud(still).colors).all()


def test_a_trajectory_map_grows_and_shows_each_plane_in_a_third_of_the_frames() -> None:
    fixed = build_renderer(replace(CONFIG, renderer="jtm", num_frames=6))
    drawn = fixed(fixed.collate([swinging(toward=False)]))[0].amax(1)
    covered = (drawn > 0.1).float().mean((1, 2))
    assert covered[1] > covered[0] > 0
    assert covered[3] > covered[2] > 0
    # Up and down is seen from the front and from the side, not from above.
    assert covered[5] < 0.5 * covered[1]
    toward = fixed(fixed.collate([swinging(toward=True)]))[0].amax(1)
    covered = (toward > 0.1).float().mean((1, 2))
    assert covered[1] < 0.5 * covered[3]
    assert covered[5] > 0.5 * covered[3]


def test_a_body_that_stands_still_leaves_no_trajectory() -> None:
    fixed = build_renderer(replace(CONFIG, renderer="jtm"))
    assert not fixed(fixed.collate([t_pose(20)])).any()


def test_left_and_right_trajectories_have_opposite_colours() -> None:
    fixed = build_renderer(replace(CONFIG, renderer="jtm"))
    clip = swinging(toward=False)
    batch, mirror = (fixed.collate([body]) for body in (clip, mirrored(clip)))
    colors, other = (fixed.cloud(one).colors[0, 0].unflatten(0, (95, 20)) for one in (batch, mirror))
    left, right = (clip.topology.joint_names.index(f"hand_{side}") for side in ("left", "right"))
    torch.testing.assert_close(colors[:, left].flip(0).mean(-1), other[:, right].mean(-1), rtol=0.2, atol=0.2)
    assert colors[4, left, 0] > colors[4, left, 2]
    assert other[4, right, 2] > other[4, right, 0]


def test_the_view_of_a_trajectory_map_holds_a_walk_towards_the_camera() -> None:
    fixed = build_renderer(replace(CONFIG, renderer="jtm", num_frames=3))
    clip = t_pose(31)
    far = clip.positions + np.linspace(0, 6, 31, dtype=np.float32)[:, None, None] * np.array((0, 0, 1), np.float32)
    side = fixed(fixed.collate([replace(clip, positions=far)]))[0, 1].amax(0)
    assert side.max() > 0.3
    assert side[:, [0, -1]].max() < 0.05
