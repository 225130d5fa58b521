from dataclasses import replace

import torch

from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import mirrored, t_pose, waving

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
