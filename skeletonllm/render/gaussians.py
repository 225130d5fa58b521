"""The Gaussians of every frame, and how they sit on the bones."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from skeletonllm.render.skinning import Limbs

# Every version of gsplat and our own kernels clamp alpha somewhere above this, so under it they are one function.
MAX_OPACITY = 0.98
# Neighbours on a bone stand length / (n + 1) apart; this share of it as standard deviation makes an even limb.
_OVERLAP = 0.6


@dataclass(frozen=True)
class GaussianCloud:
    """Gaussians of every frame, elongated along one axis d: covariance s_across² I + (s_along² - s_across²) d d^T.

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


def on_limbs(
    limbs: Limbs,
    thickness_m: Float[Tensor, "batch frames gaussians"],
    opacities: Float[Tensor, "batch frames gaussians"],
    colors: Float[Tensor, "batch frames gaussians 3"],
    per_bone: int,
) -> GaussianCloud:
    """Gaussians as thick as they are told and as long as makes an even limb; unseen ones have opacity 0.

    Args:
        limbs: where they are.
        thickness_m: standard deviation across the limb.
        opacities: 0 to 1, before confidence.
        colors: 0 to 1.
        per_bone: Gaussians between the ends of a bone.
    """
    along = thickness_m + _OVERLAP * limbs.length_m / (per_bone + 1)
    shown = (opacities * limbs.confidence).clamp(max=MAX_OPACITY)
    return GaussianCloud(limbs.means, limbs.axes, thickness_m, along, shown, colors)
