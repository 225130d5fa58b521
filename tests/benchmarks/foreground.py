"""What it saves to leave out the visual tokens that show nothing: a wide, shallow model reads 12 frames of 448 pixels.

The vision tower is small here, so that the language model's time is seen; the tower sees all patches either way.
"""

import time
from collections.abc import Iterator
from statistics import median

import torch

from skeletonllm.model.config import BackboneConfig, StudentConfig, TinyConfig
from skeletonllm.model.foreground import foreground_only, shown_tokens
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.recipes import quickstart
from skeletonllm.render.config import RenderConfig
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.simulate import ACTIONS
from tests.benchmarks.measure import Row

_WIDE = TinyConfig(patch_px=14, vision_width=112, vision_layers=1, text_width=896, text_layers=2, heads=14)
_SHARES = (0.0, 0.2)


def foreground(clips: list[Clip], runs: int) -> Iterator[Row]:
    """Tokens and CPU time of one forward over a clip, with and without."""
    config = StudentConfig(
        backbone=BackboneConfig(tiny=_WIDE),
        adapter=quickstart().student.adapter,
        render=RenderConfig(size_px=448, num_frames=12, gaussians_per_bone=10),
    )
    prompt = mqa_prompt(ACTIONS)
    student = SkeletonLLM.build(config, corpus=[prompt, *ACTIONS]).eval()
    for clip in clips[:2]:
        yield from _one(student, student.renderer.collate([clip]), prompt, clip.clip_id, runs)


@torch.inference_mode()
def _one(student: SkeletonLLM, batch, prompt: str, clip_id: str, runs: int) -> Iterator[Row]:
    frames = student.renderer(batch)
    inputs = student._inputs(frames, [prompt])
    masks = [shown_tokens(frames, student.bridge, share) for share in _SHARES]

    def read(shown: torch.Tensor | None) -> None:
        less = inputs if shown is None else foreground_only(student.mllm, inputs, shown, student.chat.pad_id)
        student.mllm(**less, use_cache=False, logits_to_keep=1)

    took = {number: [] for number in (None, *range(len(masks)))}
    for _ in range(runs + 1):
        for number, times in took.items():
            started = time.process_time()
            read(None if number is None else masks[number])
            times.append(time.process_time() - started)
    for number, share in enumerate(_SHARES):
        group, what = f"foreground, 12 x 448 x 448, {clip_id}", f"more than {share:g} of the patch is lit"
        cut = masks[number].numel() / int(masks[number].sum())
        yield Row(group, f"{what}: visual tokens, all / kept", cut, "x", cut, cut)
        ratios = [whole / less for whole, less in zip(took[None][1:], took[number][1:], strict=True)]
        yield Row(group, f"{what}: CPU time of a forward, all / kept", median(ratios), "x", min(ratios), max(ratios))
