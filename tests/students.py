"""Small real students that the tests share: the tiny model, and a pretrained family made on the spot."""

import json
from pathlib import Path

from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig, TinyConfig
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.tiny import new_model, tiny_model_config, train_tokenizer
from skeletonllm.render.config import RenderConfig

ACTIONS = ("bow", "sit down", "wave")
SMALL = RenderConfig(size_px=32, num_frames=2, gaussians_per_bone=1)
_SIZES = TinyConfig(vision_width=32, vision_layers=1, text_width=32, text_layers=2, heads=2)


def tiny_student(seed: int = 0, **changes) -> SkeletonLLM:
    """The embedded model, smaller still."""
    values = {
        "backbone": BackboneConfig(name="tiny", tiny=_SIZES),
        "adapter": AdapterConfig(kind="full"),
        "render": SMALL,
    }
    return SkeletonLLM.build(StudentConfig(**{**values, **changes}), corpus=ACTIONS, seed=seed)


def write_internvl(folder: Path) -> Path:
    """A folder as the Hub has it: an InternVL of random weights with tokenizer, chat template and image processor."""
    tokenizer = train_tokenizer([*ACTIONS, "Frame1: <img></img>"], 400)
    tokenizer.chat_template = (
        "{% for message in messages %}<|{{ message['role'] }}|>\n"
        "{% for part in message['content'] %}{{ '<video>' if part['type'] == 'video' else part['text'] }}\n{% endfor %}"
        "{% endfor %}<|assistant|>\n"
    )
    new_model(tiny_model_config(_SIZES, SMALL.size_px, tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3}))
    return folder
