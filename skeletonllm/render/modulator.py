"""The Neural Feature Modulator: what a Gaussian's part, place and motion change of how it is drawn."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.gaussians import Limbs
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES

_CODE = 8
_CUES = 3 + 3 + 3 + 5  # place, velocity, acceleration; speed, confidence, phase, place along the bone, side
_OUTPUTS = 3 + 1 + 1 + 1  # colour, opacity, scale, saliency
_LARGEST_OFFSET_M = 0.03

# Left warm, right cool, the middle green: what tells the sides apart at a glance, and to a model from its first step.
_SIDE_COLORS = {"left": (1.0, 0.45, 0.15), "center": (0.35, 0.95, 0.4), "right": (0.2, 0.5, 1.0)}


@dataclass(frozen=True)
class Appearance:
    """How each Gaussian is drawn in each frame."""

    colors: Float[Tensor, "batch frames gaussians 3"]
    opacities: Float[Tensor, "batch frames gaussians"]
    scale: Float[Tensor, "batch frames gaussians"]
    saliency: Float[Tensor, "batch frames gaussians"]


class Modulator(nn.Module):
    """Colours of the parts, and a small network that changes them with the motion.

    No weight's shape depends on a topology: a Gaussian is known by its body part, its side and its place on the bone. At
    the start the network adds nothing, and what moves is already brighter (`speed_gain`): a picture that shows motion is
    where learning begins, not what it has to find.

    Args:
        hidden: width of the network.
        modulate: False leaves only the colours of the parts.
    """

    def __init__(self, hidden: int, modulate: bool) -> None:
        super().__init__()
        self.modulate = modulate
        self.colors = nn.Parameter(_first_colors())
        self.opacity = nn.Parameter(torch.full((len(BODY_PARTS),), 2.0))
        self.offsets = nn.Parameter(torch.zeros(len(BODY_PARTS), 3))
        self.depth_mix = nn.Parameter(torch.tensor([-2.0]))
        if modulate:
            self.codes = nn.Parameter(torch.randn(len(BODY_PARTS), _CODE) * 0.5)
            last = nn.Linear(hidden, _OUTPUTS)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            first = nn.Linear(_CODE + _CUES, hidden)
            self.network = nn.Sequential(first, nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)
            self.speed_gain = nn.Parameter(torch.tensor([1.5]))
            self.rest_level = nn.Parameter(torch.tensor([-0.4]))

    def rest_offsets(self, batch: RenderBatch) -> Float[Tensor, "batch gaussians 3"]:
        """Where each Gaussian hangs beside its bone in the rest pose, metres; right-hand parts mirror left-hand ones."""
        offsets = _LARGEST_OFFSET_M * torch.tanh(self._blend(self.offsets, batch))
        sign = torch.where(batch.side == SIDES.index("right"), -1.0, 1.0)
        return torch.cat((offsets[..., :1] * sign[..., None], offsets[..., 1:]), -1)

    def forward(self, batch: RenderBatch, limbs: Limbs) -> Appearance:
        """The appearance of every Gaussian in every frame."""
        shape = limbs.confidence.shape
        color = self._part_colors(batch)[:, None].expand(*shape, 3)
        opacity = self._blend(self.opacity[:, None], batch)[:, None, :, 0].expand(shape)
        scale = saliency = torch.ones(shape, device=color.device, dtype=color.dtype)
        if self.modulate:
            speed = limbs.velocities.norm(dim=-1)
            changes = self.network(torch.cat((self._codes(batch, shape), self._cues(batch, limbs, speed)), -1))
            color = color + changes[..., :3]
            opacity = opacity + changes[..., 3]
            scale = torch.exp(0.5 * torch.tanh(changes[..., 4]))
            saliency = torch.sigmoid(self.rest_level + self.speed_gain * torch.log1p(speed) + changes[..., 5])
        mix = torch.sigmoid(self.depth_mix)
        shown = (1 - mix) * torch.sigmoid(color) * saliency[..., None] + mix * depth_ramp(batch, limbs)
        return Appearance(shown, 0.98 * torch.sigmoid(opacity) * limbs.confidence, scale, saliency)

    def _blend(self, table: Tensor, batch: RenderBatch) -> Tensor:
        """A table by body part at each Gaussian's place between its two joints."""
        start, end = table[batch.parts[..., 0]], table[batch.parts[..., 1]]
        return start * (1 - batch.along[..., None]) + end * batch.along[..., None]

    def _part_colors(self, batch: RenderBatch) -> Float[Tensor, "batch gaussians 3"]:
        start = self.colors[batch.side, batch.parts[..., 0]]
        end = self.colors[batch.side, batch.parts[..., 1]]
        return start * (1 - batch.along[..., None]) + end * batch.along[..., None]

    def _codes(self, batch: RenderBatch, shape: torch.Size) -> Tensor:
        return self._blend(self.codes, batch)[:, None].expand(*shape, _CODE)

    def _cues(self, batch: RenderBatch, limbs: Limbs, speed: Tensor) -> Tensor:
        """What the network is told besides the part; all of the order of 1."""
        fixed = torch.stack((batch.along, batch.side.to(speed.dtype) - 1), -1)[:, None].expand(*speed.shape, 2)
        phase = batch.phase[:, :, None].expand(speed.shape)
        one = torch.stack((torch.log1p(speed), limbs.confidence, phase), -1)
        return torch.cat((limbs.means, limbs.velocities / 2, limbs.accelerations / 10, one, fixed), -1)


def depth_ramp(batch: RenderBatch, limbs: Limbs) -> Float[Tensor, "batch frames gaussians 3"]:
    """Near red, far blue, against the middle of the clip: absolute over the clip, so that approaching shows."""
    depth = (limbs.means[..., 2] - batch.center_m[:, None, None, 2]) / batch.half_width_m[:, None, None]
    near = (0.5 + 0.5 * depth).clamp(0, 1)
    return torch.stack((near, 1 - (2 * near - 1).abs(), 1 - near), -1)


def _first_colors() -> Tensor:
    """Logits by side and part: the side gives the hue, the place on the limb the brightness."""
    colors = torch.zeros(len(SIDES), len(BODY_PARTS), 3)
    for row, side in enumerate(SIDES):
        for column, part in enumerate(BODY_PARTS):
            end = part in ("wrist", "hand", "ankle", "foot", "head", "face")
            leg = part in ("hip", "knee", "ankle", "foot")
            color = torch.tensor(_SIDE_COLORS[side]) * (1.0 if end else 0.8)
            colors[row, column] = color.roll(1) * 0.5 + color * 0.5 if leg else color
    return torch.logit(colors.clamp(0.05, 0.95))
