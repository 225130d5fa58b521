"""LLaVA-OneVision: the video route, which joins 2 x 2 visual tokens and needs no tiles."""

import math
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from skeletonllm.model.families.bridge import Bridge, Pixels, Processor, side


@dataclass(frozen=True)
class LlavaOnevisionBridge(Bridge):
    """Frames of a clip in one tensor; one token more ends the clip."""

    pixels: Pixels
    size_px: int
    patch_px: int
    marker = "<video>"
    projector = "multi_modal_projector"

    @classmethod
    def from_config(cls, config: Any, processor: Processor) -> "LlavaOnevisionBridge":
        """Sizes from the vision tower, colours from the video processor."""
        vision = config.vision_config
        return cls(Pixels.from_numbers(processor.video), side(vision.image_size), side(vision.patch_size))

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """Clip by clip, `[batch frames 3 size size]`."""
        return {"pixel_values_videos": self.pixels(frames, self.size_px, self.size_px)}

    def expand(self, num_frames: int, height_px: int, width_px: int) -> str:
        """As many tokens for every frame, whatever its size was."""
        pooled = math.ceil(self.size_px // self.patch_px / 2)
        return "<video>" * (num_frames * pooled**2 + 1)
