"""The runs that are there: which have finished, what they were trained with, and what they made."""

import json
from pathlib import Path

from skeletonllm.errors import CheckpointError
from skeletonllm.plain import from_plain
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.train.checkpoint import CHECKPOINTS
from skeletonllm.train.config import RunConfig
from skeletonllm.train.worker import RUN

DONE = "done.json"


def read_run(checkpoint: CheckpointRef) -> RunConfig:
    """What a checkpoint was trained with.

    Raises:
        CheckpointError: its run's folder does not say.
    """
    path = Path(checkpoint.path).parents[1] / RUN
    try:
        return from_plain(RunConfig, json.loads(path.read_text()), str(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); train it again") from error


def launch_s(checkpoint: CheckpointRef) -> float:
    """Seconds of the launch that finished a checkpoint, start of the workers included."""
    return float(json.loads((Path(checkpoint.path).parents[1] / DONE).read_text())["launch_s"])


def find_checkpoint(root: Path, stage: str) -> CheckpointRef | None:
    """The finished run of a stage that was asked for last; None where there is none."""
    finished = sorted((root / stage).glob(f"*/{DONE}"), key=lambda path: path.stat().st_mtime)
    if not finished:
        return None
    plain = json.loads(finished[-1].read_text())
    return read_done(finished[-1].parent, stage, plain["fingerprint"])


def find_run(root: Path, stage: str, fingerprint: str) -> CheckpointRef | None:
    """The finished run of a stage with this fingerprint; None where there is none."""
    return read_done(root / stage / fingerprint[:12], stage, fingerprint)


def newest_checkpoint(root: Path, stage: str) -> CheckpointRef:
    """The newest finished run of a stage.

    Raises:
        CheckpointError: it was never trained.
    """
    found = find_checkpoint(root, stage)
    if found is None:
        raise CheckpointError(
            f"{root}: stage {stage!r} is not trained yet; run `skeletonllm train --until {stage}` first"
        )
    return found


def read_done(folder: Path, stage: str, fingerprint: str) -> CheckpointRef | None:
    """What a run has made, if it has finished."""
    try:
        plain = json.loads((folder / DONE).read_text())
    except FileNotFoundError:
        return None
    path = folder / CHECKPOINTS / plain["checkpoint"]
    return CheckpointRef(stage, str(path), fingerprint) if path.is_dir() else None
