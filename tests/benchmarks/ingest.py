"""How fast an ingest is: the parse alone, in this process, and on Ray; and what the driver needs of memory.

`python -m tests.benchmarks.ingest --files 10000` prints it alone. Simulated NTU recordings under many names (hard links,
so they come from the page cache); each measured ingest is a process of its own. CPU times are those of all its processes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.ingest import Files, Recording, process_shard
from skeletonllm.skeleton.formats import find_recordings, read
from skeletonllm.skeleton.simulate import FORMATS_WRITTEN, write_sample_data
from tests.benchmarks.measure import Row, duration, rate, timed

_NUM_FILES = 10_000
_CHILD = """
import json, re, sys, time
from pathlib import Path
from pipelines import ingest
from tests.benchmarks.ingest import cpu_seconds
def anonymous(): return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
source, root, executor, cores = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
started = time.perf_counter()
if executor == "ray":
    import logging, ray
    ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
begun, used = time.perf_counter(), cpu_seconds()
if executor == "scan":
    ingest.plan(source, root)
else:
    ingest.run(source, root, executor=executor)
ended = time.perf_counter()
numbers = {"start_s": begun - started, "work_s": ended - begun, "cpu_s": cpu_seconds() - used, "rss": anonymous()}
print(json.dumps(numbers))
"""


def shard_of(folder: Path, limit: int | None = None) -> Files:
    """The work of one shard: recordings below a folder as the driver would hand them out, hashes aside."""
    paths = find_recordings(folder)[:limit]
    recordings = (Recording(str(path.relative_to(folder)), "", ()) for path in paths)
    labels = tuple(
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("labels.csv"))
    )
    return Files(str(folder), tuple(recordings), labels)


def formats_ingested(folder: Path, runs: int) -> Iterator[Row]:
    """Files of each format to rows of a shard, one process."""
    for name in FORMATS_WRITTEN:
        work = partial(process_shard, shard_of(folder / name, 40))
        yield rate("ingest", name, "clips/s", work().table.num_rows, timed(work, runs))


def ingests(num_files: int = _NUM_FILES) -> Iterator[Row]:
    """NTU recordings to a data set, start to end, once each."""
    group = f"ingest, {num_files:,} NTU files"
    with tempfile.TemporaryDirectory() as place:
        source, few = Path(place) / "source", Path(place) / "few"
        _many_names(Path(place) / "sample", source, num_files)
        _many_names(Path(place) / "sample", few, max(num_files // 10, 1))
        paths = sorted(source.iterdir())
        used = time.process_time()
        parse_s = _seconds(lambda: [read(path) for path in paths])
        parse_cpu_s = time.process_time() - used
        yield rate(group, "parse alone, 1 process", "files/s", num_files, [parse_s])
        scan = _measure(source, Path(place) / "0", "scan", 1)
        yield duration(group, "found and hashed", [scan["work_s"]])
        inline = _measure(source, Path(place) / "1", "inline", 1)
        yield rate(group, "inline", "files/s", num_files, [inline["work_s"]])
        yield _ratio(group, "inline / parse alone, CPU time", inline["cpu_s"] / parse_cpu_s)
        for cores in sorted({1, len(os.sched_getaffinity(0))}):
            on_ray = _measure(source, Path(place) / f"ray-{cores}", "ray", cores)
            what = f"Ray, {cores} core{'s' if cores > 1 else ''}"
            yield rate(group, what, "files/s", num_files, [on_ray["work_s"]])
            yield _ratio(group, f"{what} / inline, CPU time", on_ray["cpu_s"] / inline["cpu_s"])
            yield _ratio(group, f"{what} / inline, time x cores", on_ray["work_s"] * cores / inline["work_s"])
            yield duration(group, f"{what}, start", [on_ray["start_s"]])
        again = _measure(source, Path(place) / "1", "inline", 1)
        yield duration(group, "again, nothing to do", [again["work_s"]])
        tenth = _measure(few, Path(place) / "few-data", "inline", 1)
        yield Row(group, "driver's memory", *_mebibytes(inline["rss"]))
        yield Row(group, "driver's memory, a tenth of the files", *_mebibytes(tenth["rss"]))


def cpu_seconds() -> float:
    """CPU time of this process and of all below it, as Ray's are: where others use the machine too, it says more."""
    parents, used = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.name)] = int(fields[1])
        used[int(path.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return sum(used.get(pid, 0.0) for pid in ours)


def _many_names(sample: Path, folder: Path, count: int) -> None:
    if not sample.exists():
        write_sample_data(sample, num_performers=4)
    originals = sorted((sample / "ntu").glob("*.skeleton"))
    folder.mkdir()
    for number in range(count):
        name = f"S{number // 2400 + 1:03d}C001P{number // 60 % 40 + 1:03d}R001A{number % 60 + 1:03d}.skeleton"
        os.link(originals[number % len(originals)], folder / name)


def _measure(source: Path, root: Path, executor: str, cores: int) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(source), str(root), executor, str(cores)],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _ratio(group: str, what: str, value: float) -> Row:
    return Row(group, what, value, "x", value, value)


def _mebibytes(size: float) -> tuple[float, str, float, float]:
    return size / 2**20, "MiB", size / 2**20, size / 2**20


def main() -> None:
    """Print the rows of `ingests`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=_NUM_FILES)
    for row in ingests(parser.parse_args().files):
        print(f"{row.group}: {row.what:<45} {row.value:10.3f} {row.unit}", flush=True)


if __name__ == "__main__":
    main()
