"""Ask a student about clips: which action, in which words, by which reasoning."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.reasoning.prompts import caption_prompt, chain_prompt, mqa_prompt
from skeletonllm.skeleton.clip import Clip

Progress = Callable[[int, int], None]
_CAPTION_TOKENS = 40
_CHAIN_TOKENS = 96


@runtime_checkable
class Ranker(Protocol):
    """What `predict` needs of a student; `SkeletonLLM` has it."""

    renderer: Any

    def rank(self, batch: Any, prompts: Sequence[str], candidates: Sequence[str]) -> Float[Tensor, "batch candidates"]:
        """Log-likelihood of each candidate after each prompt."""
        ...


@runtime_checkable
class Writer(Protocol):
    """What `caption` and `explain` need of a student; `SkeletonLLM` has it."""

    renderer: Any

    def generate(self, batch: Any, prompts: Sequence[str], max_new_tokens: int = 64) -> list[str]:
        """What the student writes after each prompt."""
        ...


@dataclass(frozen=True)
class Prediction:
    """A student's answer about one clip.

    Args:
        clip_id: of the clip.
        action: the true one; empty where it is not known.
        predicted: the most likely candidate.
        scores: mean log-likelihood per token of each candidate, in their order.
        format: of the recording.
        subject: who moves.
        camera: who looks.
    """

    clip_id: str
    action: str
    predicted: str
    scores: tuple[float, ...]
    format: str
    subject: str
    camera: str


def predict(
    student: Ranker,
    clips: Iterable[Clip],
    actions: Sequence[str],
    batch_size: int = 32,
    progress: Progress | None = None,
) -> list[Prediction]:
    """The most likely of the candidate actions for each clip, by likelihood ranking; sorted by clip id.

    Args:
        student: who is asked, in evaluation mode; its mode is put back afterwards.
        clips: in any order and number.
        actions: the candidates; equal scores keep their order.
        batch_size: clips asked about at once.
        progress: told how many clips of how many are done.

    Raises:
        ConfigError: no candidates, a candidate named twice, or a batch of nothing.
        DataError: a score is not a number.
    """
    if not actions or len(set(actions)) != len(actions):
        raise ConfigError(f"{len(actions)} candidates, {len(set(actions))} of them different; give each action once")
    prompt = mqa_prompt(actions)
    answers: list[Prediction] = []
    with _asking(student):
        for some, batch in _batches(student, list(clips), batch_size, progress):
            scores = student.rank(batch, [prompt] * len(some), actions).float().cpu()
            answers += [_prediction(clip, row, actions) for clip, row in zip(some, scores, strict=True)]
    return sorted(answers, key=lambda answer: answer.clip_id)


def caption(
    student: Writer, clips: Iterable[Clip], batch_size: int = 32, progress: Progress | None = None
) -> list[str]:
    """A description of each clip in the student's words, in the order of the clips."""
    return _write(student, clips, caption_prompt(), _CAPTION_TOKENS, batch_size, progress)


def explain(
    student: Writer, clips: Iterable[Clip], batch_size: int = 32, progress: Progress | None = None
) -> list[str]:
    """A reasoning chain for each clip in the student's words, its label on the last line, in the order of the clips."""
    return _write(student, clips, chain_prompt(), _CHAIN_TOKENS, batch_size, progress)


def _prediction(clip: Clip, scores: Float[Tensor, " candidates"], actions: Sequence[str]) -> Prediction:
    if not bool(scores.isfinite().all()):
        raise DataError(
            f"clip {clip.clip_id}: the student's scores are {scores.tolist()[:3]}, must be numbers; "
            "train again with lower learning rates"
        )
    best = actions[int(scores.argmax())]
    source = clip.source
    return Prediction(
        clip_id=clip.clip_id,
        action=clip.action or "",
        predicted=best,
        scores=tuple(scores.tolist()),
        format=source.format,
        subject=source.subject,
        camera=source.camera,
    )


def _write(
    student: Writer,
    clips: Iterable[Clip],
    prompt: str,
    max_new_tokens: int,
    batch_size: int,
    progress: Progress | None,
) -> list[str]:
    texts: list[str] = []
    with _asking(student):
        for some, batch in _batches(student, list(clips), batch_size, progress):
            texts += student.generate(batch, [prompt] * len(some), max_new_tokens)
    return texts


def _batches(
    student: Ranker | Writer, clips: Sequence[Clip], size: int, progress: Progress | None
) -> Iterator[tuple[Sequence[Clip], Any]]:
    """Clips by `size`, with their batch on the student's device. Progress is told when the next one is asked for."""
    if size < 1:
        raise ConfigError(f"batch_size is {size}, must be at least 1")
    for start in range(0, len(clips), size):
        some = clips[start : start + size]
        batch = student.renderer.collate(some)
        device = _device(student)
        yield some, batch if device is None else batch.to(device)
        if progress is not None:
            progress(start + len(some), len(clips))


def _device(student: Ranker | Writer) -> torch.device | None:
    """Where the student's weights are; None for a student that is no torch module, and one without weights."""
    weight = next(student.parameters(), None) if isinstance(student, nn.Module) else None
    return None if weight is None else weight.device


@contextmanager
def _asking(student: Ranker | Writer) -> Iterator[None]:
    """No gradients, and no dropout."""
    module = student if isinstance(student, nn.Module) and student.training else None
    if module is not None:
        module.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        if module is not None:
            module.train()
