"""What training a student takes: weights, tokens and memory, counted without loading any weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from skeletonllm.model.config import TINY, BackboneConfig, StudentConfig
from skeletonllm.train.config import RunConfig

if TYPE_CHECKING:
    from skeletonllm.model.student import SkeletonLLM

_SAMPLE = 64  # examples of a kind whose tokens are counted
_FLOAT32_BYTES = 4
# AdamW's two moments; and under ZeRO 1 to 3 the copy of the weights that DeepSpeed moves.
_MOMENTS, _COPY = 2, 1
# Kept for the backward pass of a transformer's layer, in numbers for each token: so many of the layer's width, and of the
# width inside its MLP.
_OF_WIDTH, _OF_MLP = 9, 4
# Frames as drawn, resized, normalised, and the gradient.
_OF_FRAME = 4


@dataclass(frozen=True)
class Memory:
    """Bytes on one rank.

    Args:
        weights: of all parts.
        gradients: of what is trained.
        optimizer: moments, and the copy that ZeRO moves.
        activations: kept for the backward pass; None where the model's sizes are not known.
        on_cpu: of these, what `engine.offload` keeps in the machine's memory.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int | None
    on_cpu: int = 0

    @property
    def total(self) -> int | None:
        """On the device; None where something is not known."""
        if self.activations is None:
            return None
        return self.weights + self.gradients + self.optimizer + self.activations - self.on_cpu


def model_of(config: StudentConfig, corpus: Sequence[str]) -> "SkeletonLLM | str":
    """The student with weights that take no memory, or why its backbone is not known here.

    Nothing is fetched: a configuration and a tokenizer that are on this machine are enough.

    Args:
        config: of the student.
        corpus: texts that a tokenizer made on the spot is made from.
    """
    import torch

    from skeletonllm.model.student import SkeletonLLM
    from skeletonllm.render import build_renderer

    # Weights do not depend on what rasterises, which may not be on this machine.
    config = replace(config, render=replace(config.render, backend="reference"))
    if config.backbone.name == TINY:
        return SkeletonLLM.build(config, corpus)
    renderer = build_renderer(config.render)
    try:
        with torch.device("meta"):
            return SkeletonLLM(config, renderer, _backbone(config.backbone))
    except OSError:
        name = config.backbone.name
        return (
            f"Backbone {name} is not on this machine, so its weights, tokens and memory are not known: "
            f"`hf download {name} --include '*.json' '*.txt'` is enough to tell."
        )


def renderer_parameters(config: StudentConfig) -> int:
    """How many weights the renderer has, whatever stands behind it."""
    from skeletonllm.render import build_renderer

    renderer = build_renderer(replace(config.render, backend="reference"))
    return sum(weight.numel() for weight in renderer.parameters())


