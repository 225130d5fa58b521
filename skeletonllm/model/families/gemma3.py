"""Gemma 3: each frame is one picture whose tokens see each other in both directions."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float, Int64
from torch import Tensor

from skeletonllm.model.families.bridge import Bridge, Pixels, Processor, side


@dataclass(frozen=True)
class Gemma3Bridge(Bridge):
    """Frames one after another; the text sets blank lines around each."""

    pixels: Pixels
    size_px: int
    tokens_per_frame: int
    image_token_id: int
    marker = "<start_of_image>"
    projector = "multi_modal_projector"
    media = "image"

    @classmethod
    def from_config(cls, config: Any, processor: Processor) -> "Gemma3Bridge":
        """Sizes from the model's configuration, colours from its image processor."""
        return cls(
            Pixels.from_numbers(processor.image),
            side(config.vision_config.image_size),
            config.mm_tokens_per_image,
            config.image_token_id,
        )

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """Frame after frame, `[batch x frames 3 size size]`."""
        return {"pixel_values": self.pixels(frames.flatten(0, 1), self.size_px, self.size_px)}

    def expand(self, num_frames: int, height_px: int, width_px: int) -> str:
        """As many tokens for every frame, whatever its size was."""
        frame = "<image_soft_token>" * self.tokens_per_frame
        return f"\n\n<start_of_image>{frame}<end_of_image>\n\n" * num_frames

    def token_types(self, input_ids: Int64[Tensor, "batch tokens"]) -> dict[str, Tensor]:
        """1 for the tokens of a picture: without it they would see only those before them."""
        return {"token_type_ids": (input_ids == self.image_token_id).long()}
