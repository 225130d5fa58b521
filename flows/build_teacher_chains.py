"""Training clips -> teacher -> verified reasoning chains."""

from pathlib import Path

from prefect import flow

from flows.tasks import DEFAULT_WORKDIR, Choices, ExecutorName, Workdir, choose, pipeline_task, show_dataset
from pipelines import assemble, teach
from pipelines.launch import find_checkpoint
from pipelines.split import protocol_of
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef


@pipeline_task("ask the teacher", retries=1)
def ask_teacher(
    workdir: Workdir,
    clips: DatasetRef,
    checkpoint: CheckpointRef | None,
    choices: Choices,
    max_per_action: int | None,
    executor: ExecutorName,
) -> DatasetRef:
    """Ask about the training clips; replies that were paid for are taken from the store."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions = assemble.training_actions(clips, protocol)
    config = teach.configure(actions, to_plain(protocol), max_per_action)
    chains = teach.run(clips, checkpoint, config, workdir.data, workdir.ledger, executor)
    show_dataset(chains)
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
) -> DatasetRef:
    """Build verified chains for the training clips.

    The teacher is the server that the environment names (`SKELETONLLM_TEACHER_MODEL`, `OPENAI_BASE_URL`,
    `OPENAI_API_KEY`), else the offline kinematic one. A server sees frames drawn by the renderer of `checkpoint`, by
    default the newest of the second stage.
    """
    work = Workdir(Path(workdir))
    choices = choose(work, recipe, hold_out, cross_format)
    clips = clips or work.newest("clips")
    if checkpoint is None and len(choices.recipe.stages) > 1:
        checkpoint = find_checkpoint(work.runs, choices.recipe.stages[1].name)
    return ask_teacher(work, clips, checkpoint, choices, max_per_action, executor)
