"""Several persons in one picture, and bodies of two dimensions."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.prepare import prepare
from skeletonllm.render.renderer import Renderer, draw
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.convert import convert
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import t_pose
from tests.skeletonllm.render.clouds import TINY, built, pictures

SHARP = replace(TINY, size_px=48, num_frames=1, thickness_m=0.06)


def _together(depths: tuple[float, ...]) -> tuple[Renderer, RenderBatch]:
    """Persons in T-pose at the same place but for their depth (larger is nearer), in one batch."""
    renderer = built(SHARP)
    batch = renderer.collate([t_pose(1, num_persons=len(depths))])
    joints = batch.joints.clone().unflatten(2, (len(depths), -1))
    joints[..., 2] = torch.tensor(depths)[:, None]
    return renderer, replace(batch, joints=joints.flatten(2, 3))


def _only(batch: RenderBatch, person: int) -> RenderBatch:
    """The others are not seen."""
    kept = batch.confidence.clone().unflatten(2, (-1, 20))
    kept[:, :, [other for other in range(kept.shape[2]) if other != person]] = 0
    return replace(batch, confidence=kept.flatten(2, 3))


def _by_person(renderer: Renderer, batch: RenderBatch) -> Tensor:
    """One frame with a channel per person: how much of each pixel each of them covers."""
    own = torch.eye(3)[batch.person][:, None].expand(1, 1, -1, 3)
    cloud = replace(renderer.cloud(batch), colors=own)
    return draw(cloud, batch.center_m, batch.half_width_m, renderer.config)[0, 0].detach()


@pytest.mark.parametrize("depths", [(0.3, 0.0), (0.0, 0.3), (0.0, 0.6, 0.3), (0.6, 0.3, 0.0), (-0.3, 0.0, 0.3)])
def test_who_is_in_front_hides_who_is_behind_whatever_their_order(depths) -> None:
    renderer, batch = _together(depths)
    front = int(np.argmax(depths))
    alone, all_of_them = _by_person(renderer, _only(batch, front))[front], _by_person(renderer, batch)
    covered = alone > 0.9
    assert covered.sum() > 30
    # The one in front covers as if alone, and all others share the light that is left.
    torch.testing.assert_close(all_of_them[front][covered], alone[covered], rtol=0, atol=1e-5)
    others = all_of_them.sum(0) - all_of_them[front]
    assert bool((others[covered] <= 1 - alone[covered] + 1e-5).all())


def test_limbs_of_two_persons_hide_each_other_one_by_one() -> None:
    renderer, batch = _together((0.0, 0.0))
    joints = batch.joints.clone()
    names = t_pose().topology.joint_names
    left, right = names.index("hand_left"), names.index("hand_right")
    # The first one's left hand is in front of the second one, whose right hand is in front of the first.
    joints[:, :, left, 2] = 0.4
    joints[:, :, 20 + right, 2] = 0.4
    first, second, _ = _by_person(renderer, replace(batch, joints=joints))
    across = (first + second).sum(0).nonzero()[:, 0]
    low, high = int(across.min()), int(across.max())
    # The picture's right is the persons' left.
    assert first[:, high - 5 :].sum() > 2 * second[:, high - 5 :].sum()
    assert second[:, low : low + 5].sum() > 2 * first[:, low : low + 5].sum()


def test_a_person_who_is_nobody_changes_nothing() -> None:
    alone = t_pose()
    nobody = np.zeros_like(alone.positions)
    pair = replace(
        alone,
        positions=np.concatenate((alone.positions, nobody)),
        confidence=np.concatenate((alone.confidence, np.zeros_like(alone.confidence))),
    )
    torch.testing.assert_close(pictures([pair]), pictures([alone]), rtol=0, atol=1e-6)


def _flat(action: str = "wave", name: str = "coco_17", factor: float = 1.0) -> Clip:
    """A performance as a 2D estimator sees it from the front."""
    clip, _ = convert(perform(action, 0, 0, 0, fps=30.0), TOPOLOGIES[name])
    flat = clip.positions * np.array((factor, factor, 0), np.float32)
    return replace(clip, topology=TOPOLOGIES[name], positions=flat, rotations=None)


def test_a_flat_body_gets_a_depth_that_puts_hands_before_the_trunk() -> None:
    clip = _flat()
    prepared = prepare(clip)
    depths = dict(zip(clip.topology.joint_names, prepared.positions[0, 0, :, 2], strict=True))
    assert depths["left_wrist"] > depths["left_elbow"] > depths["left_shoulder"]
    assert depths["left_wrist"] > depths["left_ankle"]
    assert depths["nose"] > depths["right_hip"]
    # Small enough to change no length, and the same in every frame: depth does not move.
    assert prepared.positions[..., 2].std(1).max() < 1e-6
    assert np.abs(prepared.positions[..., 2]).max() < 0.1


def test_flat_persons_stand_one_behind_the_other_the_larger_in_front_whatever_their_order() -> None:
    clip = make_clip(topology="coco_17", num_persons=2)
    for order in ((0, 1), (1, 0)):
        sizes = np.array((1.0, 0.6), np.float32)[list(order), None, None, None]
        prepared = prepare(replace(clip, positions=clip.positions[:1] * sizes))
        near, far = (prepared.positions[order.index(size), ..., 2] for size in (0, 1))
        assert near.min() > far.max()
        # A hand before the body is so for both: places are told from each one's own pelvis.
        apart = prepared.positions[..., 2] - prepared.roots[..., None, 2]
        np.testing.assert_allclose(apart[0], apart[1], atol=1e-6)


@pytest.mark.parametrize("factor", [0.01, 1.0, 250.0])
def test_a_flat_body_is_as_large_in_pixels_as_in_metres(factor) -> None:
    torch.testing.assert_close(pictures([_flat(factor=factor)]), pictures([_flat()]), rtol=0, atol=2e-3)


def test_a_flat_body_looks_like_the_one_with_depth() -> None:
    flat = _flat(name="openpose_18")
    solid, _ = convert(perform("wave", 0, 0, 0, fps=30.0), TOPOLOGIES["openpose_18"])
    assert (flat.topology.dims, solid.topology.dims) == (2, 3)
    difference = (pictures([flat]) - pictures([replace(solid, rotations=None)])).abs()
    assert difference.mean() < 0.02


def test_half_the_confidence_in_a_joint_fades_exactly_its_gaussians() -> None:
    clip = _flat()
    joint = clip.topology.joint_names.index("left_elbow")
    confidence = clip.confidence.copy()
    confidence[:, :, joint] *= 0.5
    renderer = built()
    sure, unsure = (renderer.collate([one]) for one in (clip, replace(clip, confidence=confidence)))
    before, after = renderer.cloud(sure).opacities[0, 0], renderer.cloud(unsure).opacities[0, 0]
    parent, child = sure.parent[0] == joint, sure.child[0] == joint
    share = after / before
    torch.testing.assert_close(share[parent & child], torch.tensor([0.5]))
    torch.testing.assert_close(share[parent ^ child], torch.full_like(share[parent ^ child], 0.5**0.5))
    torch.testing.assert_close(share[~parent & ~child], torch.ones_like(share[~parent & ~child]))


def test_confidence_fades_a_joint_smoothly_down_to_nothing() -> None:
    clip = _flat()
    light = []
    for level in (1.0, 0.5, 0.1, 1e-3, 0.0):
        light.append(float(pictures([replace(clip, confidence=np.full_like(clip.confidence, level))]).sum()))
    assert light == sorted(light, reverse=True)
    assert light[0] > 1.1 * light[1] > 2 * light[2]
    assert light[-1] == 0
