"""Source files -> clip shards."""

from pathlib import Path
from typing import Any

from prefect import flow

from flows.tasks import DEFAULT_WORKDIR, ExecutorName, Workdir, pipeline_task, show_dataset
from pipelines import ingest
from skeletonllm.plain import from_plain
from skeletonllm.shards.manifest import DatasetRef


@pipeline_task("ingest")
def ingest_folder(
    source: str, workdir: str, executor: ExecutorName, name: str, config: ingest.IngestConfig, fresh: bool
) -> DatasetRef:
    """Ingest a folder; shards that are there are kept."""
    clips = ingest.run(Path(source), Workdir(Path(workdir)).data, config, executor, name, fresh)
    show_dataset(clips)
    return clips


@flow(name="ingest-clips")
def ingest_clips(
    source: str,
    workdir: str = DEFAULT_WORKDIR,
    executor: ExecutorName = "ray",
    name: str = "clips",
    options: dict[str, Any] | None = None,
    fresh: bool = False,
) -> DatasetRef:
    """Read every recording below `source` into clip shards under `workdir`; `options` are those of `IngestConfig`."""
    config = from_plain(ingest.IngestConfig, options or {}, "options")
    return ingest_folder(source, workdir, executor, name, config, fresh)
