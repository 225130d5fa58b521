"""The Neural Feature Modulator: what a Gaussian's part, place and motion change of how it is drawn."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.skinning import Limbs
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES

_CODE = 8
_CUES = 3 + 1 + 3 + 3 + 6  # place, depth, velocity, acceleration; speed, confidence, phase, along, side, person
_OUTPUTS = 3 + 1 + 1 + 1  # colour, opacity, scale, saliency
_LARGEST_OFFSET_M = 0.03

# Left warm, right cool, the middle green; arms and legs differ in hue: sides and limbs can be told apart from the first
# step, by eye and by model.
_ARMS = {"left": (1.0, 0.65, 0.1), "center": (0.35, 0.95, 0.4), "right": (0.1, 0.75, 1.0)}
_LEGS = {"left": (1.0, 0.25, 0.55), "center": (0.35, 0.95, 0.4), "right": (0.55, 0.45, 1.0)}
_LEG_PARTS = ("hip", "knee", "ankle", "foot")
_ENDS = ("wrist", "hand", "ankle", "foot", "head", "face")
# Shares of the usual thickness of a limb, natural logarithm.
_WIDTHS = {"head": 0.5, "pelvis": 0.2, "spine": 0.2, "chest": 0.2}


@dataclass(frozen=True)
class Appearance:
    """How each Gaussian is drawn in each frame: colours and opacities in 0 to 1, scale and saliency as factors."""

    colors: Float[Tensor, "batch frames gaussians 3"]
    opacities: Float[Tensor, "batch frames gaussians"]
    scale: Float[Tensor, "batch frames gaussians"]
    saliency: Float[Tensor, "batch frames gaussians"]


class Modulator(nn.Module):
    """Colours of the parts, and a small network that changes them with the motion.

    No weight's shape depends on a topology: a Gaussian is known by its body part, its side and its place on the bone. At
    the start the network adds nothing, and what moves is already brighter (`speed_gain`), what is near already lighter
    (`depth_mix`): a picture that shows motion is where learning begins, not what it has to find.

    Args:
        hidden: width of the network.
        modulate: False leaves only the looks of the parts and the depth ramp.

    Source: arXiv 2603.18003, section 3.2; the inputs and the start are ours.
    """

    def __init__(self, hidden: int, modulate: bool) -> None:
        super().__init__()
        self.modulate = modulate
        self.colors = nn.Parameter(_first_colors())
        self.opacity = nn.Parameter(torch.full((len(BODY_PARTS),), 2.0))
        self.widths = nn.Parameter(torch.tensor([math.atanh(_WIDTHS.get(part, 0.0)) for part in BODY_PARTS]))
        self.offsets = nn.Parameter(torch.zeros(len(BODY_PARTS), 3))
        # What colours of the second and later persons have more than those of the first: paler.
        self.others = nn.Parameter(torch.tensor([0.7, 0.7, 0.7]))
        self.depth_mix = nn.Parameter(torch.tensor([-1.2]))
        if modulate:
            self.codes = nn.Parameter(torch.randn(len(BODY_PARTS), _CODE) * 0.5)
            last = nn.Linear(hidden, _OUTPUTS)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            first = nn.Linear(_CODE + _CUES, hidden)
            self.network = nn.Sequential(first, nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)
            self.speed_gain = nn.Parameter(torch.tensor([2.5]))
            self.rest_level = nn.Parameter(torch.tensor([-0.1]))
            self.glow = nn.Parameter(torch.tensor([-0.8]))

    def rest_offsets(self, batch: RenderBatch) -> Float[Tensor, "batch gaussians 3"]:
        """Where each Gaussian hangs beside its bone in the rest pose, metres; right-hand parts mirror left-hand ones."""
        offsets = _LARGEST_OFFSET_M * torch.tanh(_blend(self.offsets, batch))
        sign = torch.where(batch.side == SIDES.index("right"), -1.0, 1.0)
        return torch.cat((offsets[..., :1] * sign[..., None], offsets[..., 1:]), -1)

    def forward(self, batch: RenderBatch, limbs: Limbs) -> Appearance:
        """The appearance of every Gaussian in every frame."""
        shape = limbs.confidence.shape
        start, end = (self.colors[batch.side, batch.parts[..., place]] for place in (0, 1))
        color = start + (end - start) * batch.along[..., None] + self.others * (batch.person > 0)[..., None]
        opacity, width = _blend(torch.stack((self.opacity, self.widths), -1), batch)[:, None].unbind(-1)
        color, opacity, width = color[:, None].expand(*shape, 3), opacity.expand(shape), width.expand(shape)
        saliency = torch.ones(shape, device=color.device, dtype=color.dtype)
        if not self.modulate:
            return self._appearance(color, opacity, width, saliency, limbs)
        speed = (limbs.velocities.square().sum(-1) + 1e-6).sqrt()
        codes = _blend(self.codes, batch)[:, None].expand(*shape, _CODE)
        changes = self.network(torch.cat((codes, _cues(batch, limbs, speed)), -1))
        saliency = torch.sigmoid(self.rest_level + self.speed_gain * torch.log1p(speed) + changes[..., 5])
        return self._appearance(
            color + changes[..., :3], opacity + changes[..., 3], width + 0.5 * changes[..., 4], saliency, limbs
        )

    def _appearance(self, color: Tensor, opacity: Tensor, width: Tensor, saliency: Tensor, limbs: Limbs) -> Appearance:
        lit = torch.sigmoid(color) * saliency[..., None]
        if self.modulate:
            # The fastest limbs also turn paler, where more brightness would not show.
            glow = torch.sigmoid(self.glow) * saliency.pow(4)
            lit = lit + glow[..., None] * (1 - lit)
        mix = torch.sigmoid(self.depth_mix)
        shown = (1 - mix) * lit + mix * depth_ramp(limbs.depth)
        return Appearance(shown, torch.sigmoid(opacity), torch.exp(torch.tanh(width)), saliency)


def depth_ramp(depth: Float[Tensor, "batch frames gaussians"]) -> Float[Tensor, "batch frames gaussians 3"]:
    """Near is light and warm, far is dark and blue; absolute over the clip, so that approaching shows.

    Args:
        depth: towards the camera, in half widths of its view.
    """
    near = torch.sigmoid(4 * depth)[..., None]
    return near * near.new_tensor((1.0, 0.9, 0.6)) + (1 - near) * near.new_tensor((0.05, 0.0, 0.25))


def _blend(table: Float[Tensor, " parts *rest"], batch: RenderBatch) -> Float[Tensor, "batch gaussians *rest"]:
    """A table by body part at each Gaussian's place between its two joints."""
    start, end = table[batch.parts[..., 0]], table[batch.parts[..., 1]]
    return start + (end - start) * batch.along[..., None]


def _cues(batch: RenderBatch, limbs: Limbs, speed: Tensor) -> Float[Tensor, "batch frames gaussians cues"]:
    """What the network is told besides the part; all of the order of 1."""
    other = (batch.person > 0).to(speed.dtype)
    fixed = torch.stack((batch.along, batch.side.to(speed.dtype) - 1, other), -1)[:, None].expand(*speed.shape, 3)
    phase = batch.phase[:, :, None].expand(speed.shape)
    own = torch.stack((limbs.depth, torch.log1p(speed), limbs.confidence, phase), -1)
    return torch.cat((limbs.relative, limbs.velocities / 2, limbs.accelerations / 10, own, fixed), -1)


def _first_colors() -> Float[Tensor, "sides parts 3"]:
    """Logits by side and part: side and limb give the hue, its end is brighter."""
    rows = []
    for side in SIDES:
        for part in BODY_PARTS:
            hue = torch.tensor((_LEGS if part in _LEG_PARTS else _ARMS)[side])
            rows.append(hue if part in _ENDS else 0.9 * hue)
    return torch.logit(torch.stack(rows).clamp(0.05, 0.95)).view(len(SIDES), len(BODY_PARTS), 3)
