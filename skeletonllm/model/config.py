"""What a student is made of, as plain data. Imports nothing heavy."""

from dataclasses import dataclass, field
from typing import Literal

from skeletonllm.errors import ConfigError
from skeletonllm.render.config import RenderConfig

TINY = "tiny"


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the embedded model, which is trained from scratch."""

    patch_px: int = 16
    vision_width: int = 96
    vision_layers: int = 2
    text_width: int = 128
    text_layers: int = 3
    heads: int = 4
    max_vocabulary: int = 1024
    tokens_per_patch: float = 0.25
    """Visual tokens that the language model sees of each patch: 0.25 joins 2 x 2 patches, 1 joins none."""


@dataclass(frozen=True)
class BackboneConfig:
    """Which multimodal LLM stands behind the renderer."""

    name: str = TINY
    """`tiny`, a name on the Hugging Face Hub, or a folder."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    foreground: float | None = None
    """Leaves out visual tokens of whose patch at most this share shows something: 0 those that are black all over, 0.2
    also those at the edge of a limb. The vision tower sees all of them; the language model becomes faster."""
    tiny: TinyConfig = field(default_factory=TinyConfig)

    def __post_init__(self) -> None:
        if self.foreground is not None and not 0 <= self.foreground < 1:
            raise ConfigError(f"backbone.foreground is {self.foreground}, must be at least 0 and below 1, or left out")


@dataclass(frozen=True)
class AdapterConfig:
    """How the language part learns."""

    kind: Literal["lora", "full"] = "lora"
    """`full` trains the whole language part: for a backbone without pre-training, which has nothing to adapt."""
    rank: int = 32
    alpha: int = 64

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigError(f"adapter.rank is {self.rank}, must be at least 1")


@dataclass(frozen=True)
class StudentConfig:
    """Renderer, backbone and adapter."""

    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    render: RenderConfig = field(default_factory=RenderConfig)
