"""Kill an ingest on Ray again and again: it must end in the bytes of an undisturbed run.

`python -m tests.kills --times 100`. A disturbed run is killed a few times at random moments (the driver with its process
group, or one worker), then finished. Most runs share one Ray; some start their own, whose processes are killed too.
"""

import argparse
import multiprocessing
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path

from pipelines import ingest
from pipelines.ingest import IngestConfig
from skeletonllm.plain import sha256_of
from skeletonllm.shards.manifest import DatasetRef, read_manifest
from skeletonllm.shards.reader import ShardReader
from tests.pipelines.recordings import ntu_name, write_cut, write_nobody, write_recordings

CONFIG = IngestConfig(files_per_shard=2, max_rejected=0.5)
_NUM_RECORDINGS = 40
# A driver is forked from a process that has imported everything: seconds less for each of hundreds of starts.
_STARTER = multiprocessing.get_context("forkserver")
_STARTER.set_forkserver_preload(["ray", "pipelines.ingest", "skeletonllm.skeleton.formats"])
_TIMEOUT_S = 240.0


@dataclass
class Kills:
    """How often what was killed."""

    before_first_shard: int = 0
    between_shards: int = 0
    after_last_shard: int = 0
    workers: int = 0
    too_late: int = 0
    starts: int = 0


def write_source(folder: Path) -> Path:
    """Forty recordings in three folders with labels, of which a few are damaged or show nobody."""
    per_folder = _NUM_RECORDINGS // 3
    for at, name in enumerate(("a", "b", "c")):
        write_recordings(folder / name, range(at * per_folder, (at + 1) * per_folder))
    write_cut(folder / "a" / ntu_name(500))
    write_nobody(folder / "b" / ntu_name(501))
    (folder / "c" / "labels.csv").write_text("clip_id,action\nnobody-has-this,wave\n")
    return folder


def content(data_set: DatasetRef) -> dict[str, str]:
    """The hash of every file of a data set; of the manifest all but its times."""
    folder = Path(data_set.path)
    files = {path.name: sha256_of(path) for path in folder.iterdir() if not path.name.startswith(".")}
    manifest = {**vars(read_manifest(folder)), "created_at": "", "built_s": 0.0}
    return {**files, "manifest.json": repr(manifest)}


def check(data_set: DatasetRef, expected: dict[str, str]) -> None:
    """Same bytes, no clip lost, none twice, all rejections there."""
    assert content(data_set) == expected
    reader = ShardReader(data_set)
    ids = [clip_id for table in reader.tables() for clip_id in table["clip_id"].to_pylist()]
    assert len(ids) == len(set(ids)) == _NUM_RECORDINGS // 3 * 3
    assert sorted(row["kind"] for row in reader.rejected()) == ["damaged", "label without a clip", "no body"]


