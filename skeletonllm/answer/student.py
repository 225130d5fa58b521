"""Ask a student about any number of clips: batch by batch, the next one prepared while the model works on this one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from skeletonllm.answer.labels import checked_labels
from skeletonllm.answer.results import Answer, Recognition, ranked
from skeletonllm.answer.stream import ahead, in_groups
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.reasoning.prompts import mqa_prompt, task_prompt
from skeletonllm.skeleton.clip import Clip

BATCH_SIZE = 16
MAX_NEW_TOKENS = 96

Refused = Callable[[Clip, DataError], None]


@runtime_checkable
class Student(Protocol):
    """What is needed of a student; `SkeletonLLM` has it."""

    renderer: Any
    training: bool

    @property
    def actions(self) -> tuple[str, ...]:
        """That it was trained on; empty where that is not known."""
        ...

    def rank(self, batch: Any, prompts: Sequence[str], candidates: Sequence[str]) -> Float[Tensor, "batch candidates"]:
        """Mean log-likelihood per token of each candidate after each prompt."""
        ...

    def generate(self, batch: Any, prompts: Sequence[str], max_new_tokens: int = 64) -> list[str]:
        """What the student writes after each prompt."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Switch between training and use."""
        ...

    def parameters(self) -> Iterator[Any]:
        """The weights."""
        ...


@dataclass(frozen=True)
class _Ready:
    """Clips by id and file, and their batch on the CPU."""

    names: list[tuple[str, str]]
    batch: Any


def recognize(
    student: Student,
    clips: Iterable[Clip],
    labels: Sequence[str] | None = None,
    batch_size: int = BATCH_SIZE,
    refused: Refused | None = None,
) -> Iterator[Recognition]:
    """Which label each clip has, by likelihood, in the order of the clips; nothing is kept of what was answered.

    Args:
        student: who is asked; its mode (training or not) is put back afterwards.
        clips: any number; they are read while the model works.
        labels: the candidates; by default the actions that the student was trained on.
        batch_size: clips asked about at once.
        refused: told of a clip that cannot be drawn, which is then left out; by default that is an error.

    Raises:
        ConfigError: no labels, an empty one, one twice; a batch of nothing.
        DataError: a clip cannot be drawn, or a score is not a number.
    """
    candidates = checked_labels(labels, student.actions)
    prompt = mqa_prompt(candidates)
    with _asking(student):
        for ready in _ready(student, clips, batch_size, refused):
            scores = student.rank(ready.batch, [prompt] * len(ready.names), candidates).float().cpu().tolist()
            for (clip_id, file), row in zip(ready.names, scores, strict=True):
                order = ranked(candidates, row)
                yield Recognition(clip_id, file, order[0].label, order[0].score, order[0].probability, order)


def describe(
    student: Student,
    clips: Iterable[Clip],
    question: str = "",
    task: str = "",
    batch_size: int = BATCH_SIZE,
    max_new_tokens: int = MAX_NEW_TOKENS,
    refused: Refused | None = None,
) -> Iterator[Answer]:
    """What the student writes about each clip, in the order of the clips.

    Args:
        student: who is asked; its mode is put back afterwards.
        clips: any number; they are read while the model works.
        question: in words.
        task: `question`, `caption` or `chain`; by default a question where one is given, else a caption.
        batch_size: clips asked about at once.
        max_new_tokens: the longest answer.
        refused: told of a clip that cannot be drawn, which is then left out; by default that is an error.

    Raises:
        ConfigError: an unknown task, a question too many or too few; a batch or an answer of nothing.
        DataError: a clip cannot be drawn.
    """
    prompt = task_prompt(task, question)
    if max_new_tokens < 1:
        raise ConfigError(f"max_new_tokens is {max_new_tokens}, must be at least 1")
    with _asking(student):
        for ready in _ready(student, clips, batch_size, refused):
            texts = student.generate(ready.batch, [prompt] * len(ready.names), max_new_tokens)
            for (clip_id, file), text in zip(ready.names, texts, strict=True):
                yield Answer(clip_id, file, prompt, text)


def _ready(student: Student, clips: Iterable[Clip], size: int, refused: Refused | None) -> Iterator[_Ready]:
    if size < 1:
        raise ConfigError(f"batch_size is {size}, must be at least 1")
    device = device_of(student)

    def made() -> Iterator[_Ready]:
        for group in in_groups(_prepared(student, clips, refused), size):
            yield _Ready([name for name, _ in group], student.renderer.collate([clip for _, clip in group]))

    for ready in ahead(made()):
        yield _Ready(ready.names, ready.batch.to(device))


def _prepared(
    student: Student, clips: Iterable[Clip], refused: Refused | None
) -> Iterator[tuple[tuple[str, str], Any]]:
    for clip in clips:
        try:
            prepared = student.renderer.prepare(clip)
        except DataError as error:
            if refused is None:
                raise
            refused(clip, error)
            continue
        yield (clip.clip_id, clip.source.file), prepared


def device_of(student: Student) -> torch.device:
    """Where the student's weights are."""
    return next(student.parameters()).device


@contextmanager
def _asking(student: Student) -> Iterator[None]:
    """No dropout; the mode is put back."""
    was = student.training
    student.train(False)
    try:
        yield
    finally:
        student.train(was)
