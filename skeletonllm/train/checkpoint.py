"""Checkpoints that are whole or not there: files, then their hashes in `meta.json`, then one rename, then `latest`."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skeletonllm.errors import CheckpointError
from skeletonllm.plain import from_plain, sha256_of, sync_folder, to_plain, write_whole

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
META = "meta.json"
ENGINE = "engine"
_KEEP = 2


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint is, and the hash of each of its files."""

    format_version: int
    step: int
    num_steps: int
    stage: str
    fingerprint: str
    world_size: int
    files: dict[str, str]
    metrics: dict[str, float]


def save(
    checkpoints: Path,
    meta: CheckpointMeta,
    save_student: Callable[[Path], Any],
    save_engine: Callable[[Path], Any],
    rank: int,
    barrier: Callable[[], Any],
) -> Path:
    """Save a step; every rank calls it.

    The step's folder appears by one rename when all files are written and hashed; a kill before that leaves a temporary
    folder that the next save removes.

    Args:
        checkpoints: holds one folder per step.
        meta: without the hashes.
        save_student: writes the weights by part; called on rank 0.
        save_engine: writes the engine's state; called on every rank.
        rank: of this process.
        barrier: waits for all ranks.

    Returns:
        The step's folder.
    """
    final = checkpoints / f"step_{meta.step:06d}"
    temporary = checkpoints / f".step_{meta.step:06d}.tmp"
    if rank == 0:
        shutil.rmtree(temporary, ignore_errors=True)
        save_student(temporary)
    barrier()
    save_engine(temporary / ENGINE)
    barrier()
    if rank == 0:
        files = sorted(path for path in temporary.rglob("*") if path.is_file())
        hashes = {path.relative_to(temporary).as_posix(): sha256_of(path) for path in files}
        write_whole(temporary / META, json.dumps(to_plain(meta) | {"files": hashes}, indent=2) + "\n")
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
        sync_folder(checkpoints)
        write_whole(checkpoints / "latest", final.name + "\n")
        _prune(checkpoints)
    barrier()
    return final


def newest(checkpoints: Path) -> tuple[Path, CheckpointMeta] | None:
    """The newest checkpoint whose every byte is as it was saved; None where there is none.

    A damaged one is passed over, with a warning that names the file.
    """
    for folder in sorted(checkpoints.glob("step_*"), reverse=True):
        try:
            return folder, verify(folder)
        except CheckpointError as error:
            logger.warning("%s; using an older checkpoint", error)
    return None


def read_meta(folder: Path) -> CheckpointMeta:
    """A checkpoint's description.

    Raises:
        CheckpointError: there is none, or of another format version.
    """
    try:
        plain = json.loads((folder / META).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{folder}: no readable {META} ({error}); not a checkpoint, or a damaged one") from error
    meta = from_plain(CheckpointMeta, plain, str(folder / META))
    if meta.format_version != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder}: checkpoint format {meta.format_version}, this version reads {FORMAT_VERSION}; train it again"
        )
    return meta


def verify(folder: Path) -> CheckpointMeta:
    """A checkpoint's description, once every file has the hash that it was saved with.

    Raises:
        CheckpointError: names the first file that differs.
    """
    meta = read_meta(folder)
    for file, expected in meta.files.items():
        path = folder / file
        if not path.exists() or sha256_of(path) != expected:
            raise CheckpointError(f"{path}: missing or changed since it was saved; delete {folder} and resume")
    return meta


def _prune(checkpoints: Path) -> None:
    for folder in sorted(checkpoints.glob("step_*"))[:-_KEEP]:
        shutil.rmtree(folder, ignore_errors=True)
