"""Ask a student about clips: which action, in which words, by which reasoning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from skeletonllm.reasoning.prompts import caption_prompt, chain_prompt, mqa_prompt
from skeletonllm.skeleton.clip import Clip

if TYPE_CHECKING:
    from skeletonllm.model.student import SkeletonLLM


@dataclass(frozen=True)
class Prediction:
    """A student's answer about one clip.

    Args:
        clip_id: of the clip.
        action: the true one.
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
    student: "SkeletonLLM",
    clips: Sequence[Clip],
    actions: Sequence[str],
    batch_size: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """The most likely of the candidate actions for each clip, by likelihood ranking."""
    prompt = mqa_prompt(actions)
    answers: list[Prediction] = []
    for some in _batches(clips, batch_size):
        batch = student.renderer.collate(some).to(_device(student))
        scores = student.rank(batch, [prompt] * len(some), actions).float().cpu()
        for clip, row in zip(some, scores, strict=True):
            source = clip.source
            best = actions[int(row.argmax())]
            answers.append(
                Prediction(
                    *(clip.clip_id, clip.action or "", best, tuple(row.tolist())),
                    *(source.format, source.subject, source.camera),
                )
            )
        if progress is not None:
            progress(len(answers), len(clips))
    return answers


def caption(student: "SkeletonLLM", clips: Sequence[Clip], batch_size: int = 32) -> list[str]:
    """A description of each clip in the student's words."""
    return _write(student, clips, caption_prompt(), 40, batch_size)


def explain(student: "SkeletonLLM", clips: Sequence[Clip], batch_size: int = 32) -> list[str]:
    """A reasoning chain for each clip in the student's words, its label on the last line."""
    return _write(student, clips, chain_prompt(), 96, batch_size)


def _write(student: "SkeletonLLM", clips: Sequence[Clip], prompt: str, max_new_tokens: int, size: int) -> list[str]:
    texts: list[str] = []
    for some in _batches(clips, size):
        batch = student.renderer.collate(some).to(_device(student))
        texts += student.generate(batch, [prompt] * len(some), max_new_tokens)
    return texts


def _batches(clips: Sequence[Clip], size: int) -> list[Sequence[Clip]]:
    return [clips[start : start + size] for start in range(0, len(clips), size)]


def _device(student: "SkeletonLLM") -> torch.device:
    return next(student.parameters()).device
