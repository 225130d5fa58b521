"""Training clips -> teacher -> verified reasoning chains."""

import logging
from pathlib import Path

from prefect import flow

from flows.budget import told_budget
from flows.ingest_clips import ingest_clips
from flows.tasks import DEFAULT_WORKDIR, Choices, ExecutorName, Workdir, choose, pipeline_task, show_chains, show_plan
from pipelines import assemble, teach, teach_plan
from pipelines.launch import find_checkpoint
from pipelines.settings import Settings, read_settings
from pipelines.split import protocol_of
from pipelines.teacher.limits import Limits
from pipelines.teacher.who import choose_teacher
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, find_dataset
from skeletonllm.skeleton.simulate import write_sample_data

# By name: where Prefect loads this file by its path, the module has another.
logger = logging.getLogger("flows.build_teacher_chains")

# Training must not see it, so that the sample data too have a format to test.
_SAMPLE_CROSS_FORMAT = ["bvh"]


@pipeline_task("make sample data")
def make_sample_data(folder: Path) -> str:
    """Recordings of simulated performers; where they lie."""
    write_sample_data(folder)
    return str(folder)


@pipeline_task("ask the teacher", retries=1)
def ask_teacher(
    workdir: Workdir,
    clips: DatasetRef,
    checkpoint: CheckpointRef | None,
    config: teach.TeachConfig,
    executor: ExecutorName,
) -> DatasetRef:
    """Ask about the training clips; replies that were paid for are taken from the ledger."""
    with told_budget(workdir.path, config.limits.caps) as watch:
        chains = teach.run(clips, checkpoint, config, workdir.data, workdir.ledger, executor, watch)
    show_chains(chains, clips, checkpoint, teach.facts_of(chains, checkpoint, config, workdir.ledger))
    return chains


@flow(name="build-teacher-chains")
def build_teacher_chains(
    workdir: str = DEFAULT_WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    clips: DatasetRef | None = None,
    checkpoint: CheckpointRef | None = None,
    max_per_action: int | None = None,
    executor: ExecutorName = "ray",
    teacher: str | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    max_requests: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    at_once: int = 16,
    batch: bool = False,
    replay: bool = False,
    plan: bool = False,
) -> DatasetRef | None:
    """Build verified chains for the training clips.

    The teacher is the server that the environment names (`SKELETONLLM_TEACHER_MODEL`, `OPENAI_BASE_URL`,
    `OPENAI_API_KEY`), else the offline kinematic one, which a work folder without clips gets sample data for. A server
    sees frames drawn by the renderer of `checkpoint`. Killed at any moment and run again, it goes on; of two at once, the
    second waits for the first.

    Args:
        workdir: where everything is kept.
        recipe: a name of skeletonllm/recipes.py; by default that of the folder's last run.
        hold_out: which clips test; no chain is made of them.
        cross_format: formats or data sets that training must not see; no chain is made of them.
        clips: the data set; by default the newest.
        checkpoint: by default the newest of the second stage.
        max_per_action: ask about so many clips of an action at most, per shard.
        executor: where the shards are worked on.
        teacher: a model of the server, or `kinematic` for the offline one; by default what the environment names.
        max_cost: USD that may be spent on this data set, over all runs; never exceeded.
        max_tokens: that it may take, in and out together, likewise.
        max_requests: that may be made for it, likewise.
        requests_per_minute: at most; a lower limit that the server names wins.
        tokens_per_minute: at most, likewise.
        at_once: requests under way at most, of one process.
        batch: ask by the Batch API: half the price, within a day.
        replay: take replies from the ledger alone and ask nobody.
        plan: only say what would be asked, why, and what it would cost; asks nobody.

    Returns:
        The data set; nothing with `plan`.
    """
    limits = Limits(max_cost, max_tokens, max_requests, requests_per_minute, tokens_per_minute, at_once, batch, replay)
    work = Workdir(Path(workdir))
    who = choose_teacher(read_settings(), teacher, may_ask=not plan)
    if clips is None and not plan and not who.teacher_model and find_dataset(work.data, "clips") is None:
        logger.warning(
            "%s: no data set yet, so sample data are made and the chains are those of simulated people", work.data
        )
        cross_format = cross_format or _SAMPLE_CROSS_FORMAT
        clips = ingest_clips(make_sample_data(work.path / "sample-data"), workdir, executor)
    choices = choose(work, recipe, hold_out, cross_format)
    asked = _asked(work, choices, clips, checkpoint, max_per_action, who, limits)
    if plan:
        show_plan(teach_plan.plan(*asked, work.data, work.ledger))
        return None
    return ask_teacher(work, *asked, executor)


def plan_of(
    workdir: str,
    recipe: str | None,
    hold_out: str | None,
    cross_format: list[str] | None,
    teacher: str | None,
    max_per_action: int | None,
    limits: Limits,
) -> teach_plan.TeachPlan:
    """What the flow would ask with the same parameters; needs no Prefect."""
    work = Workdir(Path(workdir))
    who = choose_teacher(read_settings(), teacher, may_ask=False)
    choices = choose(work, recipe, hold_out, cross_format)
    asked = _asked(work, choices, None, None, max_per_action, who, limits)
    return teach_plan.plan(*asked, work.data, work.ledger)


def _asked(
    work: Workdir,
    choices: Choices,
    clips: DatasetRef | None,
    checkpoint: CheckpointRef | None,
    max_per_action: int | None,
    who: Settings,
    limits: Limits,
) -> tuple[DatasetRef, CheckpointRef | None, teach.TeachConfig]:
    """Which clips, drawn by whose renderer, and who is asked how."""
    clips = clips or work.newest("clips")
    if checkpoint is None and len(choices.recipe.stages) > 1:
        checkpoint = find_checkpoint(work.runs, choices.recipe.stages[1].name)
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions = assemble.training_actions(clips, protocol)
    return clips, checkpoint, teach.configure(actions, to_plain(protocol), max_per_action, who, limits)
