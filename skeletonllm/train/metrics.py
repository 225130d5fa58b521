"""The numbers of a run: `metrics.jsonl`, which the guards and resuming rely on, and TensorBoard where it is asked for."""

import json
import os
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from skeletonllm.errors import BackendError
from skeletonllm.plain import write_whole

METRICS = "metrics.jsonl"


class MetricsFile:
    """`metrics.jsonl`: one flat object per step; a restart continues it from its own step on."""

    def __init__(self, path: Path, from_step: int) -> None:
        kept = [row for row in read_metrics(path) if row["step"] <= from_step]
        write_whole(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._path = path

    def __call__(self, numbers: Mapping[str, int | float]) -> None:
        """Add one step's numbers."""
        with self._path.open("a") as file:
            file.write(json.dumps(dict(numbers)) + "\n")


def read_metrics(path: Path) -> list[dict[str, int | float]]:
    """The rows of a `metrics.jsonl`; a line cut by a kill is left out."""
    return _rows(path.read_bytes()) if path.exists() else []


class NewMetrics:
    """The rows that were added to a `metrics.jsonl` since the last call; all of them, where it has become shorter."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0

    def __call__(self) -> list[dict[str, int | float]]:
        """New rows, in their order."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            if file.seek(0, os.SEEK_END) < self._read:
                self._read = 0
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + 1 if whole else 0
        return _rows(whole)


def _rows(lines: bytes) -> list[dict[str, int | float]]:
    rows = []
    for line in lines.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


class TensorBoard:
    """The same numbers for TensorBoard.

    Args:
        folder: of the event files; older ones go on from `from_step`.
        from_step: what was written for later steps is hidden.

    Raises:
        BackendError: it is not installed.
    """

    def __init__(self, folder: Path, from_step: int) -> None:
        if find_spec("tensorboard") is None:
            raise BackendError(
                "engine.tensorboard is set, and tensorboard is not here; `pip install skeletonllm[tensorboard]`, "
                "or leave it out: metrics.jsonl is always written"
            )
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=from_step + 1)

    def __call__(self, numbers: Mapping[str, int | float]) -> None:
        """Add one step's numbers."""
        for name, value in numbers.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(numbers["step"]))
        self._writer.flush()

    def close(self) -> None:
        """No more numbers come."""
        self._writer.close()
