"""Stock multimodal LLMs of transformers, and the small bridge that feeds each family with rendered frames.

A bridge is stateless: `pack` makes the pixel arguments of the family's own forward, differentiably, and `expand` the text
that stands for one clip. No processor class is used: they need torchvision, and most do not let gradients through.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from skeletonllm.errors import BackendError, ConfigError
from skeletonllm.model.config import BackboneConfig


@runtime_checkable
class Bridge(Protocol):
    """What a family needs to see a clip."""

    @property
    def marker(self) -> str:
        """What the chat template leaves in the text for one clip."""
        ...

    @property
    def projector(self) -> str:
        """Part of the names of the weights between vision and language."""
        ...

    def pack(self, frames: Float[Tensor, "batch frames 3 height width"]) -> dict[str, Tensor]:
        """The pixel arguments of the forward, from frames in [0, 1]."""
        ...

    def expand(self, num_frames: int) -> str:
        """The text for one clip."""
        ...


@dataclass(frozen=True)
class Backbone:
    """A loaded model with its tokenizer and bridge."""

    mllm: Any
    tokenizer: Any
    bridge: Bridge


def _families() -> dict[str, Callable[[Any, dict[str, Any]], Bridge]]:
    from skeletonllm.model.internvl import InternVLBridge

    return {"internvl": InternVLBridge.from_config}


def load_backbone(config: BackboneConfig) -> Backbone:
    """Load a model by its name on the Hub, or from a folder.

    Raises:
        ConfigError: its family has no bridge.
        BackendError: it is not on this machine and cannot be fetched.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    try:
        model_config = AutoConfig.from_pretrained(config.name)
        bridge = make_bridge(model_config, read_processor(config.name))
        tokenizer = AutoTokenizer.from_pretrained(config.name)
        mllm = AutoModelForImageTextToText.from_pretrained(config.name, dtype=getattr(torch, config.dtype))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigError):
            raise
        raise BackendError(
            f"backbone {config.name!r} cannot be loaded ({str(error).splitlines()[0]}); give the name of a model on the "
            "Hub, with a connection or a filled cache, or a folder that `save_pretrained` wrote"
        ) from error
    return Backbone(mllm, tokenizer, bridge)


def make_bridge(model_config: Any, processor: dict[str, Any]) -> Bridge:
    """The bridge of a model's family.

    Raises:
        ConfigError: there is none; says which families are known.
    """
    families = _families()
    if model_config.model_type not in families:
        raise ConfigError(f"model family {model_config.model_type!r} has no bridge; known are {', '.join(families)}")
    return families[model_config.model_type](model_config, processor)


def read_processor(name: str) -> dict[str, Any]:
    """The numbers of a model's image processor (mean, standard deviation), as plain JSON; empty where there are none."""
    from transformers.utils.hub import cached_file

    for file in ("preprocessor_config.json", "processor_config.json"):
        path = cached_file(
            name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
        )
        if path:
            plain = json.loads(Path(path).read_text())
            return plain.get("image_processor", plain)
    return {}
