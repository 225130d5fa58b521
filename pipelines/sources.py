"""What lies in a folder of recordings, file by file with its hash, and which shard each recording belongs to.

Flat Arrow tables: a hundred thousand files are a few megabytes. Knows files, not what is in them.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from skeletonllm.errors import DataError, FormatError, ShardError
from skeletonllm.log import progress
from skeletonllm.plain import canonical_json, sha256_of
from skeletonllm.shards.manifest import MANIFEST
from skeletonllm.shards.reader import open_shard
from skeletonllm.shards.storage import Location
from skeletonllm.shards.writer import write_shard

logger = logging.getLogger(__name__)
pc: Any = pyarrow.compute  # made at its import, where no type checker sees it

FILE = "sources.arrow"
LABEL_FILES = ("labels.csv", "actions.txt", "recordings.toml")
_LICENCE_NAMES = ("LICENSE", "LICENCE", "COPYING", "TERMS")
_HASHING_THREADS = 2
_BATCH = 1024
# A file that was written this shortly before it was hashed may change again without a new time stamp: git's rule.
_SETTLED_NS = 2_000_000_000
_STAMP = ("file", "bytes", "mtime_ns", "ctime_ns", "inode")

# One file a row: by shard, recording and file. Side files belong to no shard (-1) and no recording ("").
SOURCES = pa.schema(
    [
        pa.field("shard", pa.int32(), nullable=False),
        pa.field("recording", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class Sources:
    """The recordings below a folder, each in a shard.

    Args:
        rows: of `SOURCES`, of all recordings; paths are relative to the folder.
        sides: of `SOURCES`, of labels, declarations and licences.
        ancestors: of each shard, its number in the previous data set; -1 where it has none.
    """

    rows: pa.Table
    sides: pa.Table
    ancestors: tuple[int, ...] = ()

    @property
    def num_shards(self) -> int:
        """How many shards hold all recordings."""
        return int(self.rows["shard"][-1].as_py()) + 1 if len(self.rows) else 0

    def shard(self, index: int) -> pa.Table:
        """The rows of one shard."""
        start, end = np.searchsorted(self.rows["shard"].to_numpy(), (index, index + 1)).tolist()
        return self.rows.slice(start, end - start)

    def recordings(self) -> pa.Array:
        """All recordings, each once."""
        return pc.unique(self.rows["recording"])

    def label_files(self, folders: Iterable[str]) -> list[dict[str, Any]]:
        """The rows of the label files that speak of recordings in some folders: there, and in those above."""
        above = {"", *folders}
        for folder in folders:
            while folder := folder.rpartition("/")[0]:
                above.add(folder)
        rows = ((row, row["file"].rpartition("/")) for row in self.sides.to_pylist())
        return [row for row, (folder, _, name) in rows if name in LABEL_FILES and folder in above]

    def licence_files(self) -> list[str]:
        """Licences that lie beside the recordings."""
        names = self.sides["file"].to_pylist()
        return [name for name in names if name.rpartition("/")[2] not in LABEL_FILES]


@dataclass(frozen=True)
class Kept:
    """What a data set that is there, finished or not, was made from."""

    folder: Location
    rows: pa.Table
    sides: pa.Table
    keys: tuple[str, ...]
    made_by: str


def scan(folder: Path, format: str | None, cache: Location, save: bool = True) -> tuple[pa.Table, pa.Table]:
    """Rows of `SOURCES` for all recordings below a folder, and for the side files; nothing is assigned yet.

    Args:
        folder: absolute.
        format: only recordings of this format, found by suffix; by default all formats, found by content.
        cache: a file that keeps hashes by path, size, times and inode; changed files are hashed anew.
        save: whether the cache is written.

    Raises:
        DataError: a file's name is no text, or a file vanished.
    """
    pairs = [(_relative(one, folder), _relative(file, folder)) for one, file in _recorded(folder, format)]
    sides = [_relative(path, folder) for path in _side_files(folder)]
    for name in (*(file for _, file in pairs), *sides):
        if not name.isascii():
            _check_text(name)
    files = pa.table({"recording": [one for one, _ in pairs], "file": [file for _, file in pairs]}, _PAIRS)
    hashed = _hash(
        folder, pc.unique(pa.concat_arrays([_flat(files["file"]), pa.array(sides, pa.string())])), cache, save
    )
    side_rows = pa.table({"recording": [""] * len(sides), "file": sides}, _PAIRS)
    return _with_hashes(files, hashed), _with_hashes(side_rows, hashed)


def assign(rows: pa.Table, sides: pa.Table, previous: Kept | None, per_shard: int) -> Sources:
    """Put each recording into a shard.

    A recording that was there before stays in its shard; new ones go to new shards, in order; shards that nothing is
    left of are dropped.

    Args:
        rows: of `scan`.
        sides: of `scan`.
        previous: the data set to start from, if any.
        per_shard: recordings of a new shard.
    """
    recordings = pc.unique(rows["recording"]).sort()
    before = np.full(len(recordings), -1, np.int64)
    if previous is not None:
        at = pc.index_in(recordings, value_set=_flat(previous.rows["recording"])).fill_null(-1).to_numpy()
        before[at >= 0] = previous.rows["shard"].to_numpy()[at[at >= 0]]
    is_new = before < 0
    ancestors, kept = np.unique(before[~is_new], return_inverse=True)
    shards = np.empty(len(recordings), np.int32)
    shards[~is_new] = kept
    shards[is_new] = len(ancestors) + np.arange(is_new.sum()) // per_shard
    num_new = -(-int(is_new.sum()) // per_shard)
    column = pa.array(shards[pc.index_in(_flat(rows["recording"]), value_set=recordings).to_numpy()], pa.int32())
    assigned = rows.set_column(0, SOURCES.field("shard"), column)
    order = [("shard", "ascending"), ("recording", "ascending"), ("file", "ascending")]
    return Sources(assigned.sort_by(order).combine_chunks(), sides, (*ancestors.tolist(), *[-1] * num_new))


def write_sources(folder: Location, sources: Sources, keys: Iterable[str], made_by: str) -> None:
    """Note in a data set's folder what its shards are made from, before the first is made."""
    table = pa.concat_tables([sources.sides, sources.rows])
    zeros = pa.array(np.zeros(len(table), np.int64))  # times are this machine's; the data set's bytes are not
    table = table.set_column(SOURCES.get_field_index("mtime_ns"), SOURCES.field("mtime_ns"), zeros)
    metadata = {"keys": canonical_json(list(keys)), "made_by": made_by}
    write_shard(folder / FILE, table.replace_schema_metadata(metadata))


