"""SmolVLM2 and Idefics3: each frame is one picture that is not split."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from skeletonllm.model.families.bridge import Bridge, Pixels, Processor, side

# The model takes a frame of zeros for padding and drops it; one that is barely not zero it keeps. Not lost in 16 bits.
_BARELY = 1e-6


@dataclass(frozen=True)
class SmolVLMBridge(Bridge):
    """Frames of a clip in one tensor, each with its marks in the text."""

    pixels: Pixels
    size_px: int
    tokens_per_frame: int
    marker = "<image>"
    projector = "connector"
    media = "image"

    @classmethod
    def from_config(cls, config: Any, processor: Processor) -> "SmolVLMBridge":
        """Sizes from the model's configuration, colours from its image processor."""
        vision = config.vision_config
        size, patch = side(vision.image_size), side(vision.patch_size)
        return cls(Pixels.from_numbers(processor.image), size, (size // patch) ** 2 // config.scale_factor**2)

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """Clip by clip, `[batch frames 3 size size]`; no frame is all zeros."""
        pixels = self.pixels(frames, self.size_px, self.size_px)
        empty = (pixels == 0).all(-1).all(-1).all(-1)[..., None, None, None]
        return {"pixel_values": torch.where(empty, pixels + _BARELY, pixels)}

    def expand(self, num_frames: int, height_px: int, width_px: int) -> str:
        """As many tokens for every frame, whatever its size was."""
        around = "<fake_token_around_image>"
        return f"{around}<global-img>{'<image>' * self.tokens_per_frame}{around}" * num_frames
