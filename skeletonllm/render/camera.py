"""From canonical space to pixels. The camera stands in front (+z), looks along -z, and fits the whole clip."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

# gsplat's low-pass: a Gaussian narrower than a pixel would flicker (EWA), pixel².
_LOW_PASS = 0.3
# A Gaussian thinner than this (a 10,000th of a pixel) has no gradient of its fading; pixel⁴.
_LEAST_AREA = 1e-8
_FIELD_OF_VIEW = math.radians(60)
_MARGIN = 1.15
_SMALLEST_HALF_WIDTH_M = 0.6
_NEAR_M = 0.05
# Which places of all joints, sorted, bound the picture: the outermost ones, and those of its middle.
_SHARES = (0.005, 0.05, 0.95, 0.995)
_OUTER_REACH = 0.6
# Joints less sure than this share of the surest one are guesses of a pose estimator: they do not move the camera.
_SURE = 0.1
# Closer than this persons cannot be put side by side.
_BESIDE_M = 0.1


@dataclass(frozen=True)
class Projection:
    """Gaussians in the image plane.

    Args:
        means2d: centres, pixels.
        xx: covariance, pixel², before the low-pass.
        xy: its other entries.
        yy: likewise.
        depth: metres, growing away from the camera.
    """

    means2d: Float[Tensor, "batch frames gaussians 2"]
    xx: Float[Tensor, "batch frames gaussians"]
    xy: Float[Tensor, "batch frames gaussians"]
    yy: Float[Tensor, "batch frames gaussians"]
    depth: Float[Tensor, "batch frames gaussians"]

    def conics(self) -> Float[Tensor, "batch frames gaussians 3"]:
        """Inverse covariances (xx, xy, yy), 1/pixel², of the Gaussians as they are drawn: at least about a pixel wide."""
        xx, yy = self.xx + _LOW_PASS, self.yy + _LOW_PASS
        determinant = (xx * yy - self.xy.square()).clamp_min(_LOW_PASS**2 / 2)
        return torch.stack((yy, -self.xy, xx), -1) / determinant[..., None]

    def fading(self) -> Float[Tensor, "batch frames gaussians"]:
        """By how much opacities must fall so that a Gaussian made wider by the low-pass is not brighter: 0 to 1.

        Source: the compensation of Yu et al., Mip-Splatting (2024), as gsplat's mode `antialiased` has it.
        """
        narrow = (self.xx * self.yy - self.xy.square()).clamp_min(_LEAST_AREA)
        wide = (self.xx + _LOW_PASS) * (self.yy + _LOW_PASS) - self.xy.square()
        return (narrow / wide).sqrt()


def fit_to_clip(
    positions: Float[np.ndarray, "persons frames joints 3"], confidence: Float[np.ndarray, "persons frames joints"]
) -> tuple[Float[np.ndarray, " 3"], np.float32]:
    """Centre and half width, metres, of one square view of all persons in all frames.

    All but the outermost 0.5 % of the seen joints on each side, with a margin; but not farther out of the box of the middle
    90 % than 0.6 of its size: a joint that jumps, or stands far off all the time, must not make everybody small.
    """
    seen = positions[(confidence > 0) & (confidence >= _SURE * confidence.max(initial=0))]
    if not len(seen):
        return np.zeros(3, np.float32), np.float32(_SMALLEST_HALF_WIDTH_M)
    seen = np.sort(seen, axis=0)
    low, inner_low, inner_high, high = seen[np.rint(np.array(_SHARES) * (len(seen) - 1)).astype(int)]
    reach = max(_OUTER_REACH * float((inner_high - inner_low)[:2].max()), _SMALLEST_HALF_WIDTH_M)
    low, high = np.maximum(low, inner_low - reach), np.minimum(high, inner_high + reach)
    half = max(float((high - low)[:2].max()) / 2 * _MARGIN, _SMALLEST_HALF_WIDTH_M)
    return ((low + high) / 2).astype(np.float32), np.float32(half)


def side_view_yaw(roots: Float[np.ndarray, "persons frames 3"], seen: Float[np.ndarray, "persons frames"]) -> float:
    """The turn about +y, radians, that puts two or more persons side by side, so that they do not hide each other.

    Persons who face each other are seen from the side, the first one to the left and facing right. Persons who stand beside
    each other are not turned about. 0 for one person.
    """
    together = (seen[0] > 0) & (seen[1:].max(0) > 0) if len(seen) > 1 else np.zeros(1, bool)
    if not together.any():
        return 0.0
    others = (roots[1:] * (seen[1:] > 0)[..., None]).sum(0) / np.maximum((seen[1:] > 0).sum(0), 1)[..., None]
    way = np.median((others - roots[0])[together], axis=0)
    if np.hypot(way[0], way[2]) < _BESIDE_M:
        return 0.0
    # The way to the others, from +x (0) over the front (90 degrees); the jump of half a turn lies where it is rare: others
    # that are behind and to one side.
    angle = math.atan2(way[2], way[0])
    return (angle + math.pi / 4) % math.pi - math.pi / 4


def project(
    means: Float[Tensor, "batch frames gaussians 3"],
    axes: Float[Tensor, "batch frames gaussians 3"],
    scale_across: Float[Tensor, "batch frames gaussians"],
    scale_along: Float[Tensor, "batch frames gaussians"],
    center_m: Float[Tensor, "batch frames 3"],
    half_width_m: Float[Tensor, "batch frames"],
    size_px: int,
    kind: Literal["orthographic", "perspective"],
) -> Projection:
    """Gaussians elongated along an axis, seen by the camera.

    The covariance s_across² I + (s_along² - s_across²) d d^T goes through the camera's Jacobian A as s_across² A A^T +
    (s_along² - s_across²) (A d)(A d)^T, so no matrix is built.

    Args:
        means: metres.
        axes: directions d, no longer than 1.
        scale_across: standard deviation across the axis, metres.
        scale_along: standard deviation along it, metres.
        center_m: what the camera looks at.
        half_width_m: half of what it sees at the centre's depth.
        size_px: width and height of the frame.
        kind: orthographic, or perspective with 60 degrees.

    Source: Zwicker et al., EWA Splatting (2002), eq. 24 to 31.
    """
    away = half_width_m / math.tan(_FIELD_OF_VIEW / 2)
    local = means - center_m[:, :, None]
    depth = away[..., None] - local[..., 2]
    pixels_per_m = (size_px / 2 / half_width_m)[..., None]
    if kind == "orthographic":
        zoom, lean = pixels_per_m.expand_as(depth), torch.zeros_like(local[..., :2])
    else:
        near = depth.clamp_min(_NEAR_M)
        zoom = pixels_per_m * away[..., None] / near
        lean = local[..., :2] / near[..., None]
    flip = means.new_tensor((1.0, -1.0))
    means2d = size_px / 2 + flip * zoom[..., None] * local[..., :2]
    # Rows of A: zoom * (1, 0, x / depth) and zoom * (0, -1, -y / depth).
    tilt = flip * lean
    seen_axis = zoom[..., None] * (flip * axes[..., :2] + tilt * axes[..., 2:])
    across, along = scale_across.square(), scale_along.square() - scale_across.square()
    zoom2 = zoom.square()
    xx = across * zoom2 * (1 + tilt[..., 0].square()) + along * seen_axis[..., 0].square()
    yy = across * zoom2 * (1 + tilt[..., 1].square()) + along * seen_axis[..., 1].square()
    xy = across * zoom2 * tilt[..., 0] * tilt[..., 1] + along * seen_axis[..., 0] * seen_axis[..., 1]
    return Projection(means2d, xx, xy, yy, depth)