def read_sources(folder: Location) -> Kept:
    """What `write_sources` wrote.

    Raises:
        ShardError: missing or damaged.
    """
    table = open_shard(folder / FILE)
    metadata = table.schema.metadata or {}
    is_side = pc.less(table["shard"], 0)
    rows, sides = table.filter(pc.invert(is_side)), table.filter(is_side)
    return Kept(folder, rows, sides, tuple(json.loads(metadata[b"keys"])), metadata[b"made_by"].decode())


def known_data_sets(root: Location, name: str) -> Iterator[Kept]:
    """The data sets of a name with their sources, finished or not; that which was asked for last comes first."""
    found = []
    for path in (root / name).glob(f"*/{FILE}"):
        manifest = path.parent / MANIFEST
        newest = (manifest if manifest.exists() else path).stat().st_mtime_ns
        found.append((newest, path.parent.name, path.parent))
    for _, _, folder in sorted(found, key=lambda one: one[:2], reverse=True):
        yield read_sources(folder)


def shares_recordings(rows: pa.Table, kept: Kept) -> bool:
    """Whether a recording of a scan was in a data set."""
    return bool(pc.any(pc.is_in(rows["recording"], value_set=_flat(kept.rows["recording"]))).as_py())


def parents_of(recordings: Iterable[str]) -> set[str]:
    """The folders that recordings lie in, relative."""
    return {recording.rpartition("/")[0] for recording in recordings}


_PAIRS = pa.schema([SOURCES.field("recording"), SOURCES.field("file")])


def _flat(column: pa.ChunkedArray) -> pa.Array:
    return pa.concat_arrays([*column.chunks, pa.array([], column.type)])


def _relative(path: Path, folder: Path) -> str:
    text, start = str(path), f"{folder}/"
    return text[len(start) :] if text.startswith(start) else os.path.relpath(text, folder)


