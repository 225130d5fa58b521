"""InternVL3 and 3.5 (the native transformers classes), and the tiny model, which is one of them."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from skeletonllm.model.families.bridge import Bridge, Pixels, Processor, side


@dataclass(frozen=True)
class InternVLBridge(Bridge):
    """One tile per frame, each with its number before it, as in the family's own video route."""

    pixels: Pixels
    size_px: int
    tokens_per_frame: int
    numbered: bool = True
    """False leaves out `Frame1: <img>…</img>` around the frames, for a model that never learned them."""
    marker = "<video>"
    projector = "multi_modal_projector"

    @classmethod
    def from_config(cls, config: Any, processor: Processor) -> "InternVLBridge":
        """Sizes from the model's configuration, colours from its video processor."""
        return cls(Pixels.from_numbers(processor.video), side(config.vision_config.image_size), config.image_seq_length)

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """Frame after frame, `[batch x frames 3 size size]`."""
        return {"pixel_values": self.pixels(frames.flatten(0, 1), self.size_px, self.size_px)}

    def expand(self, num_frames: int, height_px: int, width_px: int) -> str:
        """As many tokens for every frame, whatever its size was."""
        frame = "<IMG_CONTEXT>" * self.tokens_per_frame
        if not self.numbered:
            return frame * num_frames
        return "\n".join(f"Frame{number}: <img>{frame}</img>" for number in range(1, num_frames + 1))
