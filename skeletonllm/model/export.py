"""A student as others' software reads it: a plain transformers checkpoint of its MLLM, and its renderer beside it."""

import json
from pathlib import Path
from typing import Any

import torch

from skeletonllm.errors import CheckpointError
from skeletonllm.log import progress
from skeletonllm.model.about import About
from skeletonllm.model.card import export_card
from skeletonllm.model.folder import load_student
from skeletonllm.model.merge import fold_adapter
from skeletonllm.model.sameness import Answers, Difference, check_clips, check_same, first_logits, inputs_of
from skeletonllm.model.settings import write_settings
from skeletonllm.model.stored import CARD, Stored
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.weights import damaged, read_weights, write_weights
from skeletonllm.model.whole import check_place, whole_folder
from skeletonllm.plain import digest, from_plain, sha256_of, to_plain
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.renderer import Renderer

RENDERER = "renderer"
_FORMAT_VERSION = 1
_SETTINGS = "renderer.json"
_WEIGHTS = "renderer.safetensors"


def export_student(
    source: str | Path,
    target: Path,
    num_clips: int = 4,
    seed: int = 0,
    device: str = "cpu",
    about: About | None = None,
) -> Difference:
    """Write the MLLM of a student as transformers does, LoRA folded in, with tokenizer, chat template and processors.

    It is loaded back with stock transformers and must give the same logits, or nothing is written.

    Args:
        source: the student's folder, or its name on the Hub.
        target: where the checkpoint goes; its renderer goes into `renderer/` there.
        num_clips: simulated clips that both are asked about.
        seed: of these.
        device: where they are asked.
        about: what its card says; by default what the student says itself.

    Returns:
        How far the logits of the loaded checkpoint are from the student's.

    Raises:
        CheckpointError: it cannot be read, answers otherwise, or cannot be written.
    """
    check_place(target, RENDERER)
    student = load_student(source).to(device).eval()
    student.about = about or student.about
    fold_adapter(student)
    asked = [inputs_of(student, clip) for clip in check_clips(num_clips, seed)]
    expected = torch.stack([first_logits(student.mllm, inputs) for inputs in asked])
    with whole_folder(target, RENDERER) as temporary:
        student.mllm.to(getattr(torch, student.config.backbone.dtype))  # what learned may be kept wider
        student.mllm.save_pretrained(temporary)
        write_settings(student, temporary)
        save_renderer(student.renderer, temporary / RENDERER)
        stored = Stored(student.config, student.mllm.config.model_type, True, student.about)
        (temporary / CARD).write_text(export_card(stored), encoding="utf-8")
        _free(student)
        return _check(temporary, asked, expected, stored, device)


def save_renderer(renderer: Renderer, folder: Path) -> None:
    """Write a renderer's weights and settings."""
    folder.mkdir(parents=True)
    write_weights(folder / _WEIGHTS, dict(renderer.named_parameters()))
    plain = {"format_version": _FORMAT_VERSION, "config": to_plain(renderer.config)}
    plain["files"] = {_WEIGHTS: sha256_of(folder / _WEIGHTS)}
    (folder / _SETTINGS).write_text(json.dumps({**plain, "sha256": digest(plain)}, indent=2) + "\n")


def load_renderer(folder: str | Path) -> Renderer:
    """The renderer of an exported checkpoint.

    Args:
        folder: the `renderer/` of the checkpoint.

    Raises:
        CheckpointError: it is missing, damaged, or of another version.
    """
    path = Path(folder) / _SETTINGS
    try:
        plain = json.loads(path.read_bytes())
        if plain.pop("sha256") != digest(plain) or plain["format_version"] != _FORMAT_VERSION:
            raise damaged(path, f"its bytes are not those that were written, or it is not of format {_FORMAT_VERSION}")
        renderer = build_renderer(from_plain(RenderConfig, plain["config"], str(path)))
        sha256 = str(plain["files"][_WEIGHTS])
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); give the renderer/ that an export wrote") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    read_weights(path.with_name(_WEIGHTS), dict(renderer.named_parameters()), sha256)
    return renderer


def _check(
    folder: Path, asked: list[dict[str, Any]], expected: torch.Tensor, stored: Stored, device: str
) -> Difference:
    """Load the checkpoint with nothing but transformers, and compare its logits."""
    from transformers import AutoModelForImageTextToText

    dtype = stored.config.backbone.dtype
    plain: Any = AutoModelForImageTextToText.from_pretrained(folder, dtype=getattr(torch, dtype))
    plain.to(device).eval()
    found = []
    with progress("asked again", len(asked), "clips") as tick:
        for number, inputs in enumerate(asked, 1):
            found.append(first_logits(plain, inputs))
            tick(number)
    return check_same(Answers(expected), Answers(torch.stack(found)), dtype)


def _free(student: SkeletonLLM) -> None:
    """Two models at once may be one too many."""
    student.mllm = torch.nn.Identity()
