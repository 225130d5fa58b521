"""Stock multimodal LLMs of transformers: the model, its tokenizer, and the bridge that feeds it with rendered frames."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from skeletonllm.errors import BackendError, ConfigError
from skeletonllm.model.config import BackboneConfig
from skeletonllm.model.families import check_family, make_bridge
from skeletonllm.model.families.bridge import Bridge, Processor


@dataclass(frozen=True)
class Backbone:
    """A loaded model with its tokenizer and bridge."""

    mllm: Any
    tokenizer: Any
    bridge: Bridge


def load_backbone(config: BackboneConfig) -> Backbone:
    """Load a model by its name on the Hub, or from a folder. No code that comes with a model is ever run.

    Raises:
        ConfigError: it is not multimodal, its family has no bridge, it needs code of its own, or a folder has no weights.
        BackendError: it is not on this machine and cannot be fetched.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    folder = Path(config.name)
    try:
        model_config = AutoConfig.from_pretrained(config.name, trust_remote_code=False)
        check_family(model_config)
        if folder.is_dir() and not any(folder.glob("*.safetensors")):
            raise ConfigError(
                f"backbone {config.name!r} is a folder without weights (*.safetensors); "
                "give one that `save_pretrained` wrote, or copy the weights into it"
            )
        bridge = make_bridge(model_config, read_processor(config.name))
        tokenizer = AutoTokenizer.from_pretrained(config.name, trust_remote_code=False)
        if not tokenizer.chat_template:
            tokenizer.chat_template = _read_json(config.name, "chat_template.json").get("chat_template")
        mllm = AutoModelForImageTextToText.from_pretrained(
            config.name, dtype=getattr(torch, config.dtype), use_safetensors=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, ConfigError):
            raise ConfigError(f"backbone {config.name!r}: {error}") from error
        raise _not_loaded(config.name, error) from error
    return Backbone(mllm, tokenizer, bridge)


def read_processor(name: str) -> Processor:
    """The numbers of a model's image and video processor (mean, deviation, sizes) as plain JSON; empty where none are.

    Args:
        name: on the Hub, or a folder.
    """
    both = _read_json(name, "processor_config.json")
    image = both.get("image_processor") or _read_json(name, "preprocessor_config.json")
    video = both.get("video_processor") or _read_json(name, "video_preprocessor_config.json")
    return Processor(image, video or image)


def _read_json(name: str, file: str) -> dict[str, Any]:
    from transformers.utils.hub import cached_file

    path = cached_file(
        name, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False
    )
    return json.loads(Path(path).read_text()) if path else {}


def _not_loaded(name: str, error: Exception) -> ConfigError | BackendError:
    if "trust_remote_code" in str(error):
        return ConfigError(
            f"backbone {name!r} runs code that comes with it, which we never do; give the same model in the format of "
            "transformers (for InternVL the names that end in -hf)"
        )
    return BackendError(
        f"backbone {name!r} cannot be loaded ({str(error).splitlines()[0]}); give the name of a model on the "
        "Hub, with a connection or a filled cache, or a folder that `save_pretrained` wrote"
    )
