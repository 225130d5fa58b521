import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from skeletonllm.render.batch import collate
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.modulator import Appearance, Modulator, depth_ramp
from skeletonllm.render.skinning import skin
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import t_pose

CONFIG = RenderConfig(num_frames=2, size_px=32, gaussians_per_bone=2)


def new(seed: int = 0, **options: Any) -> Modulator:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Modulator(replace(CONFIG, hidden=16, **options))


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
    assert sum(weight.numel() for weight in new(modulator=False).parameters()) < 300
    assert not any("network" in name for name, _ in new(modulator=False).named_parameters())


def awake(**options: Any) -> Modulator:
    """One whose network says something, as after some training."""
    modulator = new(**options)
    with torch.no_grad():
        modulator.network.last.weight.normal_(std=0.5, generator=torch.Generator().manual_seed(1))
    return modulator


def flat(look: Appearance) -> torch.Tensor:
    parts = (look.colors, look.opacities[..., None], look.scale[..., None], look.saliency[..., None])
    return torch.cat(parts, -1).detach()


CHANGES = {
    "place": lambda limbs: replace(limbs, relative=limbs.relative + 0.3),
    "depth": lambda limbs: replace(limbs, depth=limbs.depth + 0.3),
    "velocity": lambda limbs: replace(limbs, velocities=limbs.velocities[..., [1, 2, 0]]),
    "acceleration": lambda limbs: replace(limbs, accelerations=limbs.accelerations + 5),
    "confidence": lambda limbs: replace(limbs, confidence=limbs.confidence * 0.5),
}


@pytest.mark.parametrize("cue", CHANGES)
def test_a_cue_that_is_off_changes_nothing_and_one_that_is_on_does(cue) -> None:
    batch = collate([make_clip(num_persons=2)], CONFIG)
    limbs = skin(batch)
    changed = CHANGES[cue](limbs)
    on, off = awake(), awake(cues_off=(cue,))
    assert (flat(on(batch, changed)) - flat(on(batch, limbs))).abs().max() > 1e-3
    torch.testing.assert_close(flat(off(batch, changed)), flat(off(batch, limbs)), rtol=0, atol=1e-6)


def test_without_speed_velocity_and_acceleration_a_still_body_and_a_fast_one_look_the_same() -> None:
    batch = collate([make_clip()], CONFIG)
    still = replace(batch, velocities=0 * batch.velocities, accelerations=0 * batch.accelerations)
    off = awake(cues_off=("speed", "velocity", "acceleration"))
    torch.testing.assert_close(flat(off(still, skin(still))), flat(off(batch, skin(batch))), rtol=0, atol=1e-6)


def test_phase_and_person_can_be_off_too() -> None:
    batch = collate([make_clip(num_persons=2)], CONFIG)
    limbs = skin(batch)
    for cue, changed in (
        ("phase", replace(batch, phase=1 - batch.phase)),
        ("person", replace(batch, person=0 * batch.person)),
    ):
        on, off = awake(), awake(cues_off=(cue,))
        assert not torch.allclose(flat(on(changed, limbs)), flat(on(batch, limbs)), atol=1e-3), cue
        torch.testing.assert_close(flat(off(changed, limbs)), flat(off(batch, limbs)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("temporal", ["gru", "convolution"])
def test_memory_looks_back_and_never_ahead_nor_into_another_view(temporal) -> None:
    config = replace(CONFIG, num_frames=8, num_views=2)
    batch = collate([make_clip(num_frames=30)], config)
    limbs = skin(batch)
    pushed = limbs.velocities.clone()
    pushed[:, 5] += 3
    changed = replace(limbs, velocities=pushed)
    modulator = awake(temporal=temporal, num_frames=8, num_views=2)
    difference = (flat(modulator(batch, changed)) - flat(modulator(batch, limbs))).abs().amax((0, 2, 3))
    assert (difference[:5] == 0).all()
    assert (difference[5:7] > 1e-4).all()
    alone = awake(num_frames=8, num_views=2)
    difference = (flat(alone(batch, changed)) - flat(alone(batch, limbs))).abs().amax((0, 2, 3))
    assert (difference > 1e-4).tolist() == [False] * 5 + [True] + [False] * 2


def test_between_the_places_that_are_asked_changes_are_linear() -> None:
    batch = collate([t_pose()], replace(CONFIG, gaussians_per_bone=7))
    asked = batch.asked[0].tolist()
    assert len(asked) == 20 + 19
    place = torch.stack((batch.parent[0].double(), batch.child[0].double(), batch.along[0].double()), -1)
    for row in range(20, batch.parent.shape[1]):
        ends = place[batch.asked[0, batch.between[0, row]]]
        # A joint's own Gaussian lies at the start or at the end of the bone; the middle one at half its length.
        along = torch.where(ends[:, 0] == ends[:, 1], (ends[:, 0] == place[row, 1]).double(), ends[:, 2])
        assert float(torch.lerp(along[0], along[1], batch.share[0, row].double())) == pytest.approx(
            float(place[row, 2]), abs=1e-6
        )


def test_a_random_start_is_another_one_for_every_seed_and_already_says_something() -> None:
    batch = collate([make_clip()], CONFIG)
    limbs = skin(batch)
    one, same, other = (flat(new(seed, start="random")(batch, limbs)) for seed in (0, 0, 1))
    torch.testing.assert_close(one, same)
    assert (one - other).abs().mean() > 0.05
    assert not torch.allclose(one, flat(new()(batch, limbs)))
