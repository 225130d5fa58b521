"""Predictions -> confusable pairs: which actions the student takes for one another. All or nothing."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from skeletonllm.mining import mine_pairs

from pipelines.executor import Build, ShardOutput, write_table
from skeletonllm.errors import DataError
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import PAIRS

VERSION = 1


@dataclass(frozen=True)
class MineConfig:
    """How many partners each action gets."""

    actions: tuple[str, ...]
    top_k: int = 3


def run(predictions: DatasetRef, config: MineConfig, root: Path) -> DatasetRef:
    """Mine the confusable pairs of a student's predictions.

    Raises:
        DataError: there are no predictions.
    """
    build = Build("pairs", "mine", VERSION, config, [predictions.fingerprint], "pairs")

    def make() -> ShardOutput:
        table = ShardReader(predictions).table()
        if table.num_rows == 0:
            raise DataError(f"{predictions.path}: no predictions to mine; are there labelled training clips?")
        scores = np.stack(table.column("scores").to_pylist()).astype(np.float64)
        pairs = mine_pairs(table.column("action").to_pylist(), scores, config.actions, top_k=config.top_k)
        rows = [
            {
                "action": pair.action,
                "confused_with": pair.confused_with,
                "score": pair.score,
                "count": pair.count,
                "evidence": json.dumps(pair.evidence),
            }
            for pair in pairs
        ]
        return ShardOutput(pa.Table.from_pylist(rows, schema=PAIRS), statistics={"pairs": len(rows)})

    return write_table(build, root, make)
