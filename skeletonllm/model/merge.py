"""LoRA folded into the language part: the same answers from plain weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from skeletonllm.errors import CheckpointError, ConfigError
from skeletonllm.log import progress
from skeletonllm.model.about import About
from skeletonllm.model.folder import load_student, save_student
from skeletonllm.model.sameness import Difference, answers_of, check_clips, check_same
from skeletonllm.model.stored import STUDENT, Stored
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.whole import check_place


def fold_adapter(student: SkeletonLLM) -> int:
    """Fold LoRA into the weights that it adapts, in place; returns into how many layers.

    Raises:
        CheckpointError: a folded weight would not be a finite number.
    """
    from peft.tuners.lora import LoraLayer

    found: list[tuple[str, Any]] = [
        (name, layer) for name, layer in student.mllm.named_modules() if isinstance(layer, LoraLayer)
    ]
    for name, layer in found:
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise CheckpointError(f"{name}: cannot be folded ({error}); train it again") from error
        parent, _, last = name.rpartition(".")
        setattr(student.mllm.get_submodule(parent), last, layer.get_base_layer())
    student.config = replace(student.config, adapter=replace(student.config.adapter, kind="full"))
    return len(found)


def merge_student(
    source: str | Path,
    target: Path,
    num_clips: int = 8,
    seed: int = 0,
    device: str = "cpu",
    about: About | None = None,
) -> Difference:
    """Write a student whose LoRA is folded in and whose backbone is inside, once it answered as before.

    Args:
        source: the student's folder, or its name on the Hub.
        target: where the merged one goes.
        num_clips: simulated clips that it is asked about before and after.
        seed: of these.
        device: where it is asked.
        about: what its card says; by default what the student says itself.

    Returns:
        How far its answers moved.

    Raises:
        CheckpointError: it cannot be read, answers otherwise, or cannot be written.
        ConfigError: there is nothing to fold.
    """
    check_place(target, STUDENT)
    student = load_student(source).to(device).eval()
    student.about = about or student.about
    clips = check_clips(num_clips, seed)
    with progress("asked before", num_clips, "clips") as tick:
        before = answers_of(student, clips, tick)
    num_layers = fold_adapter(student)
    with progress("asked after", num_clips, "clips") as tick:
        found = check_same(before, answers_of(student, clips, tick), student.config.backbone.dtype)
    if num_layers:
        said = f"LoRA folded into {num_layers} layers; {found.text()}"
        student.about = replace(student.about, changes=(*student.about.changes, said))
    save_student(student, target, whole=True)
    return found


def check_mergeable(source: Path, stored: Stored) -> None:
    """Refuse a student that merging would not change.

    Raises:
        ConfigError: it has no LoRA, and its backbone is inside already.
    """
    if stored.config.adapter.kind != "lora" and stored.whole:
        raise ConfigError(f"{source}: has no LoRA, and its backbone is inside already: use it as it is")