@contextmanager
def ray_head() -> Iterator[dict[str, str]]:
    """A Ray of two cores in a process group of its own; the environment that names it."""
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before = dict(os.environ)
    os.environ.update(secret, RAY_USAGE_STATS_ENABLED="0")
    forkserver.ensure_running()  # Ray reads the token when it is imported, which is here
    environment = dict(os.environ)
    os.environ.clear()
    os.environ.update(before)
    with subprocess.Popen(
        [
            str(Path(sys.executable).parent / "ray"),
            *["start", "--head", "--block", "--num-cpus=2", "--port=0", "--include-dashboard=false"],
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as head:
        try:
            yield {**environment, "RAY_ADDRESS": _address(head)}
        finally:
            kill_tree(head.pid)


def _address(head: subprocess.Popen[str]) -> str:
    said = []
    for line in head.stdout or ():
        said.append(line)
        if "--address='" in line:
            return line.split("--address='")[1].split("'")[0]
    raise RuntimeError("".join(said))


def run_disturbed(
    source: Path, root: Path, environment: dict[str, str], chance: random.Random, kills: Kills
) -> DatasetRef:
    """An ingest that is killed once or twice, then finished."""
    for _ in range(chance.choice((1, 1, 2))):
        child = start(source, root, environment)
        kills.starts += 1
        disturb(child, root, environment, chance, kills)
    child = start(source, root, environment)
    kills.starts += 1
    child.join(_TIMEOUT_S)
    assert child.exitcode == 0, (root / "said").read_text()[-3000:]
    return ingest.run(source, root, CONFIG)  # finds it done


def start(source: Path, root: Path, environment: dict[str, str]) -> BaseProcess:
    """A driver in a process group of its own."""
    child = _STARTER.Process(target=_drive, args=(source, root, environment))
    child.start()
    return child


def _drive(source: Path, root: Path, environment: dict[str, str]) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    root.mkdir(exist_ok=True)
    said = os.open(root / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(said, stream)
    ingest.run(source, root, CONFIG, "ray")


def disturb(child: BaseProcess, root: Path, environment: dict[str, str], chance: random.Random, kills: Kills) -> None:
    """Wait for some shards and a moment more, then kill a worker or the driver, and the driver in the end."""
    num_shards = _NUM_RECORDINGS // CONFIG.files_per_shard
    kind = chance.random()
    if kind < 0.15:
        _wait(child, lambda: False, chance.uniform(0, 3.0))
    else:
        wanted = num_shards if kind > 0.9 else chance.randint(1, num_shards - 1)
        _wait(child, lambda: len(shards(root)) >= wanted, _TIMEOUT_S)
        _wait(child, lambda: False, chance.uniform(0, 0.02))
    workers = descendants(os.getpid(), "_make_shard") if chance.random() < 0.3 else []
    if workers:
        _kill(chance.choice(workers))
        kills.workers += 1
        _wait(child, lambda: False, chance.uniform(0, 0.5))
    there = len(shards(root))
    if child.exitcode is not None or list(root.glob("*/*/manifest.json")):
        kills.too_late += 1
    elif there == 0:
        kills.before_first_shard += 1
    elif there < num_shards:
        kills.between_shards += 1
    else:
        kills.after_last_shard += 1
    if "RAY_ADDRESS" in environment:
        _kill(child.pid or 0)
    else:
        kill_tree(child.pid or 0)
    child.join(_TIMEOUT_S)


def shards(root: Path) -> list[Path]:
    """The shards that are there."""
    return list(root.glob("*/*/shard-*"))


def _wait(child: BaseProcess, is_over: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end and child.exitcode is None and not is_over():
        time.sleep(0.002)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def descendants(parent: int, called: str = "") -> list[int]:
    """Processes below a process, by name."""
    children: dict[int, list[tuple[int, str]]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            above = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            name = (path / "cmdline").read_bytes().decode("utf-8", "replace")
        except (OSError, ValueError):
            continue
        children.setdefault(above, []).append((int(path.name), name))
    found, left = [], [parent]
    while left:
        below = children.get(left.pop(), [])
        left += [pid for pid, _ in below]
        found += [pid for pid, name in below if called in name]
    return found


def kill_tree(pid: int) -> None:
    """Kill a process of ours and all below it: Ray's own are in groups of their own."""
    for one in [pid, *reversed(descendants(pid))]:
        _kill(one)


def main() -> None:
    """Run them and say what was killed when."""
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=100, help="disturbed runs")
    parser.add_argument("--own-ray", type=float, default=0.1, help="share of runs that start their own Ray")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started, kills = time.monotonic(), Kills()
    with tempfile.TemporaryDirectory() as place, ray_head() as environment:
        source = write_source(Path(place) / "source")
        expected = content(ingest.run(source, Path(place) / "undisturbed", CONFIG))
        for number in range(given.times):
            chance = random.Random(f"{given.seed}/{number}")
            alone = chance.random() < given.own_ray
            own = {name: value for name, value in environment.items() if not (alone and name == "RAY_ADDRESS")}
            root = Path(place) / f"run-{number}"
            check(run_disturbed(source, root, own, chance, kills), expected)
            print(f"{number + 1}/{given.times} {time.monotonic() - started:.0f} s {kills}", flush=True)


if __name__ == "__main__":
    main()
