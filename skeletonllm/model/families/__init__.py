"""One bridge per family of multimodal LLMs, by the `model_type` of the configuration.

No processor class is used: they need torchvision, and round pixels to whole numbers. A new family is one file and one line.
"""

from collections.abc import Callable
from typing import Any

from skeletonllm.errors import ConfigError
from skeletonllm.model.families.bridge import Bridge, Processor
from skeletonllm.model.families.gemma3 import Gemma3Bridge
from skeletonllm.model.families.internvl import InternVLBridge
from skeletonllm.model.families.llava_onevision import LlavaOnevisionBridge
from skeletonllm.model.families.qwen2_5_vl import Qwen25VLBridge
from skeletonllm.model.families.qwen3_vl import Qwen3VLBridge
from skeletonllm.model.families.smolvlm import SmolVLMBridge

FAMILIES: dict[str, Callable[[Any, Processor], Bridge]] = {
    "gemma3": Gemma3Bridge.from_config,
    "idefics3": SmolVLMBridge.from_config,
    "internvl": InternVLBridge.from_config,
    "llava_onevision": LlavaOnevisionBridge.from_config,
    "qwen2_5_vl": Qwen25VLBridge.from_config,
    "qwen3_vl": Qwen3VLBridge.from_config,
    "smolvlm": SmolVLMBridge.from_config,
}


def check_family(model_config: Any) -> None:
    """Refuse a model that we cannot show frames to.

    Raises:
        ConfigError: it sees no pictures, or its family has no bridge; says which families are known.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, MODEL_MAPPING_NAMES

    kind, known = model_config.model_type, ", ".join(FAMILIES)
    if kind in FAMILIES:
        return
    if kind in MODEL_MAPPING_NAMES and kind not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        raise ConfigError(
            f"model family {kind!r} is not multimodal: it sees no pictures; give a model of one of these families: {known}"
        )
    raise ConfigError(f"model family {kind!r} has no bridge; known are {known}")


def make_bridge(model_config: Any, processor: Processor) -> Bridge:
    """The bridge of a model's family.

    Args:
        model_config: the configuration of transformers.
        processor: the numbers of its pixels.

    Raises:
        ConfigError: there is no such family, or a number is missing.
    """
    check_family(model_config)
    return FAMILIES[model_config.model_type](model_config, processor)
