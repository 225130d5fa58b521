"""The embedded model: a stock InternVL configuration of about a million weights, trained from scratch, offline, on a CPU.

Three things decide whether it learns at all: the background is normalised to exactly 0 (else every empty patch is the same
large vector), the vision tower's position embeddings are large, and weights start larger than in a pre-trained model.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from skeletonllm.errors import ConfigError
from skeletonllm.model.backbone import Backbone
from skeletonllm.model.config import TinyConfig
from skeletonllm.model.families.bridge import Pixels
from skeletonllm.model.families.internvl import InternVLBridge

_PAD, _END, _IMAGE = "<pad>", "<end>", "<IMG_CONTEXT>"
_WEIGHT_STD = 0.06
_POSITION_STD = 0.5
_MAX_TOKENS = 8192


def build_tiny(config: TinyConfig, size_px: int, corpus: Sequence[str], seed: int) -> Backbone:
    """A new tiny model.

    Args:
        config: its sizes.
        size_px: of the frames.
        corpus: texts that the tokenizer is made from; any other text can still be written, byte by byte.
        seed: of its weights.
    """
    tokenizer = train_tokenizer(corpus, config.max_vocabulary)
    model_config = tiny_model_config(config, size_px, tokenizer)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mllm = new_model(model_config)
        for name, weight in mllm.named_parameters():
            if "vision_tower" in name and "position_embeddings" in name:
                nn.init.normal_(weight, std=_POSITION_STD)
    return Backbone(mllm, tokenizer, tiny_bridge(model_config))


def new_model(model_config: Any) -> Any:
    """A model with random weights from a configuration."""
    from transformers import InternVLForConditionalGeneration

    return InternVLForConditionalGeneration(model_config)


def tiny_bridge(model_config: Any) -> InternVLBridge:
    """How the tiny model sees frames: black is 0."""
    return InternVLBridge(
        Pixels(mean=(0.0, 0.0, 0.0), std=(0.25, 0.25, 0.25)),
        size_px=int(model_config.vision_config.image_size[0]),
        tokens_per_frame=model_config.image_seq_length,
        numbered=False,
    )


def tiny_model_config(config: TinyConfig, size_px: int, tokenizer: Any) -> Any:
    """The stock InternVL configuration of these sizes.

    Raises:
        ConfigError: the frame cannot be cut into patches, or these cannot be joined.
    """
    from transformers import InternVLConfig

    patches, join = size_px // config.patch_px, round(config.tokens_per_patch**-0.5)
    if size_px % config.patch_px or patches % join:
        raise ConfigError(
            f"tiny: frames of {size_px} px cannot be cut into patches of {config.patch_px} px joined {join} x {join}; "
            f"choose a size_px that is a multiple of {config.patch_px * join}"
        )
    return InternVLConfig(
        vision_config={
            "hidden_size": config.vision_width,
            "num_hidden_layers": config.vision_layers,
            "num_attention_heads": config.heads,
            "intermediate_size": 2 * config.vision_width,
            "image_size": [size_px, size_px],
            "patch_size": [config.patch_px, config.patch_px],
            "layer_scale_init_value": 1.0,
            "initializer_range": _WEIGHT_STD,
            "hidden_dropout_prob": 0.0,
        },
        text_config={
            "model_type": "qwen2",
            "hidden_size": config.text_width,
            "num_hidden_layers": config.text_layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.heads,
            "intermediate_size": 3 * config.text_width,
            "vocab_size": len(tokenizer),
            "tie_word_embeddings": True,
            "initializer_range": _WEIGHT_STD,
            "max_position_embeddings": _MAX_TOKENS,
            "pad_token_id": tokenizer.pad_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "bos_token_id": None,
        },
        image_token_id=tokenizer.convert_tokens_to_ids(_IMAGE),
        image_seq_length=(patches // join) ** 2,
        downsample_ratio=1 / join,
        tie_word_embeddings=True,
    )


def train_tokenizer(corpus: Sequence[str], max_vocabulary: int) -> Any:
    """A byte-level BPE tokenizer made from texts: their words are single tokens, and no text is unknown."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=max_vocabulary,
        special_tokens=[_PAD, _END, _IMAGE],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(set(corpus)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=_PAD, eos_token=_END)
