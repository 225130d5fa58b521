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
    recipe: str = "quickstart",
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    seed: int | None = None,
    executor: ExecutorName = "ray",
) -> str:
    """From a folder of recordings to a report; returns where the report lies."""
    common = {"workdir": workdir, "recipe": recipe, "hold_out": hold_out, "cross_format": cross_format}
    clips = ingest_clips(source, workdir, executor)
    checkpoints = train_stages(**common, clips=clips, seed=seed, executor=executor)
    return evaluate(**common, clips=clips, checkpoints=checkpoints, executor=executor)
