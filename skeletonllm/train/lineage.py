"""What a checkpoint says of where it comes from: the stages before it, and the one that trains it now."""

from dataclasses import replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from skeletonllm.errors import ShardError
from skeletonllm.model.about import About, DataFacts, StageFacts
from skeletonllm.shards.manifest import DatasetRef, Manifest, read_manifest
from skeletonllm.train.config import RunConfig


def about_run(before: About, run: RunConfig, fingerprint: str, step: int, num_steps: int) -> About:
    """What is known of a student after a step of a stage.

    Args:
        before: what was known of the student that the stage began with.
        run: the stage.
        fingerprint: of the run.
        step: that was just taken.
        num_steps: of the whole stage.
    """
    now = StageFacts(
        name=run.stage.name,
        fingerprint=fingerprint,
        trains=run.stage.trains,
        examples=run.stage.examples,
        step=step,
        num_steps=num_steps,
        seed=run.seed,
        clips=run.clips.fingerprint,
        learned_from=run.examples.fingerprint,
        code_version=package_version("skeletonllm"),
    )
    clips, examples = _manifest(run.clips), _manifest(run.examples)
    shown, asked = _facts(run.clips, clips), _facts(run.examples, examples)
    earlier = (one for one in before.data if one.fingerprint not in (shown.fingerprint, asked.fingerprint))
    config = examples.config if examples is not None else {}
    return replace(
        before,
        split=_split(config.get("protocol")) or before.split,
        actions=tuple(config.get("actions", ())) or before.actions,
        data=(shown, *earlier, asked),
        stages=(*before.stages, now),
        scores=(),
    )


def _manifest(dataset: DatasetRef) -> Manifest | None:
    try:
        return read_manifest(Path(dataset.path))
    except ShardError:  # it was moved since; what it held is told by its fingerprint alone
        return None


def _facts(dataset: DatasetRef, manifest: Manifest | None) -> DataFacts:
    if manifest is None:
        return DataFacts(dataset.name, dataset.fingerprint)
    formats = tuple(sorted(manifest.statistics.get("formats", {})))
    return DataFacts(dataset.name, dataset.fingerprint, manifest.num_rows, formats, manifest.code_version)


def _split(protocol: dict[str, Any] | None) -> str:
    """Which clips are held out, in the words of the command's `--hold-out`."""
    if not protocol:
        return ""
    never = protocol.get("cross_format", ())
    return f"{protocol['field']}={','.join(protocol['test'])}" + (f", never {','.join(never)}" if never else "")
