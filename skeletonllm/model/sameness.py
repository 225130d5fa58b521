"""Whether a student still answers as before: the same clips, the same questions, logits and rankings side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from skeletonllm.errors import CheckpointError
from skeletonllm.log import Tick
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.prompts import caption_prompt, mqa_prompt
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.performers import ACTIONS, perform

_MAX_CANDIDATES = 12
# Of the largest logit: rounding of the sums in float32, and of each folded weight to 8 bits in bfloat16.
_TOLERANCE = {"float32": 1e-4, "bfloat16": 5e-2}


@dataclass(frozen=True)
class Answers:
    """What a student says to some clips.

    Args:
        logits: of the first token of each answer.
        scores: of each candidate after each clip; None where candidates were not ranked.
    """

    logits: Float[Tensor, "clips vocabulary"]
    scores: Float[Tensor, "clips candidates"] | None = None


@dataclass(frozen=True)
class Difference:
    """How far two students' answers are apart.

    Args:
        logits: the largest difference of a logit.
        scores: the largest difference of a candidate's score; None where candidates were not ranked.
        allowed: what both may be.
        num_clips: that were asked about.
    """

    logits: float
    scores: float | None
    allowed: float
    num_clips: int

    def text(self) -> str:
        """For people."""
        ranked = "" if self.scores is None else f", scores by {self.scores:.2g}"
        return (
            f"{self.num_clips} clips answered alike: logits differ by {self.logits:.2g} at most{ranked} "
            f"({self.allowed:.2g} allowed)"
        )


def check_clips(count: int, seed: int = 0) -> list[Clip]:
    """Movements of simulated performers, the same for the same seed."""
    return [perform(ACTIONS[number % len(ACTIONS)], number, 0, seed, fps=30.0) for number in range(count)]


def candidates_of(student: SkeletonLLM) -> tuple[str, ...]:
    """Labels to rank: those that it was trained on, or else those of the clips."""
    return (student.about.actions or ACTIONS)[:_MAX_CANDIDATES]


def inputs_of(student: SkeletonLLM, clip: Clip) -> dict[str, Any]:
    """What the backbone is given for one clip and an open question."""
    with torch.inference_mode():
        batch = student.renderer.collate([clip]).to(_device(student))
        return student._inputs(student.renderer(batch), [caption_prompt()])


def first_logits(mllm: Any, inputs: dict[str, Any]) -> Float[Tensor, " vocabulary"]:
    """Logits of the first token of the answer."""
    with torch.inference_mode():
        return mllm(**inputs, use_cache=False, logits_to_keep=1).logits[0, -1].float().cpu()


def answers_of(student: SkeletonLLM, clips: Sequence[Clip], tick: Tick) -> Answers:
    """What a student says to some clips, one by one."""
    candidates = candidates_of(student)
    logits, scores = [], []
    for number, clip in enumerate(clips, 1):
        logits.append(first_logits(student.mllm, inputs_of(student, clip)))
        batch = student.renderer.collate([clip]).to(_device(student))
        scores.append(student.rank(batch, [mqa_prompt(candidates)], candidates)[0].float().cpu())
        tick(number)
    return Answers(torch.stack(logits), torch.stack(scores))


def check_same(before: Answers, after: Answers, dtype: str) -> Difference:
    """How far the answers are apart.

    Raises:
        CheckpointError: further than rounding explains, or another answer comes first.
    """
    logits = float((before.logits - after.logits).abs().max())
    scores, lost = _apart(before.scores, after.scores)
    allowed = _TOLERANCE[dtype] * float(before.logits.abs().max())
    if not all(value <= allowed for value in (logits, scores, lost / 2)):  # also where one is not a number
        raise CheckpointError(
            f"the answers changed: logits by {logits:.2g}, scores by {scores:.2g}, the best one's by {lost:.2g}, where "
            f"{allowed:.2g} is rounding; nothing was written; check that peft and transformers are of our versions"
        )
    return Difference(logits, None if before.scores is None else scores, allowed, len(before.logits))


def _apart(before: Tensor | None, after: Tensor | None) -> tuple[float, float]:
    """The largest difference of a score, and what the answers that come first now were behind the best ones before."""
    if before is None or after is None:
        return 0.0, 0.0
    chosen = before.gather(1, after.argmax(1, keepdim=True))
    return float((before - after).abs().max()), float((before.max(1, keepdim=True).values - chosen).max())


def _device(student: SkeletonLLM) -> torch.device:
    return next(student.parameters()).device
