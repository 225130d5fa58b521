"""What all flows share: the task wrapper, and artifacts that say what a data set or checkpoint is."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from pipelines import gallery, run_summary, teach_plan
from pipelines.choices import Choices, choose, remember
from pipelines.executor import ExecutorName
from pipelines.workdir import DEFAULT_WORKDIR, Workdir
from skeletonllm.errors import BudgetError, ConfigError
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, read_manifest

logger = logging.getLogger(__name__)

_CHAINS_SHOWN = 3

__all__ = [
    "DEFAULT_WORKDIR",
    "Choices",
    "ExecutorName",
    "Workdir",
    "choose",
    "pipeline_task",
    "remember",
    "show_chains",
    "show_checkpoint",
    "show_dataset",
    "show_plan",
]


def pipeline_task(name: str, retries: int = 0) -> Callable[[Callable[..., Any]], Any]:
    """A task that runs one pipeline. Results are names and fingerprints; the shards themselves say what is done."""
    return task(
        name=name,
        retries=retries,
        retry_delay_seconds=5,
        retry_condition_fn=_may_help,
        persist_result=False,
        cache_policy=NO_CACHE,
    )


def _may_help(_: object, __: object, state: State) -> bool:
    """Whether trying again may help: nobody raises a cap, or corrects a setting, in five seconds."""
    return not isinstance(state.data, (BudgetError, ConfigError))


def show_dataset(dataset: DatasetRef) -> None:
    """Publish a data set's counts as an artifact of the run."""
    manifest = read_manifest(dataset.path)
    counts = "\n".join(f"| {key} | {value} |" for key, value in manifest.statistics.items())
    create_markdown_artifact(
        key=dataset.name.replace("_", "-"),
        markdown=f"**{dataset.name}** `{dataset.fingerprint[:12]}`: {manifest.num_rows} rows in {len(manifest.shards)} "
        f"shards, {manifest.num_rejected} rejected\n\n`{dataset.path}`\n\n| statistic | value |\n|---|---|\n{counts}",
    )


def show_checkpoint(checkpoint: CheckpointRef) -> None:
    """Publish a finished run's numbers, pictures and files as an artifact of the run."""
    create_markdown_artifact(
        key=f"checkpoint-{checkpoint.name}".replace("_", "-"), markdown=run_summary.markdown_of(checkpoint)
    )


def show_chains(
    chains: DatasetRef, clips: DatasetRef, checkpoint: CheckpointRef | None, facts: Sequence[tuple[str, str]]
) -> None:
    """Publish who taught, verdicts, cost and some chains beside their pictures; all of it as `chains.html` too."""
    path = gallery.write_page(chains, clips, checkpoint, facts)
    page = gallery.collect(chains, clips, checkpoint, facts, num_shown=_CHAINS_SHOWN)
    create_markdown_artifact(key="chains", markdown=gallery.markdown_of(page))
    create_link_artifact(key="chains-page", link=path.resolve().as_uri(), link_text=path.name)


def show_plan(plan: teach_plan.TeachPlan) -> None:
    """Publish what would be asked, and say it in the log."""
    text = teach_plan.markdown_of(plan)
    logger.info("%s", text)
    create_markdown_artifact(key="chains-plan", markdown=text)
