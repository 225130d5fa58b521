"""Source files -> clip shards."""

from pathlib import Path

from prefect import flow

from flows.tasks import DEFAULT_WORKDIR, ExecutorName, Workdir, pipeline_task, show_dataset
from pipelines import ingest
from skeletonllm.shards.manifest import DatasetRef


@pipeline_task("ingest")
def ingest_folder(source: str, workdir: str, executor: ExecutorName) -> DatasetRef:
    """Ingest a folder; shards that are there are kept."""
    clips = ingest.run(Path(source), Workdir(Path(workdir)).data, executor=executor)
    show_dataset(clips)
    return clips


@flow(name="ingest-clips")
def ingest_clips(source: str, workdir: str = DEFAULT_WORKDIR, executor: ExecutorName = "ray") -> DatasetRef:
    """Read every recording below `source` into clip shards under `workdir`."""
    return ingest_folder(source, workdir, executor)
