"""Qwen2.5-VL: every pair of frames has its place in time, in seconds."""

from jaxtyping import Float
from torch import Tensor

from skeletonllm.model.families.bridge import FRAMES_PER_S
from skeletonllm.model.families.qwen import QwenBridge, fitted


class Qwen25VLBridge(QwenBridge):
    """The limits of size hold for each frame."""

    def fit(self, num_frames: int, height_px: int, width_px: int) -> tuple[int, int]:
        """Of each frame by itself."""
        return fitted(height_px, width_px, self.patch_px * self.merge, self.fewest_px, self.most_px)

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """Patches, how many there are each way, and the seconds of one pair."""
        seconds = frames.new_full((len(frames),), self.pair / FRAMES_PER_S)
        return {**super().pack(frames), "second_per_grid_ts": seconds}

    def expand(self, num_frames: int, height_px: int, width_px: int) -> str:
        """One run of tokens; the template sets the marks around it."""
        steps = self.grid(num_frames, height_px, width_px)[0]
        return self.marker * (steps * self.tokens_per_step(num_frames, height_px, width_px))
