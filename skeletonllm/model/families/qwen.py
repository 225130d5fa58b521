"""What Qwen2.5-VL and Qwen3-VL share: patches of frame pairs, any frame size, positions in time, height and width."""

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from skeletonllm.errors import ConfigError
from skeletonllm.model.families.bridge import Bridge, Pixels, Processor, side

_VIDEO = 2


@dataclass(frozen=True)
class QwenBridge(Bridge):
    """Frames two by two, cut into patches.

    Args:
        pixels: how frames are normalised.
        patch_px: side of a patch.
        merge: patches that are joined to a side of a token.
        pair: frames that make one step in time.
        fewest_px: the least number of pixels, below which frames are enlarged.
        most_px: the largest number, above which they are shrunk.
        video_token_id: the token that stands for pixels.
    """

    pixels: Pixels
    patch_px: int
    merge: int
    pair: int
    fewest_px: int
    most_px: int
    video_token_id: int
    marker = "<|video_pad|>"
    projector = "merger"

    @classmethod
    def from_config(cls, config: Any, processor: Processor) -> "QwenBridge":
        """Patches from the model's configuration, colours and limits from its video processor."""
        vision, numbers = config.vision_config, processor.video
        fewest, most = (
            numbers.get(name) or numbers.get("size", {}).get(edge)
            for name, edge in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge"))
        )
        if not fewest or not most:
            raise ConfigError(
                "the model's video processor says neither `size` nor `min_pixels` and `max_pixels`; "
                "add its preprocessor_config.json"
            )
        return cls(
            Pixels.from_numbers(numbers),
            side(vision.patch_size),
            vision.spatial_merge_size,
            side(vision.temporal_patch_size),
            fewest,
            most,
            config.video_token_id,
        )

    @abstractmethod
    def fit(self, num_frames: int, height_px: int, width_px: int) -> tuple[int, int]:
        """The height and width in which frames of a size are shown."""

    def grid(self, num_frames: int, height_px: int, width_px: int) -> tuple[int, int, int]:
        """Steps in time, patches down, patches across."""
        height, width = self.fit(num_frames, height_px, width_px)
        return math.ceil(num_frames / self.pair), height // self.patch_px, width // self.patch_px

    def tokens_per_step(self, num_frames: int, height_px: int, width_px: int) -> int:
        """Visual tokens of one pair of frames."""
        _, rows, columns = self.grid(num_frames, height_px, width_px)
        return rows * columns // self.merge**2

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """Patches `[all patches, 3 x pair x patch x patch]`, merged ones side by side, and how many there are each way.

        The last frame is shown again where the frames do not make whole pairs.
        """
        batch, num_frames, _, *size = frames.shape
        steps, rows, columns = self.grid(num_frames, *size)
        shown = self.pixels(frames, rows * self.patch_px, columns * self.patch_px)
        again = shown[:, -1:].expand(-1, steps * self.pair - num_frames, -1, -1, -1)
        cut = torch.cat((shown, again), 1).reshape(
            batch,
            steps,
            self.pair,
            3,
            rows // self.merge,
            self.merge,
            self.patch_px,
            columns // self.merge,
            self.merge,
            self.patch_px,
        )
        # batch, time, block row, block column, row, column | colour, frame of the pair, pixel row, pixel column
        patches = cut.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).flatten(6).flatten(0, 5)
        return {
            "pixel_values_videos": patches,
            "video_grid_thw": torch.tensor([[steps, rows, columns]] * batch, device=frames.device),
        }

    def token_types(self, input_ids: Int64[Tensor, "batch tokens"]) -> dict[str, Tensor]:
        """2 for the tokens of a clip: without it Qwen2.5 takes all tokens for text, and says nothing."""
        return {"mm_token_type_ids": (input_ids == self.video_token_id).int() * _VIDEO}

    def positions(self, mllm: nn.Module, inputs: Mapping[str, Tensor]) -> Int64[Tensor, "3 batch tokens"]:
        """Time, height and width of each token, by the model's own rule.

        Given to every forward, they keep it from the ones that it remembers of an earlier prompt.
        """
        names = ("input_ids", "attention_mask", "mm_token_type_ids", "video_grid_thw", "second_per_grid_ts")
        model: Any = mllm.model
        return model.get_rope_index(**{name: inputs[name] for name in names if name in inputs})[0]


def fitted(
    height: int, width: int, step: int, fewest: int, most: int, frames: int = 1, counted: int = 1
) -> tuple[int, int]:
    """A size near the given one in multiples of `step`, with its pixels within limits.

    Args:
        height: of a frame.
        width: of a frame.
        step: what both sides must be multiples of.
        fewest: the least number of pixels of all frames.
        most: the largest number.
        frames: how many there are.
        counted: as how many they are counted when pixels are compared with the limits.
    """
    near = [round(length / step) * step for length in (height, width)]
    area = frames * height * width
    if counted * near[0] * near[1] > most:
        shrink = math.sqrt(area / most)
        near = [max(step, math.floor(length / shrink / step) * step) for length in (height, width)]
    elif counted * near[0] * near[1] < fewest:
        grow = math.sqrt(fewest / area)
        near = [math.ceil(length * grow / step) * step for length in (height, width)]
    return near[0], near[1]
