from dataclasses import replace

import numpy as np
import torch

from skeletonllm.render.batch import collate
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.skinning import rotate, skin
from skeletonllm.skeleton.rotations import matrices
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import t_pose, with_joint

CONFIG = RenderConfig(num_frames=2, size_px=32, gaussians_per_bone=3)


def test_without_an_offset_every_gaussian_lies_on_its_bone() -> None:
    batch = collate([make_clip(num_persons=2), make_clip(topology="coco_17")], CONFIG)
    limbs = skin(batch)
    for clip, gaussian in ((0, 5), (0, 60), (0, 130), (1, 40)):
        start, end = (
            batch.joints[clip, :, batch.parent[clip, gaussian]],
            batch.joints[clip, :, batch.child[clip, gaussian]],
        )
        place = start + (end - start) * batch.along[clip, gaussian]
        torch.testing.assert_close(limbs.means[clip, :, gaussian], place)
    assert not limbs.confidence[1, :, batch.present[1].sum() :].any()


def test_an_offset_turns_with_its_limb() -> None:
    bent = with_joint(
        with_joint(t_pose(), "wrist_left", np.array((0.45, 1.7, 0))), "hand_left", np.array((0.45, 1.8, 0))
    )
    batch = collate([bent], CONFIG)
    names = bent.topology.joint_names
    forearm = (batch.parent[0] == names.index("elbow_left")) & (batch.child[0] == names.index("wrist_left"))
    above = torch.zeros(1, batch.parent.shape[1], 3)
    above[..., 1] = 0.02
    carried = (skin(batch, above).means - skin(batch).means)[0, 0]
    # Above the forearm of the T-pose is, with the forearm up, towards the head.
    torch.testing.assert_close(carried[forearm], torch.tensor((-0.02, 0.0, 0.0)).expand(3, 3), rtol=0, atol=2e-3)
    torch.testing.assert_close(carried.norm(dim=-1), torch.full((len(carried),), 0.02), rtol=0, atol=1e-5)


def test_a_bone_without_length_has_no_axis_and_finite_gradients() -> None:
    clip = with_joint(t_pose(), "wrist_left", np.array((0.45, 1.45, 0)))
    batch = collate([clip], CONFIG)
    joints = batch.joints.clone().requires_grad_()
    limbs = skin(replace(batch, joints=joints), torch.full((1, batch.parent.shape[1], 3), 0.01))
    names = clip.topology.joint_names
    bone = batch.child[0] == names.index("wrist_left")
    assert limbs.axes[0, 0, bone].abs().max() < 1e-3
    (gradient,) = torch.autograd.grad(limbs.axes.sum() + limbs.means.sum() + limbs.length_m.sum(), joints)
    assert gradient.isfinite().all()


def test_a_bone_is_seen_as_well_as_both_its_ends() -> None:
    clip = t_pose()
    confidence = clip.confidence.copy()
    wrist, elbow = (clip.topology.joint_names.index(f"{part}_left") for part in ("wrist", "elbow"))
    confidence[:, :, wrist] = 0
    confidence[:, :, elbow] = 0.25
    batch = collate([replace(clip, confidence=confidence)], CONFIG)
    seen = skin(batch).confidence[0, 0]
    assert (seen[batch.child[0] == wrist] == 0).all()
    upper = (batch.child[0] == elbow) & (batch.parent[0] != elbow)
    torch.testing.assert_close(seen[upper], torch.full((3,), 0.5))


def test_quaternions_turn_vectors_as_their_matrices_do() -> None:
    rng = np.random.default_rng(0)
    turns, vectors = rng.normal(size=(20, 4)), rng.normal(size=(20, 3))
    turns /= np.linalg.norm(turns, axis=-1, keepdims=True)
    expected = (matrices(turns) @ vectors[..., None])[..., 0]
    np.testing.assert_allclose(rotate(torch.from_numpy(turns), torch.from_numpy(vectors)).numpy(), expected, atol=1e-12)
