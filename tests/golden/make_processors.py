"""Makes `processors.json`: `python -m tests.golden.make_processors`, where torchvision and num2words are installed.

Holds what the families' own processors make of frames and questions, so that machines without torchvision can compare.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers.video_utils import VideoMetadata

from skeletonllm.model.families.bridge import FRAMES_PER_S
from tests.families import FAMILIES, family_tokenizer, smooth_frames

GOLDEN = Path(__file__).with_name("processors.json")
QUESTIONS = ("which?", "which one of all is it?")
# Frames and their size: a whole and a half pair, the model's own size, a larger one and a smaller one.
CASES = ((4, 32), (3, 32), (3, 40), (2, 24))
_MODEL = {"image_seq_length": 4}
_CLASSES = {
    "internvl3": ("InternVLProcessor", "GotOcr2ImageProcessor", "InternVLVideoProcessor", _MODEL),
    "internvl3_5": ("InternVLProcessor", "GotOcr2ImageProcessor", "InternVLVideoProcessor", _MODEL),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor", {}),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen2VLImageProcessor", "Qwen3VLVideoProcessor", {}),
    "llava_onevision": (
        "LlavaOnevisionProcessor",
        "LlavaOnevisionImageProcessor",
        "LlavaOnevisionVideoProcessor",
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    ),
    "smolvlm": ("SmolVLMProcessor", "SmolVLMImageProcessor", "SmolVLMVideoProcessor", {"image_seq_len": 4}),
    "idefics3": ("Idefics3Processor", "Idefics3ImageProcessor", None, {"image_seq_len": 4}),
    "gemma3": ("Gemma3Processor", "Gemma3ImageProcessor", None, _MODEL),
}


def digest(values: torch.Tensor) -> dict[str, Any]:
    """A tensor in a few numbers: shape, mean, mean square, and some entries."""
    flat = values.double().flatten()
    some = flat[torch.arange(12) * 7919 % len(flat)]
    return {
        "shape": list(values.shape),
        "mean": flat.mean().item(),
        "square": flat.square().mean().item(),
        "some": some.tolist(),
    }


def asked(tokenizer: Any, kind: str, num_frames: int) -> list[str]:
    """The questions in a chat, as a processor wants them: one mark for a video, or one for each frame."""
    marks = [{"type": kind}] * (num_frames if kind == "image" else 1)
    chats = [[{"role": "user", "content": [*marks, {"type": "text", "text": text}]}] for text in QUESTIONS]
    return tokenizer.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)


def processed(name: str, num_frames: int, size_px: int) -> dict[str, Any]:
    """What the family's own processor makes of frames, which are numbers in [0, 1] already."""
    processor_name, image_name, video_name, sizes = _CLASSES[name]
    family, tokenizer = FAMILIES[name], family_tokenizer(name)
    parts = {"image_processor": getattr(hf, image_name)(**family.image), "tokenizer": tokenizer, **sizes}
    if video_name is not None:
        parts["video_processor"] = getattr(hf, video_name)(**(family.video or family.image))
    processor = getattr(hf, processor_name)(**parts, chat_template=tokenizer.chat_template)
    frames = smooth_frames(len(QUESTIONS), num_frames, size_px)
    kind = family.template["kind"]
    if kind == "image":
        media = {"images": [list(clip) for clip in frames]}
    else:
        times = VideoMetadata(
            total_num_frames=num_frames,
            fps=FRAMES_PER_S,
            duration=num_frames / FRAMES_PER_S,
            frames_indices=list(range(num_frames)),
        )
        media = {
            "videos": list(frames),
            "video_metadata": [times] * len(frames),
            "do_sample_frames": False,
        }
    return processor(
        text=asked(tokenizer, kind, num_frames),
        **media,
        do_rescale=False,
        padding=True,
        padding_side="left",
        add_special_tokens=False,
        return_tensors="pt",
    )


def main() -> None:
    """Ask all processors and keep their answers."""
    kept: dict[str, Any] = {
        "made_by": ", ".join(f"{package} {version(package)}" for package in ("transformers", "torchvision", "torch"))
    }
    for name, family in FAMILIES.items():
        tokenizer = family_tokenizer(name)
        for case in CASES:
            found = processed(name, *case)
            texts = [
                tokenizer.decode(ids[mask.bool()])
                for ids, mask in zip(found["input_ids"], found["attention_mask"], strict=True)
            ]
            more = {
                key: torch.as_tensor(value).tolist()
                for key, value in found.items()
                if key not in ("input_ids", "attention_mask", "pixel_attention_mask", family.forward)
            }
            kept[f"{name} {case[0]} x {case[1]}"] = {"texts": texts, "pixels": digest(found[family.forward]), **more}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in kept.items())
    GOLDEN.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