def _check_text(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{os.fsencode(name)!r}: the file's name is no text (UTF-8); rename it") from None


def _recorded(folder: Path, format: str | None) -> Iterator[tuple[Path, Path]]:
    """Each recording with each file it is made of."""
    from skeletonllm.skeleton.formats import files_of, find_recordings, formats

    if format is not None:
        chosen = formats()[format]
        for path in _with_suffix(folder, chosen.suffixes, chosen.is_folder):
            own = sorted(path.iterdir()) if chosen.is_folder else [path]
            yield from ((path, file) for file in sorted({*own, *chosen.beside(path)}) if file.is_file())
        return
    for path in find_recordings(folder):
        try:
            files = files_of(path)
        except FormatError:  # it has the suffix of a format, but is damaged: reading it will say how
            files = [path]
        yield from ((path, file) for file in files)


def _with_suffix(folder: Path, suffixes: tuple[str, ...], is_folder: bool) -> list[Path]:
    """Files of a suffix, or the folders that hold some; sorted."""
    found = [path for path in _walk(folder) if path.suffix.lower() in suffixes and path.name not in LABEL_FILES]
    return sorted({path.parent for path in found} if is_folder else found)


def _side_files(folder: Path) -> list[Path]:
    return sorted(
        path for path in _walk(folder) if path.name in LABEL_FILES or path.name.upper().startswith(_LICENCE_NAMES)
    )


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder; what is hidden is left out."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(place, name) for name in names if not name.startswith("."))


def _with_hashes(pairs: pa.Table, hashed: pa.Table) -> pa.Table:
    at = pc.index_in(_flat(pairs["file"]), value_set=_flat(hashed["file"]))
    columns = [hashed[name].take(at) for name in ("bytes", "mtime_ns", "sha256")]
    shard = pa.array(np.full(len(pairs), -1, np.int32))
    return pa.table([shard, pairs["recording"], pairs["file"], *columns], schema=SOURCES)


def _hash(folder: Path, files: pa.Array, cache: Location, save: bool) -> pa.Table:
    """The stamp and hash of each file; from the cache where its stamp is that of the cache."""
    started = time.time_ns()
    stamps = _stamps(folder, files.sort())
    known = _read_cache(cache)
    table = stamps.join(known, keys=list(_STAMP), join_type="left outer").sort_by("file").combine_chunks()
    hashes: list[str] = table["sha256"].to_pylist()
    missing = [index for index, sha256 in enumerate(hashes) if sha256 is None]
    names = table["file"].take(pa.array(missing, pa.int64())).to_pylist()
    with progress("hashing", len(missing), "files") as tick, ThreadPoolExecutor(_HASHING_THREADS) as pool:
        for start in range(0, len(missing), _BATCH):
            batch = names[start : start + _BATCH]
            for index, sha256 in zip(
                missing[start:], pool.map(lambda name: _sha256(folder / name), batch), strict=False
            ):
                hashes[index] = sha256
            tick(min(start + _BATCH, len(missing)))
    table = table.set_column(table.num_columns - 1, "sha256", pa.array(hashes, pa.string()))
    if save and missing:
        newest = pc.max_element_wise(table["mtime_ns"], table["ctime_ns"])
        is_settled = pc.and_(pc.less(newest, started - _SETTLED_NS), pc.not_equal(table["sha256"], ""))
        write_shard(cache, table.filter(is_settled))
    return table


def _stamps(folder: Path, files: pa.Array) -> pa.Table:
    columns: list[list[Any]] = [[], [], [], []]
    for name in files.to_pylist():
        try:
            stat = os.stat(f"{folder}/{name}")
        except OSError as error:
            raise DataError(f"{folder}/{name}: vanished while the folder was looked through; run again") from error
        for column, value in zip(columns, (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino), strict=True):
            column.append(value)
    return pa.table([files, *(pa.array(column, pa.int64()) for column in columns)], names=list(_STAMP))


def _read_cache(cache: Location) -> pa.Table:
    fields = [("file", pa.string()), *((name, pa.int64()) for name in _STAMP[1:]), ("sha256", pa.string())]
    empty = pa.schema(fields).empty_table()
    if not cache.exists():
        return empty
    try:
        table = open_shard(cache).replace_schema_metadata(None)
    except ShardError as error:
        logger.warning("%s; all files are hashed again", error)
        return empty
    return table if table.schema.equals(empty.schema) else empty


def _sha256(path: Path) -> str:
    """The file's hash; empty where it cannot be read, which is what reading it will tell."""
    try:
        return sha256_of(path)
    except OSError:
        return ""
