"""The Gaussians of a batch of bodies: where they sit on the bones, how they are carried, how far they reach."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from skeletonllm.render.batch import RenderBatch

# Below this length a bone has no direction: its Gaussians turn smoothly into spheres. Metres on the canonical body.
_SOFT_LENGTH_M = 2e-3


@dataclass(frozen=True)
class GaussianCloud:
    """Gaussians of every frame, elongated along one axis.

    Args:
        means: canonical metres.
        axes: direction of elongation, of length 1, or less where a bone has no length.
        scale_across: standard deviation across the axis, metres.
        scale_along: standard deviation along it, metres.
        opacities: 0 to 0.98; 0 where nothing was seen.
        colors: 0 to 1.
    """

    means: Float[Tensor, "batch frames gaussians 3"]
    axes: Float[Tensor, "batch frames gaussians 3"]
    scale_across: Float[Tensor, "batch frames gaussians"]
    scale_along: Float[Tensor, "batch frames gaussians"]
    opacities: Float[Tensor, "batch frames gaussians"]
    colors: Float[Tensor, "batch frames gaussians 3"]


@dataclass(frozen=True)
class Limbs:
    """What each Gaussian knows of the bone it sits on, in every frame."""

    means: Float[Tensor, "batch frames gaussians 3"]
    axes: Float[Tensor, "batch frames gaussians 3"]
    length_m: Float[Tensor, "batch frames gaussians"]
    velocities: Float[Tensor, "batch frames gaussians 3"]
    accelerations: Float[Tensor, "batch frames gaussians 3"]
    confidence: Float[Tensor, "batch frames gaussians"]


def take(
    values: Float[Tensor, "batch frames joints *rest"], joints: Int64[Tensor, "batch gaussians"]
) -> Float[Tensor, "batch frames gaussians *rest"]:
    """The values of each Gaussian's joint."""
    index = joints[:, None].reshape(len(joints), 1, -1, *[1] * (values.ndim - 3))
    return values.gather(2, index.expand(-1, values.shape[1], -1, *values.shape[3:]))


def skin(batch: RenderBatch, offsets: Float[Tensor, "batch gaussians 3"] | None = None) -> Limbs:
    """Carry the Gaussians from the rest pose to every frame by linear blend skinning along the bones.

    The rest pose is a T-pose with the person's own bone lengths. A Gaussian at place a of a bone hangs on both its joints
    with the weights (1 - a, a); both turn with the bone, from its rest direction by the shortest arc. So without an offset
    it lies on the bone, whatever its length in this frame, and with one it keeps its side of the limb.

    Args:
        batch: bodies and indices.
        offsets: from the bone, in the rest pose, in the torso's frame; metres.
    """
    parent, child = take(batch.joints, batch.parent), take(batch.joints, batch.child)
    along = batch.along[:, None]
    bone = child - parent
    length = (bone.square().sum(-1) + _SOFT_LENGTH_M**2).sqrt()
    axes = bone / length[..., None]
    means = parent * (1 - along[..., None]) + child * along[..., None]
    if offsets is not None:
        torsos = take(batch.torsos, batch.person)
        rest = (torsos @ batch.rest[:, None, ..., None])[..., 0]
        carried = (torsos @ offsets[:, None, ..., None])[..., 0]
        means = means + shortest_arc(rest, axes, carried)

    def between(values: Tensor) -> Tensor:
        start, end = take(values, batch.parent), take(values, batch.child)
        share = along[..., None] if values.ndim == 4 else along
        return start * (1 - share) + end * share

    seen = (take(batch.confidence, batch.parent) * take(batch.confidence, batch.child)).clamp_min(0)
    confidence = torch.where(seen > 0, seen.clamp_min(1e-12).sqrt(), 0) * batch.present[:, None]
    return Limbs(
        means, axes, bone.norm(dim=-1).detach(), between(batch.velocities), between(batch.accelerations), confidence
    )


def shortest_arc(
    start: Float[Tensor, "*batch 3"], end: Float[Tensor, "*batch 3"], vectors: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 3"]:
    """`vectors` turned by the least rotation that brings the direction `start` to `end`.

    Where the two are opposite, that rotation is not defined; the vectors then fade to a half turn that is, in effect, a
    reflection, and gradients stay bounded.

    Source: Rodrigues' formula, with 1 / (1 + cos) in place of (1 - cos) / sin².
    """
    axis = torch.linalg.cross(start, end)
    cos = (start * end).sum(-1, keepdim=True)
    turned = vectors * cos + torch.linalg.cross(axis, vectors)
    return turned + axis * (axis * vectors).sum(-1, keepdim=True) / (1 + cos).clamp_min(0.05)
