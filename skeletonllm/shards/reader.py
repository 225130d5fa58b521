"""Read a data set by memory map: whole tables, or clips by row or id. Nothing is served from a damaged shard."""

import functools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.ipc

from skeletonllm.errors import ShardError
from skeletonllm.plain import sha256_of
from skeletonllm.shards.manifest import DatasetRef, Manifest, ShardEntry, read_manifest
from skeletonllm.shards.schema import clip_at
from skeletonllm.skeleton.clip import Clip


def open_shard(path: Path, entry: ShardEntry | None = None) -> pa.Table:
    """The rows of one shard, memory-mapped.

    The bytes are checked against the manifest's hash where an entry is given, and Arrow's structure always: a damaged
    offset would otherwise end the process with a bus error at first use.

    Raises:
        ShardError: missing, cut or changed.
    """
    try:
        if entry is not None and sha256_of(path) != entry.sha256:
            raise ShardError(
                f"{path}: its bytes are not those of the manifest (sha256); delete the data set's folder and rebuild it"
            )
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        table.validate(full=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise ShardError(f"{path}: not a whole shard ({error}); delete it and run its pipeline again") from error
    return table


class ShardReader:
    """A data set's rows, in order, by number or by clip id. Each shard is checked once, when it is opened."""

    def __init__(self, dataset: DatasetRef | Path | str) -> None:
        self.folder = Path(dataset.path if isinstance(dataset, DatasetRef) else dataset)
        self.manifest: Manifest = read_manifest(self.folder)
        self._starts = [0]
        for shard in self.manifest.shards:
            self._starts.append(self._starts[-1] + shard.rows)

    def __len__(self) -> int:
        return self._starts[-1]

    @functools.cache  # noqa: B019  a reader lives as long as the process that reads
    def shard(self, index: int) -> pa.Table:
        """The rows of shard `index`."""
        entry = self.manifest.shards[index]
        return open_shard(self.folder / entry.file, entry)

    def tables(self) -> Iterator[pa.Table]:
        """Shard after shard."""
        return (self.shard(index) for index in range(len(self.manifest.shards)))

    def table(self) -> pa.Table:
        """All rows. Metadata of single shards, such as topologies, is left out."""
        return pa.concat_tables([table.replace_schema_metadata(None) for table in self.tables()])

    def rejected(self) -> list[dict[str, str]]:
        """What was rejected: file, place and reason."""
        return [
            row for entry in self.manifest.rejected for row in open_shard(self.folder / entry.file, entry).to_pylist()
        ]

    def clip(self, row: int) -> Clip:
        """The clip in a row, its arrays still in the mapped file."""
        index = next(i for i, start in enumerate(self._starts[1:]) if row < start)
        return clip_at(self.shard(index), row - self._starts[index])

    @functools.cached_property
    def rows_by_id(self) -> dict[str, int]:
        """Row number of each clip id."""
        ids = (clip_id for table in self.tables() for clip_id in table.column("clip_id").to_pylist())
        return {clip_id: row for row, clip_id in enumerate(ids)}

    def by_id(self, clip_id: str) -> Clip:
        """The clip with this id.

        Raises:
            ShardError: the data set has none.
        """
        row = self.rows_by_id.get(clip_id)
        if row is None:
            raise ShardError(f"{self.folder}: no clip {clip_id!r} among {len(self)}; ids look like {self._some_ids()}")
        return self.clip(row)

    def clips(self) -> Iterator[Clip]:
        """All clips in order."""
        return (self.clip(row) for row in range(len(self)))

    def _some_ids(self) -> list[str]:
        return list(self.rows_by_id)[:3]
