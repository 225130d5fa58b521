"""Write one shard so that it exists only when it is whole."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from skeletonllm.errors import ShardError
from skeletonllm.plain import canonical_json, sha256_of, sync_folder, temporary_beside
from skeletonllm.shards.manifest import ShardEntry
from skeletonllm.shards.storage import Location, RemotePath, fetch

_STATISTICS = b"statistics"


def shard_name(index: int, count: int) -> str:
    """`shard-00012-of-00064.arrow`."""
    return f"shard-{index:05d}-of-{count:05d}.arrow"


def rejected_name(index: int) -> str:
    """`rejected-00012.arrow`."""
    return f"rejected-{index:05d}.arrow"


def write_shard(path: Location, table: pa.Table, statistics: dict[str, Any] | None = None) -> None:
    """Write a table as an Arrow IPC file: temporary name, flush, rename. Same table, same bytes.

    Args:
        path: where the shard shall appear.
        table: written as one batch, so that rows are found by number.
        statistics: plain values, kept in the file; totals of a data set are summed from these, never from memory.

    Raises:
        ShardError: the disk is full, the store cannot be reached, or it may not be written to.
    """
    metadata = {**(table.schema.metadata or {}), _STATISTICS: canonical_json(statistics or {}).encode()}
    table = table.replace_schema_metadata(metadata).combine_chunks()
    try:
        if isinstance(path, RemotePath):
            sink = pa.BufferOutputStream()
            _write_table(sink, table)
            path.write_whole(sink.getvalue())
        else:
            _write_file(path, table)
    except OSError as error:
        raise ShardError(
            f"{path}: cannot be written ({error}); free space or choose another folder, then run again"
        ) from error


def describe_shard(path: Location) -> tuple[ShardEntry, dict[str, Any]]:
    """A shard's line in the manifest, and the statistics it carries; of what really lies there, so it is fetched."""
    local = fetch(path)
    with pa.memory_map(str(local)) as source:
        reader = pa.ipc.open_file(source)
        rows = sum(reader.get_batch(batch).num_rows for batch in range(reader.num_record_batches))
        statistics = json.loads((reader.schema.metadata or {}).get(_STATISTICS, b"{}"))
    return ShardEntry(path.name, rows, local.stat().st_size, sha256_of(local)), statistics


def _write_table(sink: pa.NativeFile, table: pa.Table) -> None:
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=max(table.num_rows, 1))


def _write_file(path: Path, table: pa.Table) -> None:
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(temporary), "wb") as sink:
            _write_table(sink, table)
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
