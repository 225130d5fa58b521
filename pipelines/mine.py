"""Predictions -> confusable pairs: which actions the student takes for one another. All or nothing."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.executor import Build, ShardOutput, write_table
from skeletonllm.errors import DataError
from skeletonllm.mining import mine_pairs
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
        table = pa.Table.from_pylist([asdict(pair) for pair in pairs], schema=PAIRS)
        return ShardOutput(table, statistics={"pairs": len(pairs)})

    return write_table(build, root, make)
