"""Does a renderer show motion? How much its Gaussians change with speed, depth and part, everything else equal."""

from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.gaussians import GaussianCloud
from skeletonllm.render.renderer import Renderer

# 0.3 m in four frames of 30 a second: the speed for which the numbers of the paper's released weights are known.
SPEED_M_PER_S = 2.25
# A change that 8-bit pixels hardly show.
_INVISIBLE = 2 / 255
_STEP_M = 0.25


@dataclass(frozen=True)
class Diagnosis:
    """Mean absolute changes over the Gaussians that are drawn; colours and opacities in 0 to 1.

    Args:
        speed_color: of the colour, between standing still and 2.25 m/s in six directions.
        speed_color_p99: the same of the one Gaussian in a hundred that reacts most.
        speed_opacity: of the opacity.
        speed_scale: of the scale, as a share of it.
        depth_color: of the colour, for each metre towards the camera.
        part_color: how far the colours of body parts lie from their mean, standing still.
    """

    speed_color: float
    speed_color_p99: float
    speed_opacity: float
    speed_scale: float
    depth_color: float
    part_color: float

    @property
    def shows_motion(self) -> bool:
        """Whether motion would be seen in 8-bit pixels at all."""
        return max(self.speed_color, self.speed_opacity, self.speed_scale) > _INVISIBLE

    def text(self) -> str:
        """One line for people."""
        return (
            f"renderer: {SPEED_M_PER_S} m/s change colour by {self.speed_color:.4f} (p99 {self.speed_color_p99:.4f}), "
            f"opacity by {self.speed_opacity:.4f}, scale by {100 * self.speed_scale:.1f} %; a metre of depth changes "
            f"colour by {self.depth_color:.4f}; parts differ by {self.part_color:.4f}"
        )

    def numbers(self) -> dict[str, float]:
        """By name, for `metrics.jsonl`."""
        return {f"renderer/{name}": value for name, value in asdict(self).items()}


@torch.no_grad()
def diagnose(renderer: Renderer, batch: RenderBatch) -> Diagnosis:
    """Ask the renderer for the same clips as they would look with other speeds and depths.

    Args:
        renderer: one that has a cloud of Gaussians for a batch.
        batch: some clips; their own motion is left out.
    """
    still = replace(batch, velocities=0 * batch.velocities, accelerations=0 * batch.accelerations)
    base = renderer.cloud(still)
    drawn = base.opacities > 0
    moved = [renderer.cloud(replace(still, velocities=way.expand_as(batch.velocities))) for way in _ways(batch)]
    color = torch.cat([_color_change(one, base, drawn) for one in moved])
    opacity = torch.cat([(one.opacities - base.opacities).abs()[drawn] for one in moved])
    scale = torch.cat([(one.scale_across / base.scale_across - 1).abs()[drawn] for one in moved])
    step = batch.joints.new_tensor((0.0, 0.0, _STEP_M))
    nearer = renderer.cloud(replace(still, joints=batch.joints + step))
    colors = base.colors[drawn]
    return Diagnosis(
        speed_color=_mean(color),
        speed_color_p99=float(color.sort().values[int(0.99 * (len(color) - 1))]) if len(color) else 0.0,
        speed_opacity=_mean(opacity),
        speed_scale=_mean(scale),
        depth_color=_mean(_color_change(nearer, base, drawn)) / _STEP_M,
        part_color=_mean((colors - colors.mean(0)).abs()) if len(colors) else 0.0,
    )


def _ways(batch: RenderBatch) -> list[Float[Tensor, "3"]]:
    units = SPEED_M_PER_S * torch.eye(3, device=batch.joints.device, dtype=batch.joints.dtype)
    return [*units, *-units]


def _color_change(one: GaussianCloud, base: GaussianCloud, drawn: Tensor) -> Float[Tensor, " drawn"]:
    return (one.colors - base.colors).abs().mean(-1)[drawn]


def _mean(values: Tensor) -> float:
    return float(values.mean()) if values.numel() else 0.0
