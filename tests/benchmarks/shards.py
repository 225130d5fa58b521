"""How fast clips come out of shards: at random, all of them, and what finding them by id costs in memory."""

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from skeletonllm.plain import digest, sha256_of
from skeletonllm.shards import storage
from skeletonllm.shards.manifest import DatasetRef, Manifest, dataset_folder, write_manifest
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import SCHEMA_VERSION, clips_to_table
from skeletonllm.shards.writer import describe_shard, shard_name, write_shard
from skeletonllm.skeleton.clip import Source
from tests.benchmarks.measure import Row, duration, rate, timed
from tests.makers import make_clip

_LOOKS = 2000
_MILLION = 1_000_000
# Anonymous memory before and after ids can be found: what is mapped costs nothing.
_RSS = """
import re, sys
from pathlib import Path
from skeletonllm.shards.reader import ShardReader
def anonymous(): return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
reader = ShardReader(sys.argv[1])
list(reader.tables())
before = anonymous()
if sys.argv[2] == "index":
    reader.row_of("clip-000000000")
else:
    kept = {clip_id: row for row, clip_id in enumerate(reader.clip_ids())}
print(anonymous() - before)
"""


def write_many(root: Path, num_clips: int, num_shards: int, num_frames: int) -> DatasetRef:
    """Clips of one person and 25 joints, with ids of their own: one shard's movements in every shard."""
    per_shard = num_clips // num_shards
    some = [
        make_clip(f"c{seed}", "kinect_v2_25", num_frames=num_frames, seed=seed, source=_source(seed))
        for seed in range(min(per_shard, 50))
    ]
    table = clips_to_table((some * -(-per_shard // len(some)))[:per_shard])
    folder, entries = dataset_folder(root, "clips", f"{num_clips:012d}"), []
    for shard in range(num_shards):
        ids = pa.array([f"clip-{row:09d}" for row in range(shard * per_shard, (shard + 1) * per_shard)])
        path = folder / shard_name(shard, num_shards)
        write_shard(path, table.set_column(0, table.schema.field(0), ids))
        entries.append(describe_shard(path)[0])
    manifest = Manifest("clips", "clips", SCHEMA_VERSION, "benchmark", 1, {}, [], f"{num_clips:012d}", entries)
    return write_manifest(folder, manifest)


def _source(number: int) -> Source:
    """As of an ingested data set: what differs from clip to clip differs here too."""
    varied = {name: f"{name[0]}{number % 7}" for name in ("subject", "camera", "repetition")}
    file = f"{number:04d}.skeleton"
    return Source("made", "ntu", **varied, file=file, sha256=digest(file), fps_from="format", space="m, +y up")


def shards(runs: int, num_clips: int = 10_000, num_shards: int = 20) -> Iterator[Row]:
    """Clips of 300 frames from the page cache, the same bytes only hashed and only summed, and a million ids."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = write_many(Path(folder), num_clips, num_shards, num_frames=300)
        reader = ShardReader(dataset)
        yield from _at_random(reader, runs)
        yield from _all_of_them(dataset, runs)
        shutil.rmtree(dataset.path)
        many = write_many(Path(folder), _MILLION, 100, num_frames=1)
        for what, how in (("a million ids, to find rows by", "index"), ("the same as a dictionary", "dict")):
            grown = subprocess.run([sys.executable, "-c", _RSS, many.path, how], capture_output=True, check=True).stdout
            yield Row("shards", what, int(grown) / 1e6, "MB", int(grown) / 1e6, int(grown) / 1e6)


def _at_random(reader: ShardReader, runs: int) -> Iterator[Row]:
    rows = np.random.default_rng(0).integers(0, len(reader), _LOOKS).tolist()
    ids = [reader.clip(row).clip_id for row in rows]
    looks: dict[str, Callable[[], None]] = {
        "a clip by row": lambda: _each(reader.clip, rows),
        "a clip by id": lambda: _each(reader.by_id, ids),
        "a clip by row, every float read": lambda: _each(lambda row: reader.clip(row).positions.sum(), rows),
    }
    for what, look in looks.items():
        yield duration("shards", what, [seconds / _LOOKS * 1e6 for seconds in timed(look, runs)], "µs")


def _each(work: Callable, items: list) -> None:
    for item in items:
        work(item)


def _all_of_them(dataset: DatasetRef, runs: int) -> Iterator[Row]:
    files = sorted(Path(dataset.path).glob("*.arrow"))
    num_bytes = sum(path.stat().st_size for path in files) / 1e9

    def scan() -> None:
        storage._hashed.clear()  # as a process that never saw these files
        for clip in ShardReader(dataset).clips():
            clip.positions.sum(), clip.confidence.sum()

    def read() -> None:
        for path in files:
            np.memmap(path, np.uint8, "r")[: path.stat().st_size // 8 * 8].view(np.uint64).sum()

    one = files[0].read_bytes()
    yield rate("shards", "scan: hashed, validated, every float read", "GB/s", num_bytes, timed(scan, runs))
    yield rate(
        "shards", "sha256 of the files, one thread", "GB/s", num_bytes, timed(partial(_each, sha256_of, files), runs)
    )
    yield rate("shards", "sha256 of bytes in memory", "GB/s", len(one) / 1e9, timed(lambda: hashlib.sha256(one), runs))
    yield rate("shards", "every byte of the files, mapped", "GB/s", num_bytes, timed(read, runs))
