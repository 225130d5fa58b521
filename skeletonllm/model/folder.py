"""A student as a folder: the weights of each part as safetensors, and what they are in JSON."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from skeletonllm.errors import CheckpointError
from skeletonllm.model.adapters import split_parameters
from skeletonllm.model.backbone import Backbone, load_backbone
from skeletonllm.model.config import TINY, StudentConfig
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.render import build_renderer

FORMAT_VERSION = 2
_FROZEN = "frozen"
_STUDENT = "student.json"
_BACKBONE = "backbone"


def save_student(student: SkeletonLLM, folder: Path) -> None:
    """Write everything that `load_student` needs into a folder, which appears whole.

    A backbone from the Hub is named, not copied; one made on the spot is written too.
    """
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.student")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for part, weights in student.named_parts().items():
        save_file(_plain(weights), temporary / f"{part}.safetensors")
    if student.config.backbone.name == TINY:
        student.mllm.config.save_pretrained(temporary / _BACKBONE)
        student.tokenizer.save_pretrained(temporary / _BACKBONE)
        save_file(_plain(_frozen(student)), temporary / f"{_FROZEN}.safetensors")
    plain = {"format_version": FORMAT_VERSION, "config": to_plain(student.config)}
    (temporary / _STUDENT).write_text(json.dumps(plain, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


def load_student(folder: Path) -> SkeletonLLM:
    """The student of a folder that `save_student` wrote, or of a checkpoint.

    Raises:
        CheckpointError: something is missing, damaged or of another version.
    """
    config = _read_config(folder)
    student = SkeletonLLM(config, build_renderer(config.render), _read_backbone(folder, config))
    groups = student.named_parts()
    if config.backbone.name == TINY:
        groups = {**groups, _FROZEN: _frozen(student)}
    for part, weights in groups.items():
        _load(folder / f"{part}.safetensors", weights)
    return student


def _frozen(student: SkeletonLLM) -> dict[str, nn.Parameter]:
    return split_parameters(student.mllm, student.bridge.projector, student.config.adapter)[_FROZEN]


def _plain(weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}


def _read_config(folder: Path) -> StudentConfig:
    path = folder / _STUDENT
    try:
        plain = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); give a folder that training wrote") from error
    if plain.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format {plain.get('format_version')!r}, this version reads {FORMAT_VERSION}; train it again"
        )
    return from_plain(StudentConfig, plain["config"], str(path))


def _read_backbone(folder: Path, config: StudentConfig) -> Backbone:
    if config.backbone.name != TINY:
        return load_backbone(config.backbone)
    from transformers import AutoConfig, AutoTokenizer

    from skeletonllm.model.tiny import new_model, tiny_bridge

    try:
        model_config = AutoConfig.from_pretrained(folder / _BACKBONE)
        tokenizer = AutoTokenizer.from_pretrained(folder / _BACKBONE)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / _BACKBONE}: cannot be read ({error}); train it again") from error
    return Backbone(new_model(model_config), tokenizer, tiny_bridge(model_config))


def _load(path: Path, weights: dict[str, nn.Parameter]) -> None:
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{path}: missing or damaged ({error}); use an older checkpoint or train again"
        ) from error
    if stored.keys() != weights.keys():
        differing = sorted(stored.keys() ^ weights.keys())[:3]
        raise CheckpointError(f"{path}: other weights than this student has, for example {differing}; train it again")
    with torch.no_grad():
        for name, weight in weights.items():
            if stored[name].shape != weight.shape:
                raise CheckpointError(
                    f"{path}: {name} has shape {tuple(stored[name].shape)}, must be {tuple(weight.shape)}; train it again"
                )
            weight.copy_(stored[name])
