from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from skeletonllm.render.batch import RenderBatch, batch_of_places, collate
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.prepare import prepare
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import mirrored, moved, t_pose, waving, with_joint

CONFIG = RenderConfig(num_frames=6, size_px=32, gaussians_per_bone=3)


def same(one: RenderBatch, other: RenderBatch, **tolerance: float) -> None:
    for field in fields(RenderBatch):
        torch.testing.assert_close(
            getattr(one, field.name), getattr(other, field.name), **(tolerance or {"rtol": 0, "atol": 0})
        )


def test_clips_of_other_topologies_persons_and_lengths_share_a_batch_and_do_not_touch_each_other() -> None:
    clips = [
        make_clip("a", "kinect_v2_25", num_persons=2, num_frames=30),
        make_clip("b", "coco_17", num_frames=1),
        make_clip("c", "smpl_22", num_frames=7, seed=4),
    ]
    together = collate(clips, CONFIG)
    assert together.joints.shape == (3, 6, 50, 3)
    assert together.parent.shape == (3, 2 * (25 + 3 * 24))
    assert together.present.sum(1).tolist() == [2 * (25 + 72), 17 + 54, 22 + 63]
    alone = collate(clips[1:2], CONFIG)
    gaussians, joints = alone.parent.shape[1], alone.joints.shape[2]
    torch.testing.assert_close(together.along[1, :gaussians], alone.along[0])
    torch.testing.assert_close(together.joints[1, :, :joints], alone.joints[0])
    torch.testing.assert_close(together.turns[1, :, :joints], alone.turns[0])
    assert not together.confidence[1, :, joints:].any()


