"""A work folder with a few clips, and runs that look finished: enough for whoever asks what is there and what is not."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipelines.choices import Choices
from pipelines.staircase import Step
from pipelines.workdir import Workdir
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, Manifest, write_manifest
from skeletonllm.shards.schema import CHAINS, PAIRS, SCHEMA_VERSION
from skeletonllm.shards.writer import describe_shard, shard_name, write_shard
from skeletonllm.train.checkpoint import FORMAT_VERSION, CheckpointMeta, Kept, save
from skeletonllm.train.config import RunConfig
from skeletonllm.train.ranks import Ranks
from tests.makers import performed_clips, write_clips

ACTIONS = ("kick", "wave")
SMOKE = Choices("smoke", "subject=P002", (), 0)


def work_with_clips(root: Path) -> tuple[Workdir, DatasetRef]:
    """Two performers, two actions each; one of them tests."""
    work = Workdir(root)
    return work, write_clips(work.data, performed_clips(ACTIONS, ("P001", "P002")))


def write_made(work: Workdir, name: str, table: pa.Table, step: Step, **changes) -> DatasetRef:
    """A data set with the very manifest that its pipeline would have written, but for its rows."""
    made = next(one for one in step.made if one.name == name)
    made = replace(made, **changes)
    folder = work.data / name / made.fingerprint[:12]
    write_shard(folder / shard_name(0, 1), table)
    entry, _ = describe_shard(folder / shard_name(0, 1))
    inputs = list(made.inputs)
    manifest = Manifest(name, name, SCHEMA_VERSION, name, made.version, made.config, inputs, made.fingerprint, [entry])
    return write_manifest(folder, manifest)


def whole_checkpoint(folder: Path, stage: str, fingerprint: str) -> Path:
    """The last checkpoint of a run, whole, but without weights."""
    meta = CheckpointMeta(FORMAT_VERSION, 4, 4, 64, stage, fingerprint, 1, {}, {})
    return save(folder / "checkpoints", meta, Path.mkdir, Path.touch, Path.touch, Ranks(), Kept())


def finish(work: Workdir, run: RunConfig) -> CheckpointRef:
    """A run of which only the folder, what it was told and a checkpoint without weights are there."""
    from skeletonllm.train.stage import fingerprint_of

    fingerprint = fingerprint_of(run)
    folder = work.runs / run.stage.name / fingerprint[:12]
    checkpoint = whole_checkpoint(folder, run.stage.name, fingerprint)
    (folder / "run.json").write_text(json.dumps(to_plain(run)))
    (folder / "done.json").write_text(
        json.dumps({"fingerprint": fingerprint, "checkpoint": checkpoint.name, "launch_s": 1.0})
    )
    return CheckpointRef(run.stage.name, str(checkpoint), fingerprint)


PAIR = pa.Table.from_pylist(
    [{"action": "wave", "confused_with": "kick", "score": 0.5, "evidence": "kinematics"}], schema=PAIRS
)
NO_CHAINS = pa.Table.from_pylist([], schema=CHAINS)
