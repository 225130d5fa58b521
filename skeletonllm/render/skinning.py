"""Gaussians are carried along by their joints: linear blend skinning on bones that may stretch."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from skeletonllm.render.batch import RenderBatch

# Below this length a bone has no direction: its Gaussians turn smoothly into spheres. Metres on the canonical body.
_SOFT_LENGTH_M = 2e-3


@dataclass(frozen=True)
class Limbs:
    """What each Gaussian knows of the bone it sits on, in every frame.

    Args:
        means: canonical metres.
        axes: direction of the bone, shorter than 1 where the bone has no length; 0 on a joint.
        length_m: of the bone.
        relative: place from the person's pelvis, metres.
        depth: place towards the camera, in half widths of its view.
        velocities: m/s.
        accelerations: m/s².
        confidence: 0 to 1; 0 for padding.
    """

    means: Float[Tensor, "batch frames gaussians 3"]
    axes: Float[Tensor, "batch frames gaussians 3"]
    length_m: Float[Tensor, "batch frames gaussians"]
    relative: Float[Tensor, "batch frames gaussians 3"]
    depth: Float[Tensor, "batch frames gaussians"]
    velocities: Float[Tensor, "batch frames gaussians 3"]
    accelerations: Float[Tensor, "batch frames gaussians 3"]
    confidence: Float[Tensor, "batch frames gaussians"]

    def at(self, gaussians: Int64[Tensor, "batch some"]) -> "Limbs":
        """The same of some Gaussians only."""
        return Limbs(**{field.name: take(getattr(self, field.name), gaussians) for field in fields(self)})


def skin(batch: RenderBatch, offsets: Float[Tensor, "batch gaussians 3"] | None = None) -> Limbs:
    """Carry the Gaussians from the rest pose to every frame.

    A Gaussian at place a of a bone hangs on both its joints with the weights (1 - a, a). Along the bone it follows the
    joints' places, so it lies on the bone whatever the bone's length is in this frame (sensors' bones are not rigid);
    its offset from the bone is carried by the two joints' turns, blended on SO(3).

    Args:
        batch: bodies and indices.
        offsets: from the bone, in the rest pose; metres.

    Source: Magnenat-Thalmann et al. (1988); the split into stretch and turn is that of Jacobson and Sorkine,
    "Stretchable and Twistable Bones" (2011).
    """
    packed = torch.cat(
        (batch.joints, batch.velocities, batch.accelerations, batch.turns, batch.confidence[..., None]), -1
    )
    start, end = take(packed, batch.parent), take(packed, batch.child)
    blended = start + (end - start) * batch.along[:, None, :, None]
    means, velocities, accelerations = blended[..., :3], blended[..., 3:6], blended[..., 6:9]
    bone = end[..., :3] - start[..., :3]
    length = (bone.square().sum(-1) + _SOFT_LENGTH_M**2).sqrt()
    if offsets is not None:
        turns = _blend_turns(start[..., 9:13], end[..., 9:13], batch.along[:, None])
        means = means + rotate(turns, offsets[:, None].expand_as(means))
    seen = (start[..., 13] * end[..., 13]).clamp_min(0)
    confidence = torch.where(seen > 0, seen.clamp_min(1e-12).sqrt(), 0) * batch.present[:, None]
    return Limbs(
        means=means,
        axes=bone / length[..., None],
        length_m=length,
        relative=means - take(batch.roots, batch.person),
        depth=(means[..., 2] - batch.center_m[:, :, None, 2]) / batch.half_width_m[..., None],
        velocities=velocities,
        accelerations=accelerations,
        confidence=confidence,
    )


def take(
    values: Float[Tensor, "batch frames joints *rest"], joints: Int64[Tensor, "batch gaussians"]
) -> Float[Tensor, "batch frames gaussians *rest"]:
    """The values of each Gaussian's joint."""
    index = joints[:, None].reshape(len(joints), 1, -1, *[1] * (values.ndim - 3))
    return values.gather(2, index.expand(-1, values.shape[1], -1, *values.shape[3:]))


def rotate(turns: Float[Tensor, "*batch 4"], vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Vectors turned by unit quaternions (wxyz)."""
    real, axis = turns[..., :1], turns[..., 1:]
    along = (axis * vectors).sum(-1, keepdim=True)
    kept = real.square() - axis.square().sum(-1, keepdim=True)
    return kept * vectors + 2 * (along * axis + real * torch.linalg.cross(axis, vectors))


def _blend_turns(start: Tensor, end: Tensor, along: Tensor) -> Tensor:
    """Between two turns, on SO(3): the nearer of the two signs of a quaternion, then unit length."""
    same = torch.where((start * end).sum(-1, keepdim=True) < 0, -1.0, 1.0)
    mixed = start * (1 - along[..., None]) + same * end * along[..., None]
    return mixed / (mixed.square().sum(-1, keepdim=True) + 1e-12).sqrt()
