"""What an ingest will do with each shard, and why; and the linking of shards that are there already."""

import logging
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute

from pipelines.sources import LABEL_FILES, Kept, Sources, known_data_sets
from skeletonllm.errors import ShardError
from skeletonllm.plain import sync_folder, temporary_beside
from skeletonllm.shards.manifest import MANIFEST, read_manifest
from skeletonllm.shards.storage import Location, RemotePath, fetch, has_hash, write
from skeletonllm.shards.writer import rejected_name, shard_name

logger = logging.getLogger(__name__)
pc: Any = pyarrow.compute  # made at its import, where no type checker sees it

Action = Literal["keep", "rebuild", "new", "drop"]
_NAMED = 2  # files named in a reason


@dataclass(frozen=True)
class Step:
    """What is done with one shard."""

    action: Action
    shard: str
    """Its file; of a dropped one, in the previous data set."""
    recordings: int
    files: int
    bytes: int
    why: str


@dataclass(frozen=True)
class Plan:
    """What an ingest would do."""

    folder: str
    """Where the data set will lie."""
    is_done: bool
    """Whether it is there already."""
    goes_on_from: str | None
    """The data set whose shards are kept where they can be."""
    rejected_before: int
    """Inputs that this one had rejected."""
    steps: tuple[Step, ...]

    def total(self, action: Action) -> tuple[int, int, int]:
        """Shards, recordings and bytes of one action."""
        chosen = [step for step in self.steps if step.action == action]
        return len(chosen), sum(step.recordings for step in chosen), sum(step.bytes for step in chosen)


@dataclass(frozen=True)
class Found:
    """A shard that is there: its file, what was rejected beside it, and its hash where a manifest has it."""

    path: Location
    rejected: Location
    sha256: str | None


def find_shards(root: Location, name: str, keys: Collection[str]) -> dict[str, Found]:
    """Shards with these keys in the data sets of a name, finished or not."""
    wanted, found = set(keys), {}
    for kept in known_data_sets(root, name):
        here = {}
        for index, key in enumerate(kept.keys):
            path = kept.folder / shard_name(index, len(kept.keys))
            if key in wanted and key not in found and path.exists():
                here[key] = (path, kept.folder / rejected_name(index))
        known = _hashes(kept.folder) if here else {}
        found.update({key: Found(path, rejected, known.get(path.name)) for key, (path, rejected) in here.items()})
    return found


def link_shards(folder: Location, keys: Sequence[str], found: dict[str, Found]) -> int:
    """Put shards that are known from elsewhere into a data set's folder; how many.

    A shard whose bytes are no longer those of its manifest is left out, and will be made again.
    """
    linked = 0
    for index, key in enumerate(keys):
        target, source = folder / shard_name(index, len(keys)), found.get(key)
        if source is None or target.exists():
            continue
        if source.sha256 is not None and not _is_sound(source.path, source.sha256):
            logger.warning("%s: its bytes are not those of its manifest (sha256); the shard is made again", source.path)
            continue
        if source.rejected.exists():
            _link(source.rejected, folder / rejected_name(index))
        _link(source.path, target)
        linked += 1
    if linked and isinstance(folder, Path):
        sync_folder(folder)
    return linked


def plan_of(
    sources: Sources,
    keys: Sequence[str],
    previous: Kept | None,
    found: Collection[str],
    folder: Location,
    is_done: bool,
) -> Plan:
    """The plan, shard by shard.

    Args:
        sources: what is to be ingested.
        keys: of its shards.
        previous: the data set that the assignment goes on from.
        found: keys whose shards are there.
        folder: where the data set will lie.
        is_done: whether it is there.
    """
    steps = []
    for index, key in enumerate(keys):
        rows, ancestor = sources.shard(index), sources.ancestors[index]
        before = None if previous is None or ancestor < 0 else _rows_of(previous, ancestor)
        if key in found:
            action, why = "keep", "nothing that it is made from has changed"
        elif before is None:
            action, why = "new", "new recordings"
        else:
            action, why = "rebuild", _difference(before, rows, previous, sources)
        steps.append(_step(action, shard_name(index, len(keys)), rows, why))
    if previous is not None:
        left = {*sources.ancestors}
        for index in range(len(previous.keys)):
            if index not in left:
                rows = _rows_of(previous, index)
                why = "none of its recordings is left"
                steps.append(_step("drop", shard_name(index, len(previous.keys)), rows, why))
    rejected = 0
    if previous is not None and (previous.folder / MANIFEST).exists():
        rejected = read_manifest(previous.folder).num_rejected
    return Plan(str(folder), is_done, None if previous is None else str(previous.folder), rejected, tuple(steps))


def _step(action: Action, shard: str, rows: pa.Table, why: str) -> Step:
    num_recordings = len(pc.unique(rows["recording"]))
    return Step(action, shard, num_recordings, len(rows), pc.sum(rows["bytes"]).as_py() or 0, why)


def _rows_of(kept: Kept, index: int) -> pa.Table:
    return kept.rows.filter(pc.equal(kept.rows["shard"], index))


def _difference(before: pa.Table, after: pa.Table, previous: Kept | None, sources: Sources) -> str:
    """Why a shard must be made again."""
    old, new = (
        dict(zip(*rows.select(["file", "sha256"]).to_pydict().values(), strict=True)) for rows in (before, after)
    )
    reasons = _changes(old, new)
    if not reasons and previous is not None:
        reasons = _changes(_labels(previous.sides), _labels(sources.sides))
    return "; ".join(reasons) or "its shard is gone, or its folders now name actions otherwise"


def _changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    kinds = {
        "changed": [file for file, sha256 in new.items() if file in old and old[file] != sha256],
        "removed": [file for file in old if file not in new],
        "added": [file for file in new if file not in old],
    }
    return [f"{_some(files)} {kind}" for kind, files in kinds.items() if files]


def _some(files: Sequence[str]) -> str:
    named = ", ".join(sorted(files)[:_NAMED])
    return named if len(files) <= _NAMED else f"{named} and {len(files) - _NAMED} more"


def _labels(sides: pa.Table) -> dict[str, str]:
    rows = zip(sides["file"].to_pylist(), sides["sha256"].to_pylist(), strict=True)
    return {file: sha256 for file, sha256 in rows if file.rpartition("/")[2] in LABEL_FILES}


def _hashes(folder: Location) -> dict[str, str]:
    """Hashes by file of a finished data set; nothing of one that is not finished."""
    if not (folder / MANIFEST).exists():
        return {}
    return {entry.file: entry.sha256 for entry in read_manifest(folder).shards}


def _is_sound(path: Location, sha256: str) -> bool:
    """Whether a shard's bytes are still those of its manifest."""
    try:
        return has_hash(fetch(path, sha256), sha256)
    except ShardError:
        return False


def _link(source: Location, target: Location) -> None:
    """A second name for a file; a copy inside an object store, or where the file system has no such names."""
    if isinstance(source, RemotePath) or isinstance(target, RemotePath):
        write(target, source.read_bytes())
        return
    temporary = temporary_beside(target)
    try:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    except OSError as error:
        raise ShardError(f"{target}: cannot be written ({error}); free space, then run again") from error
    finally:
        temporary.unlink(missing_ok=True)  # a rename between two names of one file does nothing
