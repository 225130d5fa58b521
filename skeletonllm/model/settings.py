"""The settings of a backbone as files: configuration, tokenizer, chat template and the numbers of its processors."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from skeletonllm.errors import CheckpointError
from skeletonllm.model import hub
from skeletonllm.model.config import TINY
from skeletonllm.model.student import SkeletonLLM

_PROCESSORS = (
    *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
    *("chat_template.json", "chat_template.jinja"),
)


def write_settings(student: SkeletonLLM, folder: Path) -> None:
    """Write all of a backbone but its weights.

    Raises:
        CheckpointError: the files of its processors are neither where the backbone was, nor on the Hub.
    """
    folder.mkdir(parents=True, exist_ok=True)
    student.mllm.config.save_pretrained(folder)
    student.tokenizer.save_pretrained(folder)
    generation = student.mllm.generation_config
    if generation is not None:
        generation.save_pretrained(folder)
    source = _source(student)
    if source is None:
        (folder / "preprocessor_config.json").write_text(json.dumps(_made_on_the_spot(student), indent=2) + "\n")
        return
    for name in _PROCESSORS:
        if (source / name).exists() and not (folder / name).exists():
            shutil.copyfile(source / name, folder / name)


def _source(student: SkeletonLLM) -> Path | None:
    """Where the backbone's processor files are; None for one that was made on the spot."""
    loaded_from = Path(student.mllm.config._name_or_path or "?")
    if loaded_from.is_dir():
        return loaded_from
    name = student.config.backbone.name
    if name == TINY:
        return None
    if Path(name).is_dir():
        return Path(name)
    if not hub.is_hub_name(name):
        raise CheckpointError(
            f"{name}: the folder of the backbone is gone; load the student with `backbone=` another place"
        )
    return hub.fetch(name, _PROCESSORS, student.about.revision)


def _made_on_the_spot(student: SkeletonLLM) -> dict[str, Any]:
    """The numbers of an image processor that does what the bridge does: read off what it makes of black and of white."""
    size = student.config.render.size_px
    frames = torch.stack((torch.zeros(3, size, size), torch.ones(3, size, size)))
    black, white = student.bridge.pack(frames[:, None])["pixel_values"][:, :, 0, 0]
    std = 1 / (white - black)
    return {
        "image_processor_type": "GotOcr2ImageProcessor",
        "size": {"height": size, "width": size},
        "crop_to_patches": False,
        "image_mean": (-black * std).tolist(),
        "image_std": std.tolist(),
    }