def _backbone(config: BackboneConfig) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

    from skeletonllm.model.backbone import Backbone, read_processor
    from skeletonllm.model.families import make_bridge

    found = AutoConfig.from_pretrained(config.name, trust_remote_code=False, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(config.name, trust_remote_code=False, local_files_only=True)
    bridge = make_bridge(found, read_processor(config.name))
    mllm = AutoModelForImageTextToText.from_config(found, dtype=getattr(torch, config.dtype))
    return Backbone(mllm, tokenizer, bridge)


def parameters_of(student: "SkeletonLLM") -> dict[str, int]:
    """How many weights each part has; `frozen` are those that no stage trains."""
    parts = {name: sum(weight.numel() for weight in some.values()) for name, some in student.named_parts().items()}
    return {**parts, "frozen": sum(weight.numel() for weight in student.parameters()) - sum(parts.values())}


def tokens_of(
    student: "SkeletonLLM", examples: Mapping[str, Sequence[tuple[str, str]]]
) -> dict[str, tuple[int, float, float]]:
    """Mean tokens of an example of each kind: of the clip, of the prompt, of the answer; counted on a few of each."""
    frames, counted = student.config.render.num_frames, {}
    for kind, some in examples.items():
        picked = some[:: max(1, len(some) // _SAMPLE)]
        if not picked:
            continue
        alone = {prompt: student.num_prompt_tokens(prompt, 0) for prompt, _ in picked}
        first = picked[0][0]
        clip = student.num_prompt_tokens(first, frames) - alone[first]
        answers = student.chat.answer_ids([answer for _, answer in picked])
        prompt = sum(alone[prompt] for prompt, _ in picked) / len(picked)
        counted[kind] = (clip, prompt, sum(map(len, answers)) / len(answers))
    return counted


def memory_of(student: "SkeletonLLM", run: RunConfig, tokens: tuple[float, float]) -> Memory:
    """What one rank holds while it trains.

    Args:
        student: of any weights.
        run: the stage and the engine.
        tokens: of an example, all of them and those of its answer; of the longest kind.
    """
    engine, trained = run.engine, [*_trained(student, run)]
    renderer = {id(weight) for weight in student.renderer.parameters()}
    is_zero = engine.kind == "deepspeed" and engine.zero_stage > 0
    zero_stage = engine.zero_stage if is_zero else 0
    states = (_MOMENTS + _COPY if is_zero else _MOMENTS) * _FLOAT32_BYTES

    def shared(weight: Any, from_stage: int) -> int:
        """Ranks that a weight's share is divided among; the renderer's weights stay whole."""
        whole = zero_stage < from_stage or (from_stage == 3 and id(weight) in renderer)
        return 1 if whole else engine.world_size

    weights = sum(_bytes(weight) // shared(weight, 3) for weight in student.parameters())
    gradients = sum(_bytes(weight) // shared(weight, 2) for weight in trained)
    optimizer = sum(states * weight.numel() // shared(weight, 1) for weight in trained)
    on_cpu = {"nothing": 0, "optimizer": optimizer, "optimizer_and_weights": optimizer + weights}[engine.offload]
    return Memory(weights, gradients, optimizer, _activations(student, run, tokens), on_cpu)


def _trained(student: "SkeletonLLM", run: RunConfig) -> list[Any]:
    parts = student.named_parts()
    return [weight for part in run.stage.trains for weight in parts[part].values()]


def _bytes(weight: Any) -> int:
    return weight.numel() * weight.element_size()


def _activations(student: "SkeletonLLM", run: RunConfig, tokens: tuple[float, float]) -> int | None:
    """Of one micro-batch: what each layer keeps; with recomputation what goes into each, and one layer whole.

    None for families whose configuration names its sizes otherwise.
    """
    config, render = student.mllm.config, student.config.render
    text, vision = config.get_text_config(), config.vision_config
    try:
        towers = [
            (tokens[0], text.hidden_size, text.intermediate_size, text.num_hidden_layers),
            (
                render.num_frames * (_side(vision.image_size) // _side(vision.patch_size)) ** 2,
                vision.hidden_size,
                vision.intermediate_size,
                vision.num_hidden_layers,
            ),
        ]
        vocabulary = text.vocab_size
    except AttributeError:
        return None
    number = 2 if student.config.backbone.dtype == "bfloat16" else _FLOAT32_BYTES
    kept = 0.0
    for count, width, mlp, layers in towers:
        layer = count * (_OF_WIDTH * width + _OF_MLP * mlp) * number
        again = student.config.backbone.gradient_checkpointing
        kept += layers * count * width * number + layer if again else layers * layer
    kept += 3 * (tokens[1] + 1) * vocabulary * _FLOAT32_BYTES
    kept += _OF_FRAME * render.num_frames * 3 * render.size_px**2 * _FLOAT32_BYTES
    clips = run.stage.batch_size / (run.engine.world_size * run.engine.gradient_accumulation)
    return round(kept * max(1.0, clips))


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, (list, tuple)) else size)
