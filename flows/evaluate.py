"""Checkpoints over the held-out clips and the formats never trained on -> report."""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_link_artifact

from flows.tasks import DEFAULT_WORKDIR, Choices, ExecutorName, Workdir, choose, pipeline_task
from pipelines import assemble, predict, report
from pipelines.launch import find_checkpoint, newest_checkpoint
from pipelines.split import check_untrained, protocol_of
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef


@pipeline_task("answer the test clips", retries=1)
def answer_tests(
    workdir: Workdir, clips: DatasetRef, checkpoint: CheckpointRef, choices: Choices, executor: ExecutorName
) -> DatasetRef:
    """Rank the candidate actions of every test clip."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    check_untrained(clips, protocol, checkpoint)
    actions = assemble.training_actions(clips, protocol)
    config = predict.PredictConfig(("test", "cross_format"), actions, to_plain(protocol))
    return predict.run(clips, checkpoint, config, workdir.data, executor)


@pipeline_task("write the report")
def write_report(
    workdir: Workdir,
    clips: DatasetRef,
    checkpoints: dict[str, CheckpointRef],
    predictions: dict[str, DatasetRef],
    choices: Choices,
) -> str:
    """One HTML file, and its numbers as JSON beside it."""
    path = report.run(workdir, clips, checkpoints, predictions, choices)
    create_link_artifact(key="report", link=path.resolve().as_uri(), link_text="report.html")
    return str(path)


@flow(name="evaluate")
def evaluate(
    workdir: str = DEFAULT_WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    clips: DatasetRef | None = None,
    checkpoints: dict[str, CheckpointRef] | None = None,
    executor: ExecutorName = "ray",
) -> str:
    """Evaluate the last stage and, where it is trained, the fixed renderer; returns where the report lies."""
    work = Workdir(Path(workdir))
    choices = choose(work, recipe, hold_out, cross_format)
    clips = clips or work.newest("clips")
    last, fixed = choices.recipe.stages[-1].name, choices.recipe.fixed.name
    if checkpoints is None:
        comparison = find_checkpoint(work.runs, fixed)
        checkpoints = {last: newest_checkpoint(work.runs, last), **({fixed: comparison} if comparison else {})}
    compared = [name for name in (last, fixed) if name in checkpoints]
    predictions = {name: answer_tests(work, clips, checkpoints[name], choices, executor) for name in compared}
    return write_report(work, clips, checkpoints, predictions, choices)
