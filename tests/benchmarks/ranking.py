"""What it costs to rank many labels of a clip over what one costs, in CPU time: the clip and question are read once.

CPU time of all threads, least of the interleaved runs: other work on the machine does not count. From the skeleton on:
twelve frames are drawn too. The question is the one that `predict` asks of the first 60 labels, for all numbers of labels.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from skeletonllm.model.backbone import Backbone
from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig
from skeletonllm.model.families.bridge import Pixels
from skeletonllm.model.families.internvl import InternVLBridge
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.tiny import train_tokenizer
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.recipes import quickstart
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.skeleton.actions import NTU_120
from skeletonllm.skeleton.clip import Clip
from tests.benchmarks.measure import Row

_COUNTS = (1, 5, 60, 120)
_PROMPT = mqa_prompt(NTU_120.actions[:60])
_NUM_FRAMES = 12
# InternVL3-1B at half its frame size, so 64 visual tokens a frame, with 4 of its 24 layers on either side.
_SIZE_PX, _LAYERS, _VOCABULARY = 224, 4, 151674


def ranking(clips: list[Clip], runs: int) -> Iterator[Row]:
    """The tiny model, and one of the shape of InternVL3-1B."""
    yield from _costs("rank, tiny", _tiny(), clips[:1], 4 * runs)
    yield from _costs(f"rank, 1B shape, {_LAYERS} layers", _one_billion(), clips[:1], max(1, runs // 2))


def _costs(group: str, student: SkeletonLLM, clips: Sequence[Clip], runs: int) -> Iterator[Row]:
    batch = student.renderer.collate(clips)
    seconds = {count: float("inf") for count in _COUNTS}
    for run in range(runs + 1):
        for count in _COUNTS:
            started = time.process_time()
            student.rank(batch, [_PROMPT], NTU_120.actions[:count])
            if run:
                seconds[count] = min(seconds[count], time.process_time() - started)
    yield Row(group, "1 label", 1000 * seconds[1], "CPU ms", *[1000 * seconds[1]] * 2)
    for count in _COUNTS[1:]:
        over = seconds[count] / seconds[1]
        yield Row(group, f"{count} labels / 1 label", over, "x", over, over)
    naive = 60 * seconds[1] / seconds[60]
    yield Row(group, "60 times 1 label / 60 labels", naive, "x", naive, naive)


def _tiny() -> SkeletonLLM:
    config = quickstart().student
    config = replace(config, render=replace(config.render, num_frames=_NUM_FRAMES))
    return SkeletonLLM.build(config, corpus=[_PROMPT, *NTU_120.actions]).eval()


def _one_billion() -> SkeletonLLM:
    from transformers import InternVLConfig, InternVLForConditionalGeneration

    tokenizer: Any = train_tokenizer([_PROMPT, *NTU_120.actions], 4096)
    tokens_per_frame = (_SIZE_PX // 14 // 2) ** 2
    config = InternVLConfig(
        vision_config={"num_hidden_layers": _LAYERS, "image_size": [_SIZE_PX] * 2},
        text_config={
            "model_type": "qwen2",
            "hidden_size": 896,
            "num_hidden_layers": _LAYERS,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "intermediate_size": 4864,
            "vocab_size": _VOCABULARY,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=tokens_per_frame,
    )
    bridge = InternVLBridge(Pixels((0.5,) * 3, (0.25,) * 3), _SIZE_PX, tokens_per_frame)
    backbone = Backbone(InternVLForConditionalGeneration(config), tokenizer, bridge)
    render = RenderConfig(size_px=_SIZE_PX, num_frames=_NUM_FRAMES, gaussians_per_bone=4)
    student = StudentConfig(BackboneConfig(name="made here"), AdapterConfig(kind="full"), render)
    return SkeletonLLM(student, build_renderer(render), backbone).eval()
