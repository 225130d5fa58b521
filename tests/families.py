"""Small models of every family, of random weights and made on the spot, in folders as the Hub has them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers as hf

from skeletonllm.model.tiny import train_tokenizer

SIZE_PX, PATCH_PX = 32, 8
_WIDTH, _HEADS = 32, 2
_WORDS = ("bow", "sit down", "stand up", "wave", "which? Frame1: user assistant seconds 0123456789")
_TEMPLATE = (
    "{%% for message in messages %%}{{ %(open)r }}{{ %(role)s }}{{ %(after_role)r }}"
    "{%% for part in message['content'] %%}{{ %(media)r if part['type'] == %(kind)r else part['text'] }}{%% endfor %%}"
    "{{ %(close)r }}{%% endfor %%}{%% if add_generation_prompt %%}{{ %(ask)r }}{%% endif %%}"
)
_QWEN_TEMPLATE = {
    "open": "<|im_start|>",
    "role": "message['role']",
    "after_role": "\n",
    "kind": "video",
    "close": "<|im_end|>\n",
    "ask": "<|im_start|>assistant\n",
}


@dataclass(frozen=True)
class Family:
    """How a small model of it is made.

    Args:
        config: its configuration, from the ids of its tokens.
        tokens: what its tokenizer must know, by the names that its processor asks for.
        template: of its chats.
        end: the token after an answer.
        image: numbers of its image processor.
        video: numbers of its video processor, where it has one.
        forward: the pixel argument of its forward.
    """

    config: Callable[[Callable[[str], int], dict[str, Any]], Any]
    tokens: dict[str, str]
    template: dict[str, str]
    end: str
    image: dict[str, Any]
    video: dict[str, Any] | None
    forward: str


def _text(vocabulary: int, **more: Any) -> dict[str, Any]:
    return {
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": 1,
        "intermediate_size": 2 * _WIDTH,
        "vocab_size": vocabulary,
        "max_position_embeddings": 2048,
        "initializer_range": 0.1,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
        **more,
    }


def _tower(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": _HEADS,
        "intermediate_size": 2 * _WIDTH,
        "image_size": SIZE_PX,
        "patch_size": PATCH_PX,
        **more,
    }


def _internvl(text: str) -> Callable[[Callable[[str], int], dict[str, Any]], Any]:
    return lambda token, words: hf.InternVLConfig(
        vision_config=_tower(image_size=[SIZE_PX] * 2, patch_size=[PATCH_PX] * 2, layer_scale_init_value=1.0),
        text_config=_text(**words, model_type=text, tie_word_embeddings=False),
        image_token_id=token("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )


def _qwen(kind: str, **vision: Any) -> Callable[[Callable[[str], int], dict[str, Any]], Any]:
    def make(token: Callable[[str], int], words: dict[str, Any]) -> Any:
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
        return hf.CONFIG_MAPPING[kind](
            vision_config={
                "depth": 2,
                "hidden_size": _WIDTH,
                "intermediate_size": 2 * _WIDTH,
                "num_heads": _HEADS,
                "patch_size": PATCH_PX,
                "out_hidden_size": _WIDTH,
                **vision,
            },
            text_config=_text(**words, rope_parameters=rope, head_dim=16),
            image_token_id=token("<|image_pad|>"),
            video_token_id=token("<|video_pad|>"),
            vision_start_token_id=token("<|vision_start|>"),
            vision_end_token_id=token("<|vision_end|>"),
        )

    return make


def _llava(token: Callable[[str], int], words: dict[str, Any]) -> Any:
    return hf.LlavaOnevisionConfig(
        vision_config=_tower(model_type="siglip_vision_model", vision_use_head=False),
        text_config=_text(**words, model_type="qwen2"),
        image_token_index=token("<image>"),
        video_token_index=token("<video>"),
        image_grid_pinpoints=[[SIZE_PX, SIZE_PX]],
    )


def _smolvlm(config: Any) -> Callable[[Callable[[str], int], dict[str, Any]], Any]:
    def make(token: Callable[[str], int], words: dict[str, Any]) -> Any:
        return config(
            vision_config=_tower(),
            text_config=_text(**words, model_type="llama"),
            image_token_id=token("<image>"),
            scale_factor=2,
            pad_token_id=0,
        )

    return make


def _gemma3(token: Callable[[str], int], words: dict[str, Any]) -> Any:
    return hf.Gemma3Config(
        vision_config=_tower(vision_use_head=False),
        text_config=_text(
            **words,
            head_dim=16,
            query_pre_attn_scalar=16,
            sliding_window=12,
            layer_types=["sliding_attention", "full_attention"],
        ),
        mm_tokens_per_image=4,
        boi_token_index=token("<start_of_image>"),
        eoi_token_index=token("<end_of_image>"),
        image_token_index=token("<image_soft_token>"),
    )


_HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
_SQUARE = {"size": {"height": SIZE_PX, "width": SIZE_PX}}
_PAIRS = {"patch_size": PATCH_PX, "temporal_patch_size": 2, "merge_size": 2}
_INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_INTERNVL_PIXELS = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "resample": 3, **_SQUARE}
_QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
_QWEN_MEDIA = {"media": "<|vision_start|><|video_pad|><|vision_end|>"}

FAMILIES = {
    "internvl3": Family(
        _internvl("qwen2"),
        _INTERNVL_TOKENS,
        {**_QWEN_TEMPLATE, "media": "<video>\n"},
        "<|im_end|>",
        _INTERNVL_PIXELS,
        _INTERNVL_PIXELS,
        "pixel_values",
    ),
    "internvl3_5": Family(
        _internvl("qwen3"),
        _INTERNVL_TOKENS,
        {**_QWEN_TEMPLATE, "media": "<video>\n"},
        "<|im_end|>",
        _INTERNVL_PIXELS,
        _INTERNVL_PIXELS,
        "pixel_values",
    ),
    "qwen2_5_vl": Family(
        _qwen("qwen2_5_vl", window_size=32, fullatt_block_indexes=[1], tokens_per_second=2),
        _QWEN_TOKENS,
        {**_QWEN_TEMPLATE, **_QWEN_MEDIA},
        "<|im_end|>",
        {**_CLIP, **_PAIRS, "min_pixels": 256, "max_pixels": 4096},
        None,
        "pixel_values_videos",
    ),
    "qwen3_vl": Family(
        _qwen("qwen3_vl", num_position_embeddings=16, deepstack_visual_indexes=[0]),
        _QWEN_TOKENS,
        {**_QWEN_TEMPLATE, **_QWEN_MEDIA},
        "<|im_end|>",
        {**_HALF, **_PAIRS, "size": {"shortest_edge": 256, "longest_edge": 4096}},
        {**_HALF, **_PAIRS, "size": {"shortest_edge": 512, "longest_edge": 16384}},
        "pixel_values_videos",
    ),
    "llava_onevision": Family(
        _llava,
        {"image_token": "<image>", "video_token": "<video>"},
        {**_QWEN_TEMPLATE, "after_role": " ", "media": "<video>\n"},
        "<|im_end|>",
        {**_HALF, **_SQUARE},
        {**_HALF, **_SQUARE, "resample": 3},
        "pixel_values_videos",
    ),
    "smolvlm": Family(
        _smolvlm(hf.SmolVLMConfig),
        {
            "image_token": "<image>",
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
        },
        {
            "open": "",
            "role": "message['role'] | capitalize",
            "after_role": ":",
            "kind": "image",
            "media": "<image>",
            "close": "<end_of_utterance>\n",
            "ask": "Assistant:",
        },
        "<end_of_utterance>",
        {
            **_HALF,
            "resample": 1,
            "size": {"longest_edge": SIZE_PX},
            "max_image_size": {"longest_edge": SIZE_PX},
            "do_image_splitting": False,
        },
        None,
        "pixel_values",
    ),
    "gemma3": Family(
        _gemma3,
        {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"},
        {
            "open": "<start_of_turn>",
            "role": "'model' if message['role'] == 'assistant' else message['role']",
            "after_role": "\n",
            "kind": "image",
            "media": "<start_of_image>",
            "close": "<end_of_turn>\n",
            "ask": "<start_of_turn>model\n",
        },
        "<end_of_turn>",
        {**_HALF, **_SQUARE, "resample": 2},
        None,
        "pixel_values",
    ),
}

FAMILIES["idefics3"] = replace(FAMILIES["smolvlm"], config=_smolvlm(hf.Idefics3Config))


def family_tokenizer(name: str) -> Any:
    """A tokenizer that knows the family's special tokens, with a chat template laid out as the family's own."""
    family = FAMILIES[name]
    plain = train_tokenizer(_WORDS, 400)
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer,
        pad_token=plain.pad_token,
        eos_token=plain.eos_token,
        extra_special_tokens=family.tokens,
    )
    marks = {mark for mark in ("<|im_start|>", "<start_of_turn>", family.end) if mark in str(family.template)}
    tokenizer.add_tokens([hf.AddedToken(mark, special=True) for mark in sorted(marks)])
    tokenizer.chat_template = _TEMPLATE % family.template
    return tokenizer


def write_family(name: str, folder: Path, seed: int = 0) -> Path:
    """A folder as the Hub has it: model, tokenizer with chat template, numbers of the processors."""
    family, tokenizer = FAMILIES[name], family_tokenizer(name)
    config = family.config(tokenizer.convert_tokens_to_ids, {"vocabulary": len(tokenizer)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = hf.AutoModelForImageTextToText.from_config(config)
        for weight_name, weight in model.named_parameters():
            if "mm_input_projection_weight" in weight_name:  # else no gradient would reach the pixels
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(family.image))
    if family.video is not None:
        (folder / "video_preprocessor_config.json").write_text(json.dumps(family.video))
    return folder


def smooth_frames(num_clips: int, num_frames: int, size_px: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Frames of soft waves, well within black and white, so that no filter overshoots these."""
    axes = [torch.arange(n, dtype=torch.float64) for n in (num_clips, num_frames, 3, size_px, size_px)]
    clip, frame, colour, row, column = torch.meshgrid(*axes, indexing="ij")
    wave = torch.sin(0.9 * clip + 0.7 * frame + 1.3 * colour + 0.23 * row + 0.31 * column)
    return (0.5 + 0.3 * wave).to(dtype)
