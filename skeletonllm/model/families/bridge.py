"""What a family of multimodal LLMs needs to see a clip, and how its frames become pixels. Plain torch, differentiable."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from skeletonllm.errors import ConfigError

# Frames are told to the families that ask for times as if two were shown a second, their own processors' usual rate.
FRAMES_PER_S = 2.0
_FILTERS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
_LANCZOS_LOBES = 3


@dataclass(frozen=True)
class Processor:
    """The numbers of a model's image and video processor, as its JSON files have them."""

    image: Mapping[str, Any]
    video: Mapping[str, Any]


@dataclass(frozen=True)
class Pixels:
    """How a frame is resized and normalised.

    Args:
        mean: of red, green and blue.
        std: of red, green and blue.
        resample: the filter where frames have another size than the model's.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    resample: str = "bicubic"

    @classmethod
    def from_numbers(cls, numbers: Mapping[str, Any]) -> "Pixels":
        """From the JSON of an image or video processor.

        Raises:
            ConfigError: mean or deviation are missing, or the filter is none that we have.
        """
        missing = [name for name in ("image_mean", "image_std") if not isinstance(numbers.get(name), list)]
        if missing:
            raise ConfigError(
                f"the model's processor files have no {' and no '.join(missing)}: without them it would see other pixels "
                "than it learned from; add its preprocessor_config.json"
            )
        resample = numbers.get("resample", 3)
        if resample not in _FILTERS:
            raise ConfigError(f"the model's processor resamples by filter {resample!r}; known are {_FILTERS}")
        return cls(tuple(numbers["image_mean"]), tuple(numbers["image_std"]), _FILTERS[resample])

    def __call__(
        self, frames: Float[Tensor, "*any 3 h_in w_in"], height: int, width: int
    ) -> Float[Tensor, "*any 3 h_out w_out"]:
        """Frames in [0, 1] in the model's size and scale; frames that have the size are not touched by the filter."""
        resized = self._resize(frames, height, width)
        mean, std = (resized.new_tensor(values).view(3, 1, 1) for values in (self.mean, self.std))
        return (resized - mean) / std

    def _resize(self, frames: Tensor, height: int, width: int) -> Tensor:
        """Overshoot is cut off, as in a picture of whole numbers."""
        if frames.shape[-2:] == (height, width):
            return frames
        if self.resample == "lanczos":
            tall, wide = (_lanczos(*sizes, frames) for sizes in zip(frames.shape[-2:], (height, width), strict=True))
            return (tall @ frames @ wide.T).clamp(0, 1)
        flat = functional.interpolate(
            frames.flatten(0, -4), (height, width), mode=self.resample, antialias=True, align_corners=False
        )
        return flat.clamp(0, 1).unflatten(0, frames.shape[:-3])


def _lanczos(num_in: int, num_out: int, like: Tensor) -> Tensor:
    """Weights `[num_out, num_in]`; torch has this filter on the CPU alone."""
    scale = num_in / num_out
    centers, places = (torch.arange(n, device=like.device, dtype=torch.float64) + 0.5 for n in (num_out, num_in))
    away = (places - centers[:, None] * scale) / max(scale, 1)
    weights = torch.where(away.abs() < _LANCZOS_LOBES, away.sinc() * (away / _LANCZOS_LOBES).sinc(), 0)
    return (weights / weights.sum(1, keepdim=True)).to(like.dtype)


class Bridge(ABC):
    """Feeds one family with rendered frames. Stateless: the same calls give the same results.

    Attributes:
        marker: what the chat template leaves in the text for one clip.
        projector: part of the names of the weights between vision and language, and of no others.
        media: what the chat template is told that a clip is.
    """

    marker: ClassVar[str]
    projector: ClassVar[str]
    media: ClassVar[Literal["video", "image"]] = "video"

    @abstractmethod
    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """The pixel arguments of the family's own forward, from frames in [0, 1]."""

    @abstractmethod
    def expand(self, num_frames: int, height_px: int, width_px: int) -> str:
        """The text that replaces the marker of a clip of so many frames of a size."""

    def token_types(self, input_ids: Int64[Tensor, "batch tokens"]) -> dict[str, Tensor]:
        """What the forward must be told about each token, by argument; nothing in most families."""
        del input_ids
        return {}

    def positions(self, mllm: nn.Module, inputs: Mapping[str, Tensor]) -> Int64[Tensor, "*axes batch tokens"]:
        """The place of each token of left-padded rows: 0 for the first real one."""
        del mllm
        return (inputs["attention_mask"].cumsum(-1) - 1).clamp_min(0)


def side(size: Any) -> int:
    """The side of a square that a configuration gives as one number or two."""
    return size if isinstance(size, int) else int(size[0])
