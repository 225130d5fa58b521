"""Checkpoints that are whole or not there.

Every rank writes and hashes its files in a temporary folder; the hashes go into `meta.json`, the last file; one rename
makes the folder a checkpoint. Its name is never used again, so no two attempts at a step are ever mixed up.
"""

import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from skeletonllm.errors import CheckpointError, ConfigError
from skeletonllm.plain import digest, from_plain, sha256_of, sync_folder, to_plain, write_whole
from skeletonllm.train.ranks import Ranks

logger = logging.getLogger(__name__)

FORMAT_VERSION = 2
META = "meta.json"
CHECKPOINTS = "checkpoints"
_ENGINE = "engine"
_SEAL = "sha256"
_DISK_FULL = ("No space left", "Disk quota exceeded", "File too large")
# The named moments of a save, in their order; `fault` is called at each, on the ranks that come by.
POINTS = ("begun", "student", "state", "random", "hashed", "told", "meta", "renamed", "latest", "pruned")

T = TypeVar("T")


@dataclass(frozen=True)
class CheckpointMeta:
    """What a checkpoint is, and the hash of each of its files."""

    format_version: int
    step: int
    num_steps: int
    next_example: int
    """Where the order of the examples goes on, counted from the run's start."""
    stage: str
    fingerprint: str
    world_size: int
    files: dict[str, str]
    metrics: dict[str, float]


@dataclass(frozen=True)
class Kept:
    """Which checkpoints stay: the newest, and the best by a metric."""

    last: int = 2
    best: int = 0
    by: str = "train/loss"
    best_is: Literal["lowest", "highest"] = "lowest"


def fault(point: str) -> None:
    """Called at each of `POINTS`; tests put in its place what kills the process, or fills the disk."""
    del point


def save(
    checkpoints: Path,
    meta: CheckpointMeta,
    save_student: Callable[[Path], Any],
    save_state: Callable[[Path], Any],
    save_random: Callable[[Path], Any],
    ranks: Ranks,
    kept: Kept,
) -> Path:
    """Save a step; every rank calls it.

    Args:
        checkpoints: holds one folder per saved step, on a disk that all ranks see.
        meta: without the hashes.
        save_student: writes the weights by part into a folder that is not there yet; called on every rank, one writes.
        save_state: writes into a file what this rank holds of the engine's state.
        save_random: writes into a file the states of this rank's random generators.
        ranks: that save together.
        kept: which older checkpoints stay.

    Returns:
        The step's folder.

    Raises:
        CheckpointError: on every rank, when one cannot write; the checkpoint before is as it was.
    """
    final = checkpoints / f"step_{meta.step:06d}.{ranks.first(_new_attempt())}"
    temporary = checkpoints / f".{final.name}.tmp"
    own = temporary / _ENGINE / _rank_name(ranks.rank)

    def begin() -> None:
        if ranks.rank == 0:
            checkpoints.mkdir(parents=True, exist_ok=True)
            for abandoned in checkpoints.glob(".*"):
                shutil.rmtree(abandoned, ignore_errors=True)
        fault("begun")

    def write_student() -> None:
        save_student(temporary)
        fault("student")

    def write_own() -> dict[str, str]:
        own.mkdir(parents=True)
        save_state(own / "state.safetensors")
        fault("state")
        save_random(own / "random.safetensors")
        fault("random")
        files = _hash_and_sync(temporary, [*own.iterdir()])
        if ranks.rank == 0:
            files |= _hash_and_sync(temporary, [path for path in temporary.iterdir() if path.name != _ENGINE])
        fault("hashed")
        return files

    _together(ranks, final, begin)
    _together(ranks, final, write_student)
    said = _together(ranks, final, write_own)

    def commit() -> None:
        fault("told")
        if ranks.rank != 0:
            return
        files = {name: sha256 for one in said for name, sha256 in one.items()}
        for name in files:
            if not (temporary / name).is_file():
                raise CheckpointError(f"another rank wrote {name}, which is not here; let all nodes share one folder")
        write_whole(temporary / META, _sealed(to_plain(meta) | {"files": dict(sorted(files.items()))}))
        sync_folder(temporary / _ENGINE)
        fault("meta")
        temporary.rename(final)
        sync_folder(checkpoints)
        fault("renamed")
        write_whole(checkpoints / "latest", final.name + "\n")
        fault("latest")
        _prune(checkpoints, kept, meta.step)
        fault("pruned")

    _together(ranks, final, commit)
    return final


def saved(checkpoints: Path) -> list[Path]:
    """Every checkpoint's folder, whole or damaged, by step, and those of one step by when they were begun."""
    return sorted(checkpoints.glob("step_*"), key=lambda folder: (_step_of(folder), folder.name))


def newest(
    checkpoints: Path, is_wanted: Callable[[CheckpointMeta], bool] = lambda _: True
) -> tuple[Path, CheckpointMeta] | None:
    """The newest checkpoint that is wanted, and whose every byte is as it was saved; None where there is none.

    A damaged one is passed over, with a warning that names the file.
    """
    for folder in reversed(saved(checkpoints)):
        try:
            if is_wanted(read_meta(folder)):
                return folder, verify(folder)
        except CheckpointError as error:
            logger.warning("%s; using an older checkpoint", error)
    return None


