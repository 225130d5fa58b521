"""Pictures of a run: what the model sees and reads before the first step, and how the same clips look as it learns."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from skeletonllm.model.student import SkeletonLLM
from skeletonllm.plain import write_whole
from skeletonllm.render.batch import RenderBatch
from skeletonllm.render.picture import save_picture
from skeletonllm.skeleton.clip import Clip
from skeletonllm.train.data import StageData

# Enough to see, and small enough to look at.
_NUM_CLIPS = 8
_NUM_FRAMES = 10
_MAX_PX = 112
# The same clips are drawn after each epoch, but no more often than after so many steps.
_AT_LEAST = 25


def show_first_batch(student: SkeletonLLM, data: StageData, folder: Path) -> None:
    """`first_batch.png` and `first_batch.txt`: what the model is about to see and read; most mistakes are visible here.

    The text is what its tokens say, so that one also sees what a tokenizer does to it.
    """
    batch = data.batches(0)[0]
    frames = _frames(student, student.renderer.collate(batch.clips[:_NUM_CLIPS]))
    save_sheet(frames, folder / "first_batch.png")
    _, num_frames, _, height, width = frames.shape
    texts = []
    for prompt, target, weight, clip, _ in zip(
        batch.prompts, batch.targets, batch.weights, batch.clips, range(_NUM_CLIPS), strict=False
    ):
        asked = _read(student, student.chat.prompt_ids(prompt, num_frames, height, width))
        answered = _read(student, student.chat.answer_ids([target])[0])
        texts.append(f"clip {clip.clip_id}, weight {weight:g}\n{asked}\n=> {answered}\n")
    write_whole(folder / "first_batch.txt", "\n".join(texts))


def save_sheet(frames: Tensor, path: Path) -> None:
    """Frames [clips, frames, 3, height, width] as one PNG: a row of moments for each clip."""
    moments = torch.linspace(0, frames.shape[1] - 1, min(_NUM_FRAMES, frames.shape[1])).round().long()
    shown = frames[:, moments].flatten(0, 1).cpu()
    largest = max(shown.shape[-2:])
    if largest > _MAX_PX:
        sizes = [max(1, round(size * _MAX_PX / largest)) for size in shown.shape[-2:]]
        shown = functional.interpolate(shown, sizes, mode="area")
    else:
        shown = functional.interpolate(shown, scale_factor=float(_MAX_PX // largest))
    shown = functional.pad(shown, (1, 1, 1, 1), value=0.35)  # a thin line between them
    save_picture(shown, path, rows=len(frames))


class Album:
    """The same clips, drawn before the first step, after each epoch and at the end: `pictures/step_000100.png`.

    Args:
        student: whose renderer draws.
        data: names the clips: those of the first examples, no clip twice.
        batch_size: examples of a step.
        folder: of the run.
    """

    def __init__(self, student: SkeletonLLM, data: StageData, batch_size: int, folder: Path) -> None:
        self._student, self._folder = student, folder / "pictures"
        self._batch = student.renderer.collate(_some_clips(data))
        self._per_epoch = max(_AT_LEAST, len(data) / batch_size)

    def draw(self, step: int, is_last: bool = False) -> None:
        """Draw, if an epoch ends with this step."""
        if is_last or int(step / self._per_epoch) > int((step - 1) / self._per_epoch) or step == 0:
            save_sheet(_frames(self._student, self._batch), self._folder / f"step_{step:06d}.png")


def _some_clips(data: StageData) -> Sequence[Clip]:
    clips: dict[str, Clip] = {}
    for step in range(_NUM_CLIPS):
        for batch in data.batches(step):
            clips |= {clip.clip_id: clip for clip in batch.clips}
            if len(clips) >= _NUM_CLIPS:
                return list(clips.values())[:_NUM_CLIPS]
    return list(clips.values())


def _frames(student: SkeletonLLM, batch: RenderBatch) -> Tensor:
    with torch.inference_mode():
        return student.renderer(batch.to(next(student.parameters()).device)).float()


def _read(student: SkeletonLLM, ids: Sequence[int]) -> str:
    """What tokens say; of those that stand for a picture, how many there are."""
    runs = [(token, len(list(same))) for token, same in groupby(ids)]
    words, plain = [], list[int]()
    for token, count in runs:
        if count < 4:
            plain += [token] * count
            continue
        words += [student.tokenizer.decode(plain), f"{student.tokenizer.decode([token])} x {count} "]
        plain = []
    return "".join([*words, student.tokenizer.decode(plain)])
