"""Stage after stage: its data, then its training; or one stage alone. What is there already is not made again."""

import logging
from pathlib import Path

from prefect import flow

from flows.build_teacher_chains import build_teacher_chains
from flows.mine_pairs import mine_pairs
from flows.tasks import (
    DEFAULT_WORKDIR,
    Choices,
    ExecutorName,
    Workdir,
    choose,
    pipeline_task,
    remember,
    show_checkpoint,
)
from pipelines import assemble, launch, staircase
from pipelines.changes import Changes
from pipelines.split import protocol_of
from skeletonllm.errors import ConfigError
from skeletonllm.model.config import StudentConfig
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.train.config import RunConfig, StageConfig

# By name: where Prefect loads this file by its path, the module has another.
logger = logging.getLogger("flows.train_stages")


@pipeline_task("assemble examples")
def assemble_examples(
    workdir: Workdir,
    stage: StageConfig,
    clips: DatasetRef,
    pairs: DatasetRef | None,
    chains: DatasetRef | None,
    choices: Choices,
) -> DatasetRef:
    """The examples of one stage."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions = assemble.training_actions(clips, protocol)
    config = assemble.AssembleConfig(stage.name, stage.examples, actions, to_plain(protocol))
    needs = set(stage.examples)
    return assemble.run(
        clips, pairs if "yes_no" in needs else None, chains if "chain" in needs else None, config, workdir.data
    )


@pipeline_task("train")
def train_stage(
    workdir: Workdir,
    stage: StageConfig,
    student: StudentConfig,
    clips: DatasetRef,
    examples: DatasetRef,
    init_from: CheckpointRef | None,
    choices: Choices,
) -> CheckpointRef:
    """Train one stage in worker processes, from where it stands; says why, if it was trained before.

    Where another run of this flow trains it, that one is waited for and its checkpoint taken.
    """
    run = RunConfig(stage, student, choices.recipe.engine, clips, examples, init_from, choices.seed)
    before = launch.find_checkpoint(workdir.runs, stage.name)
    if before is not None:
        reasons = Changes(workdir).of_run(run, before)
        if reasons:
            logger.info("stage %s is trained again: %s", stage.name, "; ".join(reasons))
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    checkpoint = launch.launch(run, workdir.runs, assemble.corpus(clips, protocol), wait=True)
    show_checkpoint(checkpoint)
    return checkpoint


@flow(name="train-stages")
def train_stages(
    workdir: str = DEFAULT_WORKDIR,
    recipe: str | None = None,
    stage: str | None = None,
    until: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    clips: DatasetRef | None = None,
    seed: int | None = None,
    settings: list[str] | None = None,
    with_fixed_renderer: bool = True,
    executor: ExecutorName = "ray",
) -> dict[str, CheckpointRef]:
    """Climb the stages of a recipe; pairs and chains are made on the way.

    Of two runs at once the second waits, step by step, for what the first is making, and finds it done.

    Args:
        workdir: where everything is kept.
        recipe: by default that of the folder's last run.
        stage: train this one alone, on the pairs, the chains and the weights of the stage before that are there.
        until: the last stage to climb.
        hold_out: which clips test; training does not see them.
        cross_format: formats or data sets that training must not see.
        clips: the data set; by default the newest.
        seed: of every random choice.
        settings: single settings of the recipe, such as `engine.num_nodes=2`, besides those of the folder's last run; an
            empty list takes these back.
        with_fixed_renderer: train the comparison too.
        executor: where shards are worked on.

    Returns:
        The checkpoint of each stage that was asked for, and of the comparison with a fixed renderer.
    """
    work = Workdir(Path(workdir))
    choices = choose(work, recipe, hold_out, cross_format, seed, settings)
    if stage is not None and until is not None:
        raise ConfigError(f"stage {stage} alone, and all until {until}: these cannot go together; name one of them")
    if until is not None:
        choices.recipe.stage(until)
    clips = clips or work.newest("clips")
    if stage is not None:
        step = staircase.alone(work, choices, clips, stage)
        remember(work, choices)
        examples = assemble_examples(work, step.run.stage, clips, step.pairs, step.chains, choices)
        run = step.run
        return {stage: train_stage(work, run.stage, run.student, clips, examples, run.init_from, choices)}
    remember(work, choices)
    told = (workdir, choices.recipe_name, choices.hold_out, list(choices.cross_format))
    checkpoints: dict[str, CheckpointRef] = {}
    last = pairs = chains = None
    for config in choices.recipe.stages:
        if "yes_no" in config.examples and pairs is None:
            pairs = mine_pairs(*told, clips, last, executor)
        if "chain" in config.examples and chains is None:
            chains = build_teacher_chains(*told, clips, last, executor=executor)
        examples = assemble_examples(work, config, clips, pairs, chains, choices)
        last = train_stage(work, config, choices.recipe.student, clips, examples, last, choices)
        checkpoints[config.name] = last
        if config.name == until:
            return checkpoints
    if with_fixed_renderer:
        fixed, student = choices.recipe.fixed, choices.recipe.fixed_student
        examples = assemble_examples(work, fixed, clips, None, None, choices)
        checkpoints[fixed.name] = train_stage(work, fixed, student, clips, examples, None, choices)
    return checkpoints
