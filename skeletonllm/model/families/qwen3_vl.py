"""Qwen3-VL: the time of every pair of frames is written before it."""

from skeletonllm.model.families.bridge import FRAMES_PER_S
from skeletonllm.model.families.qwen import QwenBridge, fitted


class Qwen3VLBridge(QwenBridge):
    """The limits of size hold for the whole clip."""

    def fit(self, num_frames: int, height_px: int, width_px: int) -> tuple[int, int]:
        """Of all frames together; a side below one step is enlarged first, and one frame counts as a pair."""
        step = self.patch_px * self.merge
        if min(height_px, width_px) < step:
            grow = max(step / height_px, step / width_px)
            height_px, width_px = int(height_px * grow), int(width_px * grow)
        frames = max(num_frames, self.pair)
        counted = round(frames / self.pair) * self.pair
        return fitted(height_px, width_px, step, self.fewest_px, self.most_px, frames, counted)

    def expand(self, num_frames: int, height_px: int, width_px: int) -> str:
        """Time and tokens of pair after pair; the time is the middle of a pair."""
        tokens = self.marker * self.tokens_per_step(num_frames, height_px, width_px)
        last = num_frames - 1
        middles = [
            (first + min(first + self.pair - 1, last)) / 2 / FRAMES_PER_S for first in range(0, num_frames, self.pair)
        ]
        return "".join(f"<{middle:.1f} seconds><|vision_start|>{tokens}<|vision_end|>" for middle in middles)
