"""The Neural Feature Modulator: what a Gaussian's part, place and motion change of how it is drawn."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.config import Cue, RenderConfig
from skeletonllm.render.skinning import Limbs, take
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES

_CODE = 8
# What the network is told of each Gaussian in each frame, in this order, and how many numbers that is.
_CUES: dict[Cue, int] = {
    "place": 3,
    "velocity": 3,
    "acceleration": 3,
    "depth": 1,
    "speed": 1,
    "confidence": 1,
    "phase": 1,
}
_FIXED = 3  # and once for all frames: place along the bone, side, whether it is another person's
_OUTPUTS = 3 + 1 + 1 + 1  # colour, opacity, scale, saliency
_MEMORY = 3  # sampled frames that the causal convolution sees, its own included
_LARGEST_OFFSET_M = 0.03

# Left warm, right cool, the middle green; arms and legs differ in hue: sides and limbs can be told apart from the first
# step, by eye and by model.
_ARMS = {"left": (1.0, 0.65, 0.1), "center": (0.35, 0.95, 0.4), "right": (0.1, 0.75, 1.0)}
_LEGS = {"left": (1.0, 0.25, 0.55), "center": (0.35, 0.95, 0.4), "right": (0.55, 0.45, 1.0)}
_LEG_PARTS = ("hip", "knee", "ankle", "foot")
_HEAD = ("neck", "head", "face")
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
    the designed start the network adds nothing, and what moves is already brighter (`speed_gain`), what is near already
    lighter (`depth_mix`): a picture that shows motion is where learning begins, not what it has to find.

    Args:
        config: width of the network, cues that are off, memory, start; without `modulator` only the looks of the parts and
            the depth ramp are left.

    Source: arXiv 2603.18003, section 3.2; the inputs and the start are ours.
    """

    def __init__(self, config: RenderConfig) -> None:
        super().__init__()
        self.config = config
        self.colors = nn.Parameter(_first_colors())
        self.opacity = nn.Parameter(torch.full((len(BODY_PARTS),), 2.0))
        self.widths = nn.Parameter(torch.tensor([math.atanh(_WIDTHS.get(part, 0.0)) for part in BODY_PARTS]))
        self.offsets = nn.Parameter(torch.zeros(len(BODY_PARTS), 3))
        # What colours of the second and later persons have more than those of the first: paler.
        self.others = nn.Parameter(torch.tensor([1.6, 1.6, 1.6]))
        self.depth_mix = nn.Parameter(torch.tensor([-1.2]))
        if config.modulator:
            self.codes = nn.Parameter(torch.randn(len(BODY_PARTS), _CODE) * 0.5)
            self.network = _Network(config)
            self.speed_gain = nn.Parameter(torch.tensor([2.5]))
            self.rest_level = nn.Parameter(torch.tensor([-0.1]))
            self.glow = nn.Parameter(torch.tensor([-0.8]))
        if config.start == "random":
            for name, weight in self.named_parameters(recurse=False):
                nn.init.normal_(weight, std=0.3 if name == "widths" else 1.0)
        elif config.modulator:
            nn.init.zeros_(self.network.last.weight)
            nn.init.zeros_(self.network.last.bias)

    def rest_offsets(self, batch: RenderBatch) -> Float[Tensor, "batch gaussians 3"]:
        """Where each Gaussian hangs beside its bone in the rest pose, metres; the right side mirrors the left one."""
        offsets = _LARGEST_OFFSET_M * torch.tanh(_blend(self.offsets, batch))
        sign = 1.0 - batch.side.to(offsets.dtype)  # left 1, centre 0, right -1
        return torch.cat((offsets[..., :1] * sign[..., None], offsets[..., 1:]), -1)

    def forward(self, batch: RenderBatch, limbs: Limbs) -> Appearance:
        """The appearance of every Gaussian in every frame."""
        shape = limbs.confidence.shape
        start, end = (self.colors[batch.side, batch.parts[..., place]] for place in (0, 1))
        color = start + (end - start) * batch.along[..., None] + self.others * self._is_other(batch)[..., None]
        opacity, width = _blend(torch.stack((self.opacity, self.widths), -1), batch)[:, None].unbind(-1)
        color, opacity, width = color[:, None].expand(*shape, 3), opacity.expand(shape), width.expand(shape)
        if not self.config.modulator:
            return self._appearance(color, opacity, width, torch.ones_like(limbs.confidence), limbs)
        speed = _log_speed(limbs)
        changes = self._changes(batch, limbs.at(batch.asked))
        saliency = self.rest_level + changes[..., 5]
        if "speed" not in self.config.cues_off:
            saliency = saliency + self.speed_gain * speed
        return self._appearance(
            color + changes[..., :3],
            opacity + changes[..., 3],
            width + 0.5 * changes[..., 4],
            torch.sigmoid(saliency),
            limbs,
        )

    def _changes(self, batch: RenderBatch, limbs: Limbs) -> Float[Tensor, "batch frames gaussians outputs"]:
        """The network's changes of all Gaussians: it is asked at a few places of a bone, between them they are linear."""
        fixed = torch.stack((batch.along, batch.side.to(batch.along.dtype) - 1, self._is_other(batch)), -1)
        known = torch.cat((_blend(self.codes, batch), fixed), -1)
        index = batch.asked[..., None].expand(-1, -1, known.shape[-1])
        asked = self.network(known.gather(1, index), self._cues(batch, limbs))
        start, end = (take(asked, batch.between[..., place]) for place in (0, 1))
        return torch.lerp(start, end, batch.share[:, None, :, None])

    def _appearance(self, color: Tensor, opacity: Tensor, width: Tensor, saliency: Tensor, limbs: Limbs) -> Appearance:
        lit = torch.sigmoid(color) * saliency[..., None]
        if self.config.modulator:
            # The fastest limbs also turn paler, where more brightness would not show.
            glow = torch.sigmoid(self.glow) * saliency.pow(4)
            lit = lit + glow[..., None] * (1 - lit)
        if "depth" not in self.config.cues_off:
            mix = torch.sigmoid(self.depth_mix)
            lit = (1 - mix) * lit + mix * depth_ramp(limbs.depth)
        return Appearance(lit, torch.sigmoid(opacity), torch.exp(torch.tanh(width)), saliency)

    def _is_other(self, batch: RenderBatch) -> Float[Tensor, "batch gaussians"]:
        other = (batch.person > 0).to(batch.along.dtype)
        return 0 * other if "person" in self.config.cues_off else other

    def _cues(self, batch: RenderBatch, limbs: Limbs) -> Float[Tensor, "batch frames asked cues"]:
        """What the network is told of the frame, all of the order of 1; cues that are off are 0."""
        speed = _log_speed(limbs)
        cues: dict[Cue, Tensor] = {
            "place": limbs.relative,
            "velocity": limbs.velocities / 2,
            "acceleration": limbs.accelerations / 10,
            "depth": limbs.depth[..., None],
            "speed": speed[..., None],
            "confidence": limbs.confidence[..., None],
            "phase": batch.phase[:, :, None, None].expand(*speed.shape, 1),
        }
        off = self.config.cues_off
        return torch.cat([torch.zeros_like(cues[cue]) if cue in off else cues[cue] for cue in _CUES], -1)


