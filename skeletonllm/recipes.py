"""Complete runs, by name. A recipe is a function; a variant is `replace(recipe(), ...)`."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from skeletonllm.errors import ConfigError
from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig
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
        fixed_student: its student.
        engine: how training is done.
        hold_out: which clips test, as `field=values` or `field=share`.
        seed: of every random choice.
    """

    name: str
    student: StudentConfig
    stages: tuple[StageConfig, ...]
    fixed: StageConfig
    fixed_student: StudentConfig
    engine: EngineConfig = field(default_factory=EngineConfig)
    hold_out: str = "subject=25%"
    seed: int = 0

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

    The backbone has no pre-training, so its language part is trained whole, from the first stage on, and every later
    stage goes on asking for the action: so small a model would forget it while it learns to say yes or no.
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
        fixed_student=replace(student, render=replace(student.render, renderer="skeleton_2d")),
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


def internvl3_8b() -> Recipe:
    """The paper's run (arXiv 2603.18003): InternVL3-8B, four stages of 1, 1, 1 and 3 epochs, LoRA of rank 32, ZeRO-1.

    `skeletonllm ingest NTU_FOLDER`, then `skeletonllm train internvl3-8b --hold-out subject=...`, on 2 GPUs. The renderer
    has its own, larger learning rate; all else is the paper's. Not run by us: it needs the weights and the GPUs.
    """
    student = StudentConfig(
        backbone=BackboneConfig(name="OpenGVLab/InternVL3-8B-hf", dtype="bfloat16", gradient_checkpointing=True),
        adapter=AdapterConfig(kind="lora", rank=32, alpha=64),
        render=RenderConfig(size_px=448, num_frames=12, gaussians_per_bone=10, backend="gsplat"),
    )
    rates = LearningRates(renderer=1e-3, projector=2e-5, language_adapter=2e-5)
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
        fixed_student=replace(student, render=replace(student.render, renderer="skeleton_2d")),
        engine=EngineConfig(kind="deepspeed", zero_stage=1, num_workers=2, checkpoint_every=1000),
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"quickstart": quickstart, "smoke": smoke, "internvl3-8b": internvl3_8b}


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
