"""A checkpoint's predictions on the training clips -> confusable pairs."""

from pathlib import Path

from prefect import flow

from flows.tasks import DEFAULT_WORKDIR, Choices, ExecutorName, Workdir, choose, pipeline_task, show_dataset
from pipelines import assemble, mine, predict
from pipelines.launch import newest_checkpoint
from pipelines.split import protocol_of
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef


@pipeline_task("predict on the training clips", retries=1)
def predict_training(
    workdir: Workdir, clips: DatasetRef, checkpoint: CheckpointRef, choices: Choices, executor: ExecutorName
) -> DatasetRef:
    """Ask the student about its own training clips."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions = assemble.training_actions(clips, protocol)
    config = predict.PredictConfig(("train",), actions, to_plain(protocol))
    return predict.run(clips, checkpoint, config, workdir.data, executor, name="training_predictions")


@pipeline_task("mine pairs")
def mine_predictions(workdir: Workdir, predictions: DatasetRef, clips: DatasetRef, choices: Choices) -> DatasetRef:
    """Which actions the student takes for one another."""
    actions = assemble.training_actions(clips, protocol_of(clips, choices.hold_out, choices.cross_format))
    pairs = mine.run(predictions, mine.MineConfig(actions), workdir.data)
    show_dataset(pairs)
    return pairs


@flow(name="mine-pairs")
def mine_pairs(
    workdir: str = DEFAULT_WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    clips: DatasetRef | None = None,
    checkpoint: CheckpointRef | None = None,
    executor: ExecutorName = "ray",
) -> DatasetRef:
    """Mine confusable pairs from the first stage's student, or from the given checkpoint."""
    work = Workdir(Path(workdir))
    choices = choose(work, recipe, hold_out, cross_format)
    clips = clips or work.newest("clips")
    checkpoint = checkpoint or newest_checkpoint(work.runs, choices.recipe.stages[0].name)
    predictions = predict_training(work, clips, checkpoint, choices, executor)
    return mine_predictions(work, predictions, clips, choices)
