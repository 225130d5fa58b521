import itertools
from dataclasses import replace

import torch

from skeletonllm.render.batch import collate
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.modulator import Modulator, depth_ramp
from skeletonllm.render.skinning import skin
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import t_pose

CONFIG = RenderConfig(num_frames=2, size_px=32, gaussians_per_bone=2)


def new(modulate: bool = True) -> Modulator:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Modulator(16, modulate)


def test_faster_is_lighter_and_more_salient_at_every_part() -> None:
    batch = collate([t_pose()], CONFIG)
    modulator, last = new(), None
    for speed in (0.0, 0.5, 1.0, 2.0, 4.0):
        moving = replace(batch, velocities=torch.full_like(batch.velocities, speed / 3**0.5))
        look = modulator(moving, skin(moving))
        if last is not None:
            assert (look.saliency > last.saliency + 0.01).all()
            assert (look.colors.sum(-1) > last.colors.sum(-1) + 0.02).all()
        last = look


def test_arms_and_legs_of_both_sides_and_the_trunk_have_five_colours() -> None:
    clip = t_pose()
    batch = collate([clip], CONFIG)
    colors = new()(batch, skin(batch)).colors[0, 0]
    names = ("elbow_left", "elbow_right", "knee_left", "knee_right", "spine")
    picked = [colors[clip.topology.joint_names.index(name)].detach() for name in names]
    for one, other in itertools.combinations(picked, 2):
        assert (one - other).abs().max() > 0.1


def test_a_second_person_is_paler_than_the_first() -> None:
    batch = collate([make_clip(num_persons=2)], CONFIG)
    still = replace(batch, velocities=0 * batch.velocities, roots=0 * batch.roots, joints=0 * batch.joints)
    colors = new()(still, skin(still)).colors[0, 0]
    half = len(colors) // 2
    assert (colors[half:].min(-1).values > colors[:half].min(-1).values + 0.02).all()


def test_nearer_is_lighter_along_the_whole_ramp() -> None:
    light = depth_ramp(torch.linspace(-1, 1, 21).view(1, 1, -1)).sum(-1)[0, 0]
    assert (light[1:] > light[:-1]).all()
    assert light[-1] - light[0] > 1.5


def test_offsets_are_bounded_and_mirrored_between_the_sides() -> None:
    clip = t_pose()
    batch = collate([clip], CONFIG)
    modulator = new()
    with torch.no_grad():
        modulator.offsets.copy_(torch.randn(modulator.offsets.shape, generator=torch.Generator().manual_seed(0)) * 9)
    offsets = modulator.rest_offsets(batch)[0].detach()
    assert offsets.abs().max() <= 0.03 + 1e-6
    left, right = (clip.topology.joint_names.index(f"elbow_{side}") for side in ("left", "right"))
    torch.testing.assert_close(offsets[left] * torch.tensor((-1.0, 1, 1)), offsets[right])


def test_without_modulation_there_is_no_network() -> None:
    assert sum(weight.numel() for weight in new(False).parameters()) < 300
    assert not any("network" in name for name, _ in new(False).named_parameters())
