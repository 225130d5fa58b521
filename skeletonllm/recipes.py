"""Complete runs, by name. A recipe is a function; a variant is `replace(recipe(), ...)`."""

import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from skeletonllm.errors import ConfigError
from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig, TinyConfig
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.render.config import RenderConfig
from skeletonllm.train.config import EngineConfig, LearningRates, StageConfig


@dataclass(frozen=True)
class Recipe:
    """All that a complete run depends on, besides its data.

    Args:
        name: reproduces the run, with the version of the code.
        student: renderer, backbone and adapter.
        stages: climbed in this order.
        fixed: the comparison: the same backbone behind a renderer that does not learn, trained in one stage.
        engine: how training is done.
        hold_out: which clips test, as `field=values` or `field=share`.
        seed: of every random choice.
    """

    name: str
    student: StudentConfig
    stages: tuple[StageConfig, ...]
    fixed: StageConfig
    engine: EngineConfig = field(default_factory=EngineConfig)
    hold_out: str = "subject=25%"
    seed: int = 0

    def __post_init__(self) -> None:
        for stage in (*self.stages, self.fixed):
            stage.examples_each(self.engine.world_size, self.engine.gradient_accumulation)

    @property
    def fixed_student(self) -> StudentConfig:
        """The student of the comparison."""
        return replace(self.student, render=replace(self.student.render, renderer="skeleton_2d"))

    def stage(self, name: str) -> StageConfig:
        """The stage with this name.

        Raises:
            ConfigError: the recipe has none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise ConfigError(f"recipe {self.name}: no stage {name!r}; it has {', '.join(s.name for s in self.stages)}")


def quickstart() -> Recipe:
    """The whole pipeline on two CPU cores, from scratch, in minutes: `skeletonllm quickstart`.

    The README has what it was shown to give. The backbone has no pre-training, so its language part is trained whole, from
    the first stage on, and every later stage goes on asking for the action: so small a model would forget it while it
    learns to say yes or no.
    """
    student = StudentConfig(
        backbone=BackboneConfig(name="tiny"),
        adapter=AdapterConfig(kind="full"),
        render=RenderConfig(size_px=64, num_frames=8, gaussians_per_bone=4, backend="auto"),
    )
    first = LearningRates(renderer=3e-2, projector=1e-3, language_adapter=1e-3)
    rates = replace(first, renderer=2e-3)
    everything = ("renderer", "projector", "language_adapter")
    stages = (
        StageConfig("render_warmup", everything, ("mqa",), epochs=4.0, learning_rates=first),
        StageConfig("disc_ft", everything, ("yes_no", "mqa"), epochs=1.0, learning_rates=rates),
        StageConfig("cr_distill", everything, ("chain", "mqa"), epochs=2.0, learning_rates=rates),
        StageConfig(
            "recognition",
            ("projector", "language_adapter"),
            ("mqa", "caption", "chain"),
            epochs=1.5,
            learning_rates=replace(rates, projector=5e-4, language_adapter=5e-4),
        ),
    )
    return Recipe(
        name="quickstart",
        student=student,
        stages=stages,
        fixed=StageConfig(
            # As often through the clips as the four stages together.
            "fixed_renderer",
            ("projector", "language_adapter"),
            ("mqa",),
            epochs=8.5,
            learning_rates=rates,
        ),
        engine=EngineConfig(kind="deepspeed", zero_stage=1, checkpoint_every=100),
    )


def smoke() -> Recipe:
    """A few steps of everything, to see that a machine can run it: `skeletonllm quickstart --recipe smoke`."""
    base = quickstart()
    return replace(
        base,
        name="smoke",
        stages=tuple(replace(stage, max_steps=4) for stage in base.stages),
        fixed=replace(base.fixed, max_steps=4),
        engine=replace(base.engine, checkpoint_every=2),
    )


def tiny_cpu() -> Recipe:
    """Your own recordings on a workstation without a GPU, from scratch: `skeletonllm train tiny-cpu`.

    `skeletonllm ingest FOLDER` first; `skeletonllm plan tiny-cpu --probe` says how long it takes on your machine. As the
    quickstart, with a model of about five times as many weights, larger frames, twelve instead of eight, more Gaussians,
    and twice as often through the clips. Not measured by us: no accuracy is claimed.
    """
    base = quickstart()
    sizes = TinyConfig(vision_width=192, vision_layers=4, text_width=256, text_layers=4, max_vocabulary=4096)
    student = StudentConfig(
        backbone=BackboneConfig(name="tiny", tiny=sizes),
        adapter=base.student.adapter,
        render=replace(base.student.render, size_px=96, num_frames=12, gaussians_per_bone=10),
    )
    return replace(
        base,
        name="tiny-cpu",
        student=student,
        stages=tuple(replace(stage, epochs=2 * stage.epochs) for stage in base.stages),
        fixed=replace(base.fixed, epochs=2 * base.fixed.epochs),
        engine=replace(base.engine, checkpoint_every=200),
    )


def internvl3_8b() -> Recipe:
    """The paper's run (arXiv 2603.18003): InternVL3-8B on 2 GPUs: `skeletonllm train internvl3-8b --hold-out subject=...`.

    Four stages of 1, 1, 1 and 3 epochs, 12 frames of 448 px, LoRA of rank 32 and alpha 64, one learning rate of 2e-5 for
    all parts, batches of 2 clips, ZeRO-1. `skeletonllm ingest NTU_FOLDER` first. Four things are ours: the renderer is
    DrAction as built here, LoRA has no dropout, AdamW's second beta is 0.99 instead of 0.999, and the last stage goes on
    with the adapter of the third instead of a new one. The paper reports 64.72 % on the 12 unseen actions of NTU RGB+D 60
    (48 seen). Not run by us: it needs the weights and the GPUs.
    """
    student = StudentConfig(
        backbone=BackboneConfig(name="OpenGVLab/InternVL3-8B-hf", dtype="bfloat16", gradient_checkpointing=True),
        adapter=AdapterConfig(kind="lora", rank=32, alpha=64),
        render=RenderConfig(
            size_px=448, num_frames=12, gaussians_per_bone=10, backend="gsplat", camera="perspective", start="random"
        ),
    )
    rates = LearningRates(renderer=2e-5, projector=2e-5, language_adapter=2e-5)
    paper = {"batch_size": 2, "learning_rates": rates, "warmup": 0.03, "weight_decay": 0.05}
    recognition = StageConfig("recognition", ("projector", "language_adapter"), ("mqa",), epochs=3.0, **paper)
    return Recipe(
        name="internvl3-8b",
        student=student,
        stages=(
            StageConfig("render_warmup", ("renderer", "projector"), ("mqa",), **paper),
            StageConfig("disc_ft", ("renderer", "projector"), ("yes_no",), **paper),
            StageConfig("cr_distill", ("renderer", "projector", "language_adapter"), ("chain",), **paper),
            recognition,
        ),
        fixed=replace(recognition, name="fixed_renderer", epochs=6.0),
        engine=EngineConfig(kind="deepspeed", zero_stage=1, num_workers=2, needs_gpu=True, checkpoint_every=1000),
    )


def internvl3_8b_visible() -> Recipe:
    """The paper's run with what we found better on small models: `skeletonllm train internvl3-8b-visible`, on 2 GPUs.

    The renderer has a learning rate of its own, fifty times the language model's, begins where motion can be seen, and is
    drawn by a camera that is fitted to each clip; visual tokens that show nothing are left out. On the tiny model a larger
    rate of the renderer was worth 4 points on NW-UCLA (53.9 to 58.3 %, three seeds), and leaving out tokens cost none.
    Not run by us at this size.
    """
    base = internvl3_8b()
    student = replace(
        base.student,
        backbone=replace(base.student.backbone, foreground=0.0),
        render=replace(base.student.render, camera="orthographic", start="designed"),
    )
    return replace(
        base,
        name="internvl3-8b-visible",
        student=student,
        stages=tuple(
            replace(stage, learning_rates=replace(stage.learning_rates, renderer=1e-3)) for stage in base.stages
        ),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {
    "quickstart": quickstart,
    "smoke": smoke,
    "tiny-cpu": tiny_cpu,
    "internvl3-8b": internvl3_8b,
    "internvl3-8b-visible": internvl3_8b_visible,
}


def get_recipe(name: str) -> Recipe:
    """The recipe with this name.

    Raises:
        ConfigError: there is none; says which name comes nearest.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"no recipe {name!r}; there are {', '.join(RECIPES)}{hint}")
    return RECIPES[name]()


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """A recipe of which single settings are others.

    Args:
        recipe: is left as it is.
        settings: each `PATH=VALUE`, for example `engine.num_workers=2`, `student.render.size_px=96`,
            `stages.cr_distill.epochs=2` or `stages.*.batch_size=4`, which speaks of the comparison too; what is no JSON is
            a text.

    Raises:
        ConfigError: there is no such setting, with the nearest names, or it cannot have this value.
    """
    if not settings:
        return recipe
    plain = to_plain(recipe)
    known = {"student": plain["student"], "stages": [*plain["stages"], plain["fixed"]], "engine": plain["engine"]}
    for setting in settings:
        _set(known, setting)
    try:
        return from_plain(Recipe, plain, "--set")
    except ConfigError as error:
        if len(settings) > 1:
            for setting in settings:
                with_settings(recipe, [setting])  # says which of them it is, where it is one
        reason = str(error).partition("not a Recipe: ")[2].partition(" Structuring ")[0]
        if "is not a" in reason or "not in literal" in reason:  # which is said of every part of a list
            reason = f'{reason.split("; ")[0]}; values are JSON, such as 3, true, null or ["mqa"]'
        raise ConfigError(f"--set {' '.join(settings)}: {reason}") from error