def _log_speed(limbs: Limbs) -> Float[Tensor, "batch frames gaussians"]:
    """log(1 + m/s)."""
    return torch.log1p((limbs.velocities.square().sum(-1) + 1e-6).sqrt())


class _Network(nn.Module):
    """What a Gaussian is and does to changes of its appearance.

    What does not change from frame to frame goes through its half of the first layer once per clip.
    """

    def __init__(self, config: RenderConfig) -> None:
        super().__init__()
        width = config.hidden
        self.num_views = config.num_views
        self.fixed = nn.Linear(_CODE + _FIXED, width)
        self.moving = nn.Linear(sum(_CUES.values()), width, bias=False)
        self.hidden = nn.Linear(width, width)
        self.gru = nn.GRU(width, width, batch_first=True) if config.temporal == "gru" else None
        self.convolution = nn.Conv1d(width, width, _MEMORY) if config.temporal == "convolution" else None
        self.last = nn.Linear(width, _OUTPUTS)

    def forward(
        self, fixed: Float[Tensor, "batch asked fixed"], cues: Float[Tensor, "batch frames asked cues"]
    ) -> Float[Tensor, "batch frames asked outputs"]:
        """The changes."""
        inner = torch.relu(self.fixed(fixed)[:, None] + self.moving(cues))
        inner = torch.relu(self.hidden(inner))
        if self.gru is not None or self.convolution is not None:
            inner = inner + self._remembered(inner)
        return self.last(inner)

    def _remembered(self, inner: Float[Tensor, "batch frames asked width"]) -> Tensor:
        """What each place remembers of the frames before; every view has a memory of its own."""
        batch, frames, places, width = inner.shape
        each = frames // self.num_views
        rows = inner.view(batch * self.num_views, each, places, width).transpose(1, 2).reshape(-1, each, width)
        if self.gru is not None:
            rows, _ = self.gru(rows)
        elif self.convolution is not None:
            past = nn.functional.pad(rows.transpose(1, 2), (_MEMORY - 1, 0))
            rows = self.convolution(past).transpose(1, 2)
        return rows.view(batch * self.num_views, places, each, width).transpose(1, 2).reshape(inner.shape)


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


def _first_colors() -> Float[Tensor, "sides parts 3"]:
    """Logits by side and part: side and limb give the hue, its end is brighter."""
    rows = []
    for side in SIDES:
        for part in BODY_PARTS:
            hue = torch.tensor((_LEGS if part in _LEG_PARTS else _ARMS)["center" if part in _HEAD else side])
            rows.append(hue if part in _ENDS else 0.9 * hue)
    return torch.logit(torch.stack(rows).clamp(0.05, 0.95)).view(len(SIDES), len(BODY_PARTS), 3)
