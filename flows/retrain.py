"""All of it, on a schedule: ingest, the stages with their pairs and chains, evaluation, promotion.

Where nothing changed, nothing is done. A student is promoted only if it is not worse than the promoted one.
"""

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows.evaluate import evaluate
from flows.ingest_clips import ingest_clips
from flows.tasks import DEFAULT_WORKDIR, Choices, ExecutorName, Workdir, choose, pipeline_task, remember
from flows.train_stages import train_stages
from pipelines import assemble, predict
from pipelines.promote import Decision, promote
from pipelines.retraining import find_retrained, inputs_of, only_retraining, remember_retrained
from pipelines.split import protocol_of
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef


@pipeline_task("promote if not worse", retries=1)
def promote_student(
    workdir: Workdir,
    clips: DatasetRef,
    candidate: CheckpointRef,
    choices: Choices,
    executor: ExecutorName,
    tolerance: float,
) -> Decision:
    """Compare the candidate with the promoted student on the same test clips."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions = assemble.training_actions(clips, protocol)
    config = predict.PredictConfig(("test", "cross_format"), actions, to_plain(protocol))

    def ask(checkpoint: CheckpointRef) -> DatasetRef:
        return predict.run(clips, checkpoint, config, workdir.data, executor)

    decision = promote(workdir, clips, candidate, ask, tolerance)
    said = "Promoted" if decision.is_promoted else "Not promoted"
    create_markdown_artifact(
        key="promotion",
        markdown=f"**{said}**: {decision.reason}\n\n`{candidate.fingerprint[:12]}` at `{candidate.path}`",
    )
    return decision


@flow(name="retrain")
def retrain(
    source: str,
    workdir: str = DEFAULT_WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    seed: int | None = None,
    settings: list[str] | None = None,
    executor: ExecutorName = "ray",
    tolerance: float = 0.0,
) -> str:
    """From a folder of recordings to a report and, where it is not worse, a promoted student; returns the report's place.

    `tolerance` is the share of test clips that a student may recognise less than the promoted one. Of two that run at
    once in a work folder the second waits for the first.
    """
    work = Workdir(Path(workdir))
    with only_retraining(work):
        choices = choose(work, recipe, hold_out, cross_format, seed, settings)
        remember(work, choices)
        recipe, hold_out, cross_format = choices.recipe_name, choices.hold_out, list(choices.cross_format)
        clips = ingest_clips(source, workdir, executor)
        inputs = inputs_of(clips, choices, tolerance)
        if (last := find_retrained(work, inputs)) is not None:
            return last.report
        checkpoints = train_stages(
            workdir,
            recipe,
            hold_out=hold_out,
            cross_format=cross_format,
            clips=clips,
            seed=choices.seed,
            settings=list(choices.settings),
            executor=executor,
        )
        report = evaluate(workdir, recipe, hold_out, cross_format, clips, checkpoints, executor)
        candidate = checkpoints[choices.recipe.stages[-1].name]
        decision = promote_student(work, clips, candidate, choices, executor, tolerance)
        remember_retrained(work, inputs, clips, report, decision)
        return report
