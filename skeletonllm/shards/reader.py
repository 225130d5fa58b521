"""Read a data set by memory map: whole tables, or clips by row or id. Nothing is served from a damaged shard."""

import bisect
import functools
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from skeletonllm.errors import ShardError
from skeletonllm.shards.manifest import DatasetRef, Manifest, ShardEntry, read_manifest
from skeletonllm.shards.order import Order
from skeletonllm.shards.rows import ClipRows
from skeletonllm.shards.schema import check_schema
from skeletonllm.shards.storage import Location, fetch, has_hash, locate
from skeletonllm.skeleton.clip import Clip

# Shards that are checked while the one before them is read. Hashing lets go of Python's lock, and is slower than reading.
_AHEAD = 2
T = TypeVar("T")


def open_shard(path: Location, entry: ShardEntry | None = None, cache: Path | None = None) -> pa.Table:
    """The rows of one shard, memory-mapped.

    The bytes are checked against the manifest's hash where an entry is given, and Arrow's structure always: a damaged
    offset would otherwise end the process with a bus error at first use.

    Args:
        path: of the shard; one in an object store is copied into the cache folder first.
        entry: its line in the manifest.
        cache: see `skeletonllm.shards.storage.fetch`.

    Raises:
        ShardError: missing, cut or changed.
    """
    try:
        local = fetch(path, entry and entry.sha256, cache)
        if entry is not None and not has_hash(local, entry.sha256):
            raise ShardError(
                f"{path}: its bytes are not those of the manifest (sha256); delete the data set's folder and rebuild it"
            )
        # The map outlives its file: a data set of thousands of shards needs no thousands of open files.
        with pa.memory_map(str(local)) as source:
            table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:  # a damaged column name is not UTF-8
        raise ShardError(f"{path}: not a whole shard ({error}); delete it and run its pipeline again") from error
    if entry is not None and table.num_rows != entry.rows:
        raise ShardError(f"{path}: {table.num_rows} rows, its manifest says {entry.rows}; run its pipeline again")
    return table


class ShardReader:
    """A data set's rows, in order, by number or by clip id. Each shard is checked once, when it is opened.

    Args:
        dataset: the data set, its folder or its URI.
        cache: where shards of an object store are copied to; see `skeletonllm.shards.storage.fetch`.

    Raises:
        ShardError: there is no such data set, or its manifest is damaged.
    """

    def __init__(self, dataset: DatasetRef | Location | str, cache: Path | None = None) -> None:
        self.folder = locate(dataset.path if isinstance(dataset, DatasetRef) else dataset)
        self.manifest: Manifest = read_manifest(self.folder)
        self._cache = cache
        self._shards: dict[int, pa.Table] = {}
        self._clips: dict[int, ClipRows] = {}
        self._starts = [0]
        for shard in self.manifest.shards:
            self._starts.append(self._starts[-1] + shard.rows)

    def __len__(self) -> int:
        return self._starts[-1]

    def shard(self, index: int) -> pa.Table:
        """The rows of shard `index`."""
        if index not in self._shards:
            self._shards[index] = self._open(self.manifest.shards[index], self.manifest.schema)
        return self._shards[index]

    def tables(self) -> Iterator[pa.Table]:
        """Shard after shard; the next ones are checked in threads meanwhile."""
        return self._ahead(self.shard)

    def table(self) -> pa.Table:
        """All rows. Metadata of single shards, such as topologies, is left out."""
        return pa.concat_tables([table.replace_schema_metadata(None) for table in self.tables()])

    def rejected(self) -> list[dict[str, str]]:
        """What was rejected: file, place and reason."""
        return [row for entry in self.manifest.rejected for row in self._open(entry, "rejected").to_pylist()]

    def clip(self, row: int) -> Clip:
        """The clip in a row, its arrays still in the mapped file.

        Raises:
            IndexError: there is no such row.
        """
        index, place = self._place(row)
        return self._rows(index)[place]

    def by_id(self, clip_id: str) -> Clip:
        """The clip with this id.

        Raises:
            ShardError: the data set has none.
        """
        return self.clip(self.row_of(clip_id))

    def row_of(self, clip_id: str) -> int:
        """The row of the clip with this id.

        Raises:
            ShardError: the data set has none.
        """
        hashes, rows = self._index
        wanted = hash(clip_id)
        place = int(hashes.searchsorted(wanted))
        while place < len(hashes) and hashes[place] == wanted:  # two ids may share a hash
            if self._id(rows.item(place)) == clip_id:
                return rows.item(place)
            place += 1
        some = [self._id(row) for row in range(min(3, len(self)))]
        raise ShardError(f"{self.folder}: no clip {clip_id!r} among {len(self)}; ids look like {some}")

    def clip_ids(self) -> Iterator[str]:
        """All clip ids, row after row."""
        return (rows.clip_id(row) for rows in self._ahead(self._rows) for row in range(len(rows)))

    def clips(self) -> Iterator[Clip]:
        """All clips in order; the next shards are checked in threads meanwhile."""
        return (clip for rows in self._ahead(self._rows) for clip in rows)

    def batches(
        self,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        sample: int = 0,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[list[Clip]]:
        """Shuffled clips without end, the same for any number of ranks and workers; see `Order.batches`.

        A run that has seen `sample` clips of `epoch`, over all ranks, goes on with these two numbers. For torch, let an
        `IterableDataset` yield from here with the `id` and `num_workers` of `get_worker_info()`, and give it to a
        `DataLoader` with `batch_size=None`.
        """
        batches = Order(len(self), seed).batches(batch_size, epoch, sample, rank, world_size, worker, num_workers)
        return ([self.clip(row) for row in rows.tolist()] for rows in batches)

    def _open(self, entry: ShardEntry, schema: str) -> pa.Table:
        path = self.folder / entry.file
        table = open_shard(path, entry, self._cache)
        check_schema(table.schema, schema, self.manifest.schema_version, str(path))
        return table

    def _ahead(self, opened: Callable[[int], T]) -> Iterator[T]:
        shards = iter(range(len(self.manifest.shards)))
        with ThreadPoolExecutor(_AHEAD) as pool:
            waiting = deque(pool.submit(opened, index) for index in itertools.islice(shards, _AHEAD))
            while waiting:
                ready = waiting.popleft().result()
                waiting.extend(pool.submit(opened, index) for index in itertools.islice(shards, 1))
                yield ready

    def _place(self, row: int) -> tuple[int, int]:
        if not 0 <= row < len(self):
            raise IndexError(f"{self.folder}: row {row} of {len(self)}")
        index = bisect.bisect_right(self._starts, row) - 1
        return index, row - self._starts[index]

    def _rows(self, index: int) -> ClipRows:
        if index not in self._clips:
            table = self.shard(index)
            batch = table.combine_chunks().to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
            self._clips[index] = ClipRows(batch[0], str(self.folder / self.manifest.shards[index].file))
        return self._clips[index]

    def _id(self, row: int) -> str:
        index, place = self._place(row)
        return self._rows(index).clip_id(place)

    @functools.cached_property
    def _index(self) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the ids, sorted, and the row of each: 12 bytes an id instead of a dictionary's 150."""
        hashes = np.fromiter(map(hash, self.clip_ids()), np.int64, len(self))
        rows = np.argsort(hashes, kind="stable").astype(np.uint32)
        return hashes[rows], rows