def test_without_a_generator_it_is_deterministic_and_with_one_it_follows_the_seed() -> None:
    clips = [waving(), t_pose(40)]
    config = replace(CONFIG, yaw_jitter=0.5)
    same(collate(clips, config), collate(clips, config))
    jittered = [collate(clips, config, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    same(jittered[0], jittered[1])
    assert not torch.equal(jittered[0].times_s, jittered[2].times_s)
    assert not torch.equal(jittered[0].joints, collate(clips, config).joints)


def test_prepared_clips_give_the_same_batch() -> None:
    clips = [waving(), make_clip(topology="coco_17", num_persons=2)]
    same(collate([prepare(clip) for clip in clips], CONFIG), collate(clips, CONFIG))


def test_times_are_spread_over_the_whole_clip_and_jitter_stays_in_its_segment() -> None:
    clip = t_pose(num_frames=61)
    centred = collate([clip], CONFIG).times_s[0]
    torch.testing.assert_close(centred, torch.arange(6) / 3 + 1 / 6)
    for seed in range(5):
        jittered = collate([clip], CONFIG, torch.Generator().manual_seed(seed)).times_s[0]
        assert ((jittered - centred).abs() <= 1 / 6 + 1e-5).all()


def test_between_two_frames_places_are_interpolated() -> None:
    clip = with_joint(t_pose(2), "hand_left", np.array([[0.8, 1.45, 0], [0.8, 1.45, 0.6]]))
    hand = collate([clip], replace(CONFIG, num_frames=3)).joints[0, :, clip.topology.joint_names.index("hand_left")]
    steps = hand[1:, 2] - hand[:-1, 2]
    torch.testing.assert_close(steps[0], steps[1])


def test_a_clip_that_stands_elsewhere_turned_and_in_another_unit_gives_the_same_batch() -> None:
    clip = replace(waving(), rotations=None)
    same(collate([moved(clip, 1.2, (3, -1, 5), 2.5)], CONFIG), collate([clip], CONFIG), rtol=0, atol=2e-2)


def test_a_mirrored_person_is_mirrored() -> None:
    clip = replace(waving(), rotations=None)
    plain, mirror = (collate([body], CONFIG) for body in (clip, mirrored(clip)))
    swap = list(range(clip.topology.num_joints))
    for left, right in clip.topology.mirror:
        swap[left], swap[right] = right, left
    expected = plain.joints[:, :, swap] * torch.tensor((-1.0, 1, 1))
    torch.testing.assert_close(mirror.joints, expected, rtol=0, atol=1e-3)


def test_velocity_and_acceleration_are_per_second_whatever_the_frame_rate() -> None:
    for fps in (15.0, 60.0):
        times = np.arange(round(2 * fps)) / fps
        path = np.stack((0.8 + 0 * times, 1.45 + 0 * times, 0.5 * times**2), -1)
        clip = with_joint(t_pose(len(times), fps=fps), "hand_left", path)
        batch = collate([clip], CONFIG)
        joint = clip.topology.joint_names.index("hand_left")
        scale = batch.joints[0, 0, 3].norm() / 0.75  # of the canonical body
        torch.testing.assert_close(batch.velocities[0, :, joint, 2], scale * batch.times_s[0], rtol=0.02, atol=0.02)
        torch.testing.assert_close(batch.accelerations[0, 1:-1, joint, 2], scale.expand(4), rtol=0.1, atol=0.05)


def test_a_joint_that_is_not_seen_has_no_weight_and_no_speed() -> None:
    clip = t_pose(31)
    confidence = clip.confidence.copy()
    confidence[0, 10:20, 7] = 0
    positions = clip.positions.copy()
    positions[0, 10:20, 7] = 0
    batch = collate([replace(clip, positions=positions, confidence=confidence)], CONFIG)
    hidden = (batch.times_s[0] * 30 > 10) & (batch.times_s[0] * 30 < 19)
    assert hidden.any()
    assert not batch.confidence[0, hidden, 7].any()
    assert not batch.velocities[0, :, 7].any()
    # It is held between its sightings, not drawn to the origin.
    torch.testing.assert_close(batch.joints[0, :, 7], batch.joints[0, :1, 7].expand(6, 3))


def test_a_gaussian_knows_part_side_place_and_person() -> None:
    batch = collate([make_clip(num_persons=2)], CONFIG)
    clip = make_clip()
    one = 20 + 3 * 19
    assert batch.person[0].tolist() == [0] * one + [1] * one
    on_forearm = [
        row
        for row in range(one)
        if clip.topology.joint_names[int(batch.child[0, row])] == "wrist_left" and batch.along[0, row] > 0
    ]
    assert [round(float(batch.along[0, row]), 2) for row in on_forearm] == [0.25, 0.5, 0.75]
    for row in on_forearm:
        assert [BODY_PARTS[part] for part in batch.parts[0, row]] == ["elbow", "wrist"]
        assert SIDES[int(batch.side[0, row])] == "left"
    torch.testing.assert_close(batch.parent[0, one:], batch.parent[0, :one] + 20)


@pytest.mark.parametrize("scale", [1e-6, 1e30])
def test_huge_and_tiny_coordinates_stay_finite(scale) -> None:
    clip = make_clip(num_persons=2)
    batch = collate([replace(clip, positions=(clip.positions * scale).astype(np.float32))], CONFIG)
    for field in fields(RenderBatch):
        assert getattr(batch, field.name).isfinite().all(), field.name


def test_two_persons_who_face_each_other_are_seen_from_the_side() -> None:
    body = t_pose(8)
    partner = moved(body, np.pi, (0, 0, 1.2))
    both = replace(
        body,
        positions=np.concatenate((body.positions, partner.positions)),
        confidence=np.concatenate((body.confidence, partner.confidence)),
    )
    roots = collate([both], CONFIG).roots[0, 0]
    assert roots[1, 0] - roots[0, 0] > 0.9
    assert abs(roots[1, 2] - roots[0, 2]) < 0.1


def test_a_view_from_the_side_turns_one_person_but_not_two_and_not_a_flat_clip() -> None:
    reaching = with_joint(t_pose(), "hand_left", np.array((0.2, 1.45, 0.6)))
    hand = reaching.topology.joint_names.index("hand_left")
    sideways = replace(CONFIG, view_yaw=np.pi / 2)
    seen = [collate([reaching], config) for config in (CONFIG, sideways)]
    assert seen[1].joints[0, 0, hand, 0] == pytest.approx(float(seen[0].joints[0, 0, hand, 2]), abs=1e-4)
    for clip in (make_clip(num_persons=2), make_clip(topology="coco_17")):
        same(collate([clip], CONFIG), collate([clip], sideways))


@pytest.mark.parametrize(
    "clip",
    [waving(), make_clip(num_persons=2, num_frames=40), make_clip(topology="coco_17"), make_clip(num_frames=1)],
    ids=["wave", "two persons", "2D", "one frame"],
)
@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, num_views=2, view_yaw=0.4), replace(CONFIG, view="orbit")])
def test_the_batch_as_a_function_of_places_is_the_batch_and_can_be_differentiated(clip, config) -> None:
    prepared = prepare(clip)
    places = torch.from_numpy(prepared.positions).clone().requires_grad_()
    lifted, plain = batch_of_places(prepared, config, places), collate([prepared], config)
    for field in fields(RenderBatch):
        found, wanted = getattr(lifted, field.name), getattr(plain, field.name)
        torch.testing.assert_close(found.detach(), wanted, rtol=1e-4, atol=2e-4, msg=field.name)
    (gradient,) = torch.autograd.grad(
        lifted.joints.sum() + lifted.velocities.square().sum() + lifted.roots.sum(), places
    )
    assert gradient.isfinite().all()
    assert gradient.any()


def test_a_clip_with_a_generator_of_its_own_looks_the_same_among_any_others():
    clips = [make_clip(f"c{place}", seed=place, num_frames=40) for place in range(3)]
    together, alone = ([torch.Generator().manual_seed(7 + place) for place in places] for places in ((0, 1, 2), (1,)))
    batch, one = collate(clips, CONFIG, together), collate(clips[1:2], CONFIG, alone)
    torch.testing.assert_close(batch.joints[1], one.joints[0], rtol=0, atol=0)
    assert not torch.equal(batch.phase[0], batch.phase[1])