def read_meta(folder: Path) -> CheckpointMeta:
    """A checkpoint's description.

    Raises:
        CheckpointError: there is none, it is damaged, or of another format version.
    """
    path = folder / META
    try:
        text = path.read_text(encoding="utf-8")
        plain = json.loads(text)
        version = plain["format_version"]
        if version == FORMAT_VERSION:
            plain.pop(_SEAL)
            if text != _sealed(plain):
                raise ValueError("its bytes are not those that were written")
            return from_plain(CheckpointMeta, plain, str(path))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise CheckpointError(f"{error}; of another version of SkeletonLLM, so train it again") from error
        raise CheckpointError(f"{folder}: no readable {META} ({error}); not a checkpoint, or a damaged one") from error
    raise CheckpointError(f"{folder}: checkpoint format {version}, this version reads {FORMAT_VERSION}; train it again")


def verify(folder: Path) -> CheckpointMeta:
    """A checkpoint's description, once every file has the hash that it was saved with.

    Raises:
        CheckpointError: names the first file that differs.
    """
    meta = read_meta(folder)
    for file, expected in meta.files.items():
        path = folder / file
        if not path.is_file() or sha256_of(path) != expected:
            raise CheckpointError(f"{path}: missing or changed since it was saved; delete {folder} and resume")
    return meta


def state_files(folder: Path) -> list[Path]:
    """The engine's state in a checkpoint, as all ranks wrote it."""
    return sorted(folder.glob(f"{_ENGINE}/rank_*/state.safetensors"))


def random_file(folder: Path, rank: int) -> Path:
    """The random generators of a rank in a checkpoint."""
    return folder / _ENGINE / _rank_name(rank) / "random.safetensors"


def _rank_name(rank: int) -> str:
    return f"rank_{rank:05d}"


def _new_attempt() -> str:
    """Later ones come later in order."""
    return f"{time.time_ns():020d}-{secrets.token_hex(2)}"


def _together(ranks: Ranks, final: Path, work: Callable[[], T]) -> list[T]:
    """What `work` gives on each rank; when it fails on one, all raise, and nobody waits for ever."""
    result, failure, cause = None, "", None
    try:
        result = work()
    except Exception as error:  # whatever it is, the other ranks must hear of it
        failure, cause = f"{type(error).__name__}: {error}", error
    told = ranks.told((result, failure))
    failures = [f"rank {rank}: {failed}" for rank, (_, failed) in enumerate(told) if failed]
    if failures:
        full = any(word in failed for failed in failures for word in _DISK_FULL)
        todo = "the disk is full: make room, or set a smaller engine.keep_last" if full else "see the log"
        whole = saved(final.parent)
        before = f"the checkpoint before is untouched ({whole[-1].name})" if whole else "there is no earlier checkpoint"
        raise CheckpointError(f"{final}: cannot be saved ({'; '.join(failures)}); {todo}; {before}") from cause
    return [result for result, _ in told]  # pyright: ignore[reportReturnType]  all have succeeded


def _hash_and_sync(root: Path, paths: Sequence[Path]) -> dict[str, str]:
    """The hash of each file, by its place below `root`; all of them, and their folders, are on the disk then."""
    hashes = {}
    for path in sorted(paths):
        if path.is_dir():
            hashes |= _hash_and_sync(root, [*path.iterdir()])
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
            hashes[path.relative_to(root).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    for folder in {path.parent for path in paths}:
        sync_folder(folder)
    return hashes


def _sealed(plain: dict[str, Any]) -> str:
    return json.dumps({**plain, _SEAL: digest(plain)}, indent=2) + "\n"


def _step_of(folder: Path) -> int:
    number = folder.name.removeprefix("step_").partition(".")[0]
    return int(number) if number.isdecimal() else -1


def _prune(checkpoints: Path, kept: Kept, step: int) -> None:
    """Remove what need not be kept: out of sight first, so that no half of a checkpoint is ever seen.

    What lies at later steps than this one, which is just saved, the run has turned away from: it is damaged, or the run
    went back.
    """
    for folder in saved(checkpoints):
        if _step_of(folder) > step:
            _remove(folder)
    folders = saved(checkpoints)
    older, scores = folders[: -kept.last], dict[Path, float]()
    for folder in folders if kept.best else ():
        try:
            scores[folder] = read_meta(folder).metrics[kept.by]
        except (CheckpointError, KeyError) as error:
            logger.warning("%s cannot be among the best: %s", folder, error)
    best = sorted(scores, key=lambda folder: scores[folder], reverse=kept.best_is == "highest")[: kept.best]
    for folder in older:
        if folder not in best:
            _remove(folder)


def _remove(folder: Path) -> None:
    hidden = folder.with_name(f".{folder.name}.old")
    folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)  # what is left goes at the next save
