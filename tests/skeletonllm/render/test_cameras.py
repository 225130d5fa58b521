from dataclasses import replace

import numpy as np
import pytest
import torch

from skeletonllm.render.batch import collate
from skeletonllm.render.camera import project
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.draction import DrAction
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import moved, t_pose, waving, with_joint

CONFIG = RenderConfig(num_frames=6, size_px=32, gaussians_per_bone=3)
HAND = TOPOLOGIES["kinect_v1_20"].joint_names.index("hand_left")


def reaching() -> Clip:
    """A left hand held forward."""
    return with_joint(t_pose(20), "hand_left", np.array((0.2, 1.45, 0.6)))


def walking(way: tuple[float, float, float]) -> Clip:
    """A body that glides that far, metres."""
    body = t_pose(20)
    shift = np.linspace(0, 1, 20, dtype=np.float32)[:, None, None] * np.array(way, np.float32)
    return replace(body, positions=body.positions + shift)


def test_each_view_sees_the_body_from_elsewhere_and_gets_its_share_of_the_frames() -> None:
    alone = collate([reaching()], replace(CONFIG, num_frames=3))
    both = collate([reaching()], replace(CONFIG, num_views=2))
    torch.testing.assert_close(both.joints[:, :3], alone.joints)
    torch.testing.assert_close(both.times_s[0], alone.times_s[0].repeat(2))
    # From the person's left: what was in front is to the picture's right, and the left shoulder is near.
    torch.testing.assert_close(both.joints[:, 3:, HAND, 0], alone.joints[:, :, HAND, 2], rtol=0, atol=1e-4)
    torch.testing.assert_close(both.joints[:, 3:, HAND, 2], -alone.joints[:, :, HAND, 0], rtol=0, atol=1e-4)


def test_every_camera_is_fitted_to_what_it_sees() -> None:
    walk = walking((0, 0, 3))
    batch = collate([walk], replace(CONFIG, num_views=2))
    assert batch.half_width_m[0, 0] < 1.3
    assert batch.half_width_m[0, 3] > 1.7
    inside = (batch.joints - batch.center_m[:, :, None])[..., :2].abs() < batch.half_width_m[..., None, None]
    assert inside.all()


def test_an_orbit_turns_from_one_side_to_the_other_about_the_front() -> None:
    still = collate([reaching()], replace(CONFIG, num_frames=5))
    orbit = collate([reaching()], replace(CONFIG, num_frames=5, view="orbit", orbit_yaw=1.0))
    angles = torch.atan2(orbit.joints[0, :, HAND, 0], orbit.joints[0, :, HAND, 2])
    turned = angles - torch.atan2(still.joints[0, :, HAND, 0], still.joints[0, :, HAND, 2])
    torch.testing.assert_close(turned, torch.tensor([-0.4, -0.2, 0.0, 0.2, 0.4]), rtol=0, atol=1e-4)
    assert (orbit.half_width_m == orbit.half_width_m[0, 0]).all()


def test_turns_and_motion_go_with_the_body() -> None:
    clip = waving()
    front = collate([clip], replace(CONFIG, num_frames=3))
    side = collate([clip], replace(CONFIG, num_views=2))
    for name in ("velocities", "accelerations"):
        before, after = getattr(front, name), getattr(side, name)[:, 3:]
        torch.testing.assert_close(after, before[..., [2, 1, 0]] * torch.tensor((1.0, 1, -1)), rtol=0, atol=1e-4)
    plain, turned = (collate([replace(clip, rotations=None)], replace(CONFIG, view_yaw=yaw)) for yaw in (0.0, 1.0))
    same = (side.turns[:, :3] * front.turns).sum(-1).abs()
    assert same.min() > 1 - 1e-5
    assert (plain.turns * turned.turns).sum(-1).abs().min() < 0.99


def test_a_fixed_camera_shows_the_same_metres_of_every_clip() -> None:
    for clip in (waving(), walking((4, 0, 0)), make_clip(num_persons=2)):
        batch = collate([clip], replace(CONFIG, view="fixed"))
        assert (batch.half_width_m == 1.5).all()
        assert (batch.center_m[..., 0] == 0).all()


def test_a_flat_clip_is_never_turned() -> None:
    clip = make_clip(topology="coco_17")
    plain = collate([clip], replace(CONFIG, num_frames=3))
    both = collate([clip], replace(CONFIG, num_views=2, view="orbit", view_yaw=0.5))
    torch.testing.assert_close(both.joints, plain.joints.repeat(1, 2, 1, 1), rtol=0, atol=0)


def test_jitter_zooms_and_shifts_within_its_share_in_training_only() -> None:
    config = replace(CONFIG, camera_jitter=0.1)
    plain = collate([waving()], CONFIG)
    torch.testing.assert_close(collate([waving()], config).center_m, plain.center_m, rtol=0, atol=0)
    ratios = []
    for seed in range(20):
        batch = collate([waving()], config, torch.Generator().manual_seed(seed))
        ratios.append(batch.half_width_m[0] / plain.half_width_m[0])
        shift = (batch.center_m - plain.center_m)[0] / plain.half_width_m[0, :, None]
        assert (shift.abs() <= 0.1 + 1e-6).all()
        assert (batch.center_m == batch.center_m[:, :1]).all()
    together = torch.stack(ratios)
    assert together.min() > 0.9 - 1e-6
    assert together.max() < 1.1 + 1e-6
    assert together.max() - together.min() > 0.1


@pytest.mark.parametrize("options", [{"num_views": 3}, {"view": "orbit"}, {"view": "fixed"}, {"antialiased": True}])
def test_every_camera_gives_a_picture_and_gradients(options) -> None:
    renderer = DrAction(replace(CONFIG, **options))
    frames = renderer(renderer.collate([waving(), make_clip(num_persons=2)]))
    assert frames.shape == (2, 6, 3, 32, 32)
    assert (frames.amax((2, 3, 4)) > 0.2).all()
    frames.sum().backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in renderer.parameters())


def test_antialiasing_keeps_the_light_of_what_is_thinner_than_a_pixel() -> None:
    means, axes = torch.zeros(1, 1, 1, 3, dtype=torch.float64), torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    for width in (0.002, 0.01, 0.1):
        scale = torch.full((1, 1, 1), width, dtype=torch.float64)
        center, half = torch.zeros(1, 1, 3, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
        seen = project(means, axes, scale, scale, center, half, 100, "orthographic")
        wide = 1 / (seen.conics()[..., 0] * seen.conics()[..., 2]).sqrt()
        torch.testing.assert_close(seen.fading() * wide, seen.xx)
        assert width < 0.1 or seen.fading() > 0.98


def test_a_person_who_stands_elsewhere_is_seen_the_same_by_every_camera() -> None:
    clip = replace(waving(), rotations=None)
    config = replace(CONFIG, num_views=2)
    one, other = (collate([body], config) for body in (clip, moved(clip, 0.7, (2, 0, -1))))
    torch.testing.assert_close(one.joints, other.joints, rtol=0, atol=2e-2)
