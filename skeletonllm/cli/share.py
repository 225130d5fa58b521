"""Verbs that give a student to others: merge, export, push."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from skeletonllm.model.stored import Stored

Student = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STUDENT")]
Output = Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FOLDER")]


def merge(
    student: Student,
    output: Output,
    clips: int = 8,
    seed: int = 0,
) -> None:
    """Fold LoRA into the language part, and write a student that needs nothing else: its backbone is inside.

    Asked about simulated clips before and after, it must rank and answer alike, or nothing is written; the largest
    difference is told, and stands in its card.

    Args:
        student: a student's folder, as `skeletonllm train` prints it, or its name on the Hub.
        output: the merged student's folder; a student that is there is replaced when the new one is whole.
        clips: simulated clips that it is asked about.
        seed: of these.
    """
    from skeletonllm.log import set_up_logging
    from skeletonllm.model.merge import check_mergeable, merge_student
    from skeletonllm.model.stored import STUDENT
    from skeletonllm.model.whole import check_place

    set_up_logging()
    _check_clips(clips)
    check_place(output, STUDENT)
    folder, stored = _find(student)
    check_mergeable(folder, stored)
    print(merge_student(folder, output, clips, seed, _device(), stored.about).text())
    print(output)


def export(
    student: Student,
    output: Output,
    to: Literal["hf"] = "hf",
    clips: int = 4,
    seed: int = 0,
) -> None:
    """Write the multimodal LLM as a plain transformers checkpoint, which needs none of our code, and the renderer beside.

    LoRA is folded in; tokenizer, chat template and processor settings are there. It is loaded back with stock transformers
    and must give the same logits, or nothing is written.

    Args:
        student: a student's folder, as `skeletonllm train` prints it, or its name on the Hub.
        output: the checkpoint's folder; the renderer goes into `renderer/` there.
        to: the format; `hf` is that of Hugging Face transformers.
        clips: simulated clips whose logits are compared.
        seed: of these.
    """
    from skeletonllm.log import set_up_logging
    from skeletonllm.model.export import RENDERER, export_student
    from skeletonllm.model.whole import check_place

    set_up_logging()
    _check_clips(clips)
    check_place(output, RENDERER)
    folder, stored = _find(student)
    print(export_student(folder, output, clips, seed, _device(), stored.about).text())
    print(output)


def push(
    student: Student,
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="OWNER/NAME")],
    private: bool = False,
    licence: str = "",
    message: str = "",
    dry_run: bool = False,
) -> None:
    """Send a student to the Hugging Face Hub with a card that says what it is, learned from, and reaches.

    The token is taken from HF_TOKEN. What belongs to training only (optimiser states) stays here.

    Args:
        student: a student's folder, as `skeletonllm train` prints it.
        name: OWNER/NAME on the Hub; made where it is not there.
        private: whether a new repository is.
        licence: of the weights, by its identifier on the Hub, such as apache-2.0.
        message: of the commit.
        dry_run: check all files, say what would be sent, print the card, and stop.
    """
    from dataclasses import replace

    from skeletonllm.log import set_up_logging
    from skeletonllm.model.sharing import check_shareable, described, push_folder

    set_up_logging()
    folder, stored = _find(student)
    if licence:
        stored = replace(stored, about=replace(stored.about, licence=licence))
    check_shareable(folder, stored)
    if dry_run:
        print(described(folder, stored, name))
        return
    print(push_folder(folder, stored, name, private, message))


def _find(student: str) -> tuple[Path, "Stored"]:
    """A student's folder, and what it and its work folder know of it."""
    from dataclasses import replace

    from pipelines.about import about_checkpoint
    from skeletonllm.model.folder import find_student
    from skeletonllm.model.stored import read_stored

    folder = find_student(student)
    stored = read_stored(folder)
    return folder, replace(stored, about=about_checkpoint(folder, stored.about))


def _check_clips(clips: int) -> None:
    from skeletonllm.errors import ConfigError

    if clips < 1:
        raise ConfigError(f"--clips is {clips}, must be at least 1: nothing is written that was not asked")


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
