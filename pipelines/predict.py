"""Clips and a checkpoint -> the student's answers, shard by shard."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.executor import Build, ExecutorName, ShardOutput, map_shards
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import from_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import PREDICTIONS, clips_from_table

if TYPE_CHECKING:
    from skeletonllm.model.student import SkeletonLLM

VERSION = 1


@dataclass(frozen=True)
class PredictConfig:
    """Whom to ask about which clips."""

    splits: tuple[str, ...]
    """`train`, `test` or `cross_format`."""
    actions: tuple[str, ...]
    """The candidates, in the order of the scores."""
    protocol: dict[str, Any]
    """Which clip belongs to which split."""
    batch_size: int = 32


@dataclass(frozen=True)
class _Work:
    clips: DatasetRef
    shard: int
    checkpoint: str
    config: PredictConfig


def run(
    clips: DatasetRef,
    checkpoint: CheckpointRef,
    config: PredictConfig,
    root: Path,
    executor: ExecutorName = "inline",
    name: str = "predictions",
) -> DatasetRef:
    """Ask the student of a checkpoint which action each labelled clip of the splits shows."""
    return map_shards(build_of(clips, checkpoint, config, name), root, executor)


def build_of(clips: DatasetRef, checkpoint: CheckpointRef, config: PredictConfig, name: str = "predictions") -> Build:
    """What `run` builds with the same arguments; the checkpoint need not be there yet."""
    count = len(ShardReader(clips).manifest.shards)
    return Build(
        name=name,
        pipeline="predict",
        version=VERSION,
        config=config,
        inputs=[clips.fingerprint, checkpoint.fingerprint],
        schema="predictions",
        process_shard=process_shard,
        on_gpu=True,
        shards=[_Work(clips, shard, checkpoint.path, config) for shard in range(count)],
    )


def process_shard(work: _Work) -> ShardOutput:
    """The answers for the clips of one shard that belong to the wanted splits and have a known action."""
    from skeletonllm.evaluate.predict import predict

    protocol = from_plain(Protocol, work.config.protocol, "protocol")
    clips = [
        clip
        for clip in clips_from_table(ShardReader(work.clips).shard(work.shard))
        if clip.action in work.config.actions and protocol.split_of(clip.source) in work.config.splits
    ]
    answers: Sequence[Any] = ()
    if clips:
        answers = predict(load_student(work.checkpoint), clips, work.config.actions, work.config.batch_size)
    rows = [{key: value for key, value in asdict(answer).items() if key in PREDICTIONS.names} for answer in answers]
    right = sum(row["action"] == row["predicted"] for row in rows)
    return ShardOutput(pa.Table.from_pylist(rows, schema=PREDICTIONS), statistics={"asked": len(rows), "right": right})


@functools.lru_cache(maxsize=2)
def load_student(path: str) -> "SkeletonLLM":
    """The student of a checkpoint, kept by the worker for its next shard."""
    import torch

    from skeletonllm.model.student import SkeletonLLM

    student = SkeletonLLM.from_pretrained(Path(path))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return student.to(device).eval()
