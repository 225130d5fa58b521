"""Training clips -> the statistics of their motion, shard by shard: what kinematic evidence is made of."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.executor import Build, ExecutorName, ShardOutput, map_shards
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.mining.motion import STATISTICS, motion_statistics
from skeletonllm.plain import from_plain
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import MOTION, clips_from_table

VERSION = 1


@dataclass(frozen=True)
class MotionConfig:
    """Which clips are measured, and what of them."""

    actions: tuple[str, ...]
    protocol: dict[str, Any]
    """Clips of its training split alone are measured."""
    statistics: tuple[str, ...] = STATISTICS
    """Names of the columns, for the record."""


@dataclass(frozen=True)
class _Work:
    clips: DatasetRef
    shard: int
    config: MotionConfig


def run(clips: DatasetRef, config: MotionConfig, root: Path, executor: ExecutorName = "inline") -> DatasetRef:
    """Measure the training clips of the known actions."""
    return map_shards(build_of(clips, config), root, executor)


def build_of(clips: DatasetRef, config: MotionConfig) -> Build:
    """What `run` builds with the same arguments."""
    count = len(ShardReader(clips).manifest.shards)
    return Build(
        name="motion",
        pipeline="motion",
        version=VERSION,
        config=config,
        inputs=[clips.fingerprint],
        schema="motion",
        process_shard=process_shard,
        shards=[_Work(clips, shard, config) for shard in range(count)],
    )


def process_shard(work: _Work) -> ShardOutput:
    """The statistics of one shard's training clips."""
    protocol = from_plain(Protocol, work.config.protocol, "protocol")
    rows = [
        {"clip_id": clip.clip_id, "action": clip.action, "statistics": motion_statistics(clip)}
        for clip in clips_from_table(ShardReader(work.clips).shard(work.shard))
        if clip.action in work.config.actions and protocol.split_of(clip.source) == "train"
    ]
    return ShardOutput(pa.Table.from_pylist(rows, schema=MOTION), statistics={"clips": len(rows)})
