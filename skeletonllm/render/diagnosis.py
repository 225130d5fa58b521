"""Does a renderer show motion? How much its Gaussians change with speed, depth and part, everything else equal."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.draction import DrAction
from skeletonllm.render.gaussians import GaussianCloud
from skeletonllm.render.renderer import Renderer
from skeletonllm.render.skinning import skin

# 0.3 m in four frames of 30 a second: the speed for which the numbers of the paper's released weights are known.
SPEED_M_PER_S = 2.25
# `speed_color` of the paper's released weights by this very measure: the larger of two files, on recordings of NTU RGB+D.
PAPER_SPEED_COLOR = 0.00045
# A change that 8-bit pixels hardly show.
_INVISIBLE = 2 / 255
_STEP_M = 0.25


@dataclass(frozen=True)
class Diagnosis:
    """Mean absolute changes over the Gaussians that are drawn; colours (mean of the channels) and opacities in 0 to 1.

    Args:
        speed_color: of the colour, between standing still and 2.25 m/s in six directions.
        speed_color_p99: the same of the one Gaussian in a hundred that reacts most.
        speed_opacity: of the opacity.
        speed_opacity_p99: the same of the one Gaussian in a hundred that reacts most.
        speed_scale: of the thickness, as a share of it.
        speed_scale_p99: the same of the one Gaussian in a hundred that reacts most.
        depth_color: of the colour, for each metre that the whole body comes nearer.
        depth_opacity: the same of the opacity.
        depth_scale: the same of the thickness, as a share of it.
        part_color: how far the colours of the Gaussians of a still body lie from their mean.
        part_opacity: the same of the opacities.
        part_scale: the same of the thickness, as a share of the mean.
        depth_mix: share of the depth ramp in the colour; None for a renderer that does not learn it.
        saliency_still: mean brightness factor of what stands still; None for a renderer without one.
        saliency_moving: the same at 2.25 m/s.
    """

    speed_color: float
    speed_color_p99: float
    speed_opacity: float
    speed_opacity_p99: float
    speed_scale: float
    speed_scale_p99: float
    depth_color: float
    depth_opacity: float
    depth_scale: float
    part_color: float
    part_opacity: float
    part_scale: float
    depth_mix: float | None
    saliency_still: float | None
    saliency_moving: float | None

    @property
    def shows_motion(self) -> bool:
        """Whether motion would be seen in 8-bit pixels at all."""
        return max(self.speed_color, self.speed_opacity, self.speed_scale) > _INVISIBLE

    @property
    def times_paper(self) -> float:
        """How often the reaction of colour to speed that the paper's released weights have."""
        return self.speed_color / PAPER_SPEED_COLOR

    def text(self) -> str:
        """One line for people."""
        gate = ""
        if self.saliency_still is not None and self.saliency_moving is not None:
            gate = f"; saliency is {self.saliency_still:.2f} still, {self.saliency_moving:.2f} moving"
        return (
            f"renderer: {SPEED_M_PER_S} m/s change colour by {self.speed_color:.4f} (p99 {self.speed_color_p99:.4f}; "
            f"{self.times_paper:.0f} times the paper's released weights), opacity by {self.speed_opacity:.4f}, thickness "
            f"by {100 * self.speed_scale:.1f} %; a metre of depth changes colour by {self.depth_color:.4f}; parts differ "
            f"by {self.part_color:.4f}{gate}"
        )

    def numbers(self) -> dict[str, float]:
        """By name, for `metrics.jsonl`; without what the renderer does not have."""
        return {f"renderer/{name}": value for name, value in asdict(self).items() if value is not None}


@torch.no_grad()
def diagnose(renderer: Renderer, batch: RenderBatch) -> Diagnosis:
    """Ask the renderer for the same clips as they would look with other speeds and depths.

    Only what hangs on the batch's velocities is found: trajectory maps draw motion as paths, and count as still.

    Args:
        renderer: one that has a cloud of Gaussians for a batch.
        batch: some clips; their own motion is left out.
    """
    still = replace(batch, velocities=0 * batch.velocities, accelerations=0 * batch.accelerations)
    moving = [replace(still, velocities=way.expand_as(batch.velocities)) for way in _ways(batch)]
    base = renderer.cloud(still)
    drawn = base.opacities > 0
    moved = [_changes(renderer.cloud(one), base, drawn) for one in moving]
    color, opacity, scale = (torch.cat(each) for each in zip(*moved, strict=True))
    step = batch.joints.new_tensor((0.0, 0.0, _STEP_M))
    nearer = renderer.cloud(replace(still, joints=batch.joints + step, roots=batch.roots + step))
    depth = [_mean(each) / _STEP_M for each in _changes(nearer, base, drawn)]
    part = _spread(base, drawn)
    depth_mix, saliency_still, saliency_moving = _inside(renderer, still, moving, drawn)
    return Diagnosis(
        speed_color=_mean(color),
        speed_color_p99=_p99(color),
        speed_opacity=_mean(opacity),
        speed_opacity_p99=_p99(opacity),
        speed_scale=_mean(scale),
        speed_scale_p99=_p99(scale),
        depth_color=depth[0],
        depth_opacity=depth[1],
        depth_scale=depth[2],
        part_color=part[0],
        part_opacity=part[1],
        part_scale=part[2],
        depth_mix=depth_mix,
        saliency_still=saliency_still,
        saliency_moving=saliency_moving,
    )


def _ways(batch: RenderBatch) -> list[Float[Tensor, "3"]]:
    units = SPEED_M_PER_S * torch.eye(3, device=batch.joints.device, dtype=batch.joints.dtype)
    return [*units, *-units]


def _changes(one: GaussianCloud, base: GaussianCloud, drawn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of colour, opacity, and thickness as a share of it; of each drawn Gaussian."""
    return (
        (one.colors - base.colors).abs().mean(-1)[drawn],
        (one.opacities - base.opacities).abs()[drawn],
        (one.scale_across / base.scale_across - 1).abs()[drawn],
    )


def _spread(base: GaussianCloud, drawn: Tensor) -> tuple[float, float, float]:
    """Of colour, opacity, and thickness as a share of its mean, over all drawn Gaussians."""
    colors, opacities, scale = base.colors[drawn], base.opacities[drawn], base.scale_across[drawn]
    if not len(colors):
        return 0.0, 0.0, 0.0
    return (
        _mean((colors - colors.mean(0)).abs()),
        _mean((opacities - opacities.mean()).abs()),
        _mean((scale / scale.mean() - 1).abs()),
    )


def _inside(
    renderer: Renderer, still: RenderBatch, moving: Sequence[RenderBatch], drawn: Tensor
) -> tuple[float | None, float | None, float | None]:
    """Depth mix, and saliency still and moving, of the renderer that has them."""
    if not isinstance(renderer, DrAction):
        return None, None, None
    modulator = renderer.modulator

    def saliency(batch: RenderBatch) -> float:
        return _mean(modulator(batch, skin(batch, modulator.rest_offsets(batch))).saliency[drawn])

    return float(modulator.depth_mix.sigmoid()), saliency(still), sum(map(saliency, moving)) / len(moving)


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else 0.0


def _p99(values: Tensor) -> float:
    return float(values.sort().values[int(0.99 * (len(values) - 1))]) if len(values) else 0.0
