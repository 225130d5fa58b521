"""InternVL3 and 3.5 (the native transformers classes), and the tiny model, which is one of them."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InternVLBridge:
    """One tile per frame, each with its number before it, as in the family's own video route."""

    size_px: int
    tokens_per_frame: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    numbered: bool = True
    """False leaves out `Frame1: <img>…</img>` around the frames, for a model that never learned them."""
    marker: str = "<video>"
    projector: str = "multi_modal_projector"
    image_token: str = "<IMG_CONTEXT>"

    @classmethod
    def from_config(cls, config: Any, processor: dict[str, Any]) -> "InternVLBridge":
        """Sizes from the model's configuration, mean and deviation from its image processor's."""
        size = config.vision_config.image_size
        return cls(
            size_px=size if isinstance(size, int) else int(size[0]),
            tokens_per_frame=config.image_seq_length,
            mean=tuple(processor.get("image_mean", _IMAGENET_MEAN)),
            std=tuple(processor.get("image_std", _IMAGENET_STD)),
        )

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """Resized to the tower's size where they differ, normalised, frame after frame."""
        pixels = frames.flatten(0, 1)
        if pixels.shape[-2:] != (self.size_px, self.size_px):
            pixels = functional.interpolate(
                pixels, (self.size_px, self.size_px), mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
        mean, std = (torch.tensor(values, device=pixels.device).view(3, 1, 1) for values in (self.mean, self.std))
        return {"pixel_values": (pixels - mean) / std}

    def expand(self, num_frames: int) -> str:
        """The text for one clip."""
        frame = self.image_token * self.tokens_per_frame
        if not self.numbered:
            return frame * num_frames
        return "\n".join(f"Frame{number}: <img>{frame}</img>" for number in range(1, num_frames + 1))
