"""All of it: ingest, the stages with their pairs and chains, evaluation. Where nothing changed, nothing is done."""

from prefect import flow

from flows.evaluate import evaluate
from flows.ingest_clips import ingest_clips
from flows.tasks import DEFAULT_WORKDIR, ExecutorName
from flows.train_stages import train_stages


@flow(name="retrain")
def retrain(
    source: str,
    workdir: str = DEFAULT_WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    seed: int | None = None,
    executor: ExecutorName = "ray",
) -> str:
    """From a folder of recordings to a report; returns where the report lies."""
    clips = ingest_clips(source, workdir, executor)
    checkpoints = train_stages(
        workdir, recipe, hold_out=hold_out, cross_format=cross_format, clips=clips, seed=seed, executor=executor
    )
    return evaluate(workdir, recipe, hold_out, cross_format, clips, checkpoints, executor)