def _set(known: dict[str, Any], setting: str) -> None:
    path, sign, text = setting.partition("=")
    *outer, last = path.strip().split(".")
    if not sign or not outer:
        raise ConfigError(
            f"--set {setting}: not PATH=VALUE, like engine.num_workers=2; paths begin with {', '.join(known)}"
        )
    holders: list[Any] = [known]
    for name in outer:
        holders = [inner for holder in holders for inner in _inside(holder, name, setting)]
    for holder in holders:
        if not isinstance(holder, dict) or last not in holder:
            raise _unknown(setting, last, holder)
        if outer[0] == "stages" and last == "name":
            raise ConfigError(f"--set {setting}: a stage keeps its name, by which it is found")
        value = _value(text.strip())
        if isinstance(holder[last], dict) and not isinstance(value, dict):
            raise ConfigError(f"--set {setting}: {last} holds several settings; set one of {', '.join(holder[last])}")
        holder[last] = value


def _inside(holder: Any, name: str, setting: str) -> list[Any]:
    """What a name leads to: one, or all stages."""
    if isinstance(holder, list):
        if name == "*":
            return holder
        holder = {stage["name"]: stage for stage in holder}
    if not isinstance(holder, dict) or name not in holder:
        raise _unknown(setting, name, holder)
    return [holder[name]]


def _unknown(setting: str, name: str, holder: Any) -> ConfigError:
    known = (
        [stage["name"] for stage in holder]
        if isinstance(holder, list)
        else [*holder]
        if isinstance(holder, dict)
        else []
    )
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}" if known else "it is a value"
    return ConfigError(f"--set {setting}: no setting {name!r}; {hint}")


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
