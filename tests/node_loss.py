"""Take a machine away from a Ray cluster of two at work, and give it another: what is made must be the same.

`python -m tests.node_loss`, or a part of it, `python -m tests.node_loss ingest`. The machines are those of Ray's own test
cluster, all on this one; what is expected is made undisturbed, without Ray.
"""

import argparse
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipelines import ingest
from pipelines.ingest import IngestConfig
from tests.kills import content, descendants, shards
from tests.pipelines.recordings import ntu_name, write_cut, write_nobody, write_recordings

_BEGAN = time.monotonic()
_INGEST = IngestConfig(files_per_shard=8, max_rejected=0.5)
_NUM_RECORDINGS, _NUM_DIFFERENT = 160, 8
_NUM_THERE = 3  # shards, when the machine is lost
_NUM_STEPS = 30
# So that a machine which falls silent is given up in seconds.
_HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


def say(what: str) -> None:
    """When, and what."""
    print(f"{time.monotonic() - _BEGAN:.0f} s: {what}", flush=True)


@contextmanager
def two_machines(**system: int) -> Iterator[Any]:
    """A cluster of a head and one machine more, which this process will join; one CPU each."""
    import ray
    from ray.cluster_utils import Cluster

    before = dict(os.environ)
    options = {"num_cpus": 1, "include_dashboard": False, "_system_config": system}
    cluster: Any = Cluster(initialize_head=True, head_node_args=options)
    cluster.add_node(num_cpus=1)
    # It is this machine, by the address that others would use.
    os.environ.update(RAY_ADDRESS=cluster.address, SKELETONLLM_RAY_INSECURE="1")
    say("two machines are there")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def lose_ingest(root: Path) -> None:
    """Lose a machine that makes a shard; the other one is held up until a third makes some too."""
    source = write_source(root / "source")
    expected = content(ingest.run(source, root / "alone", _INGEST))
    say(f"ingested undisturbed, {len(shards(root / 'alone'))} shards")
    # Ray adds machines in the main thread only.
    with two_machines() as cluster, ThreadPoolExecutor(1) as elsewhere:
        (other,) = cluster.worker_nodes
        ingesting = elsewhere.submit(ingest.run, source, root / "cluster", _INGEST, "ray")
        wait_for(lambda: len(shards(root / "cluster")) >= _NUM_THERE, ingesting)
        held = stop_at_work(cluster.head_node, ingesting)
        stop_at_work(other, ingesting)
        num_there = len(shards(root / "cluster"))
        lose(cluster, other)
        say(f"a machine is gone with the shard that it made, {num_there} are there")
        third = cluster.add_node(num_cpus=1)
        wait_for(lambda: at_work(third), ingesting)
        say("another has come, and makes one")
        os.kill(held, signal.SIGCONT)
        made = ingesting.result()
    assert content(made) == expected
    assert not list((root / "cluster").rglob("*.tmp"))
    say("the same data set, and no other file")


def silence_ingest(root: Path) -> None:
    """Let a machine fall silent with the shard that it makes, and come back when all is done."""
    source = write_source(root / "source")
    expected = content(ingest.run(source, root / "alone", _INGEST))
    say(f"ingested undisturbed, {len(shards(root / 'alone'))} shards")
    with two_machines(**_HEALTH_CHECKS) as cluster, ThreadPoolExecutor(1) as elsewhere:
        (other,) = cluster.worker_nodes
        ingesting = elsewhere.submit(ingest.run, source, root / "cluster", _INGEST, "ray")
        stop_at_work(other, ingesting)
        silent = [raylet(other), *descendants(raylet(other))]
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        say("a machine is silent")
        made = ingesting.result()
        say(f"ingested, {time.monotonic() - began:.0f} s later")
        for pid in silent:
            os.kill(pid, signal.SIGCONT)
        time.sleep(5)
    assert content(made) == expected
    assert not list((root / "cluster").rglob("*.tmp"))
    say("the same data set, and no other file, also after it came back")


def write_source(folder: Path) -> Path:
    """Recordings that take a moment to read, and two that are rejected; many hold the same."""
    some = write_recordings(folder, range(_NUM_DIFFERENT), num_frames=300)
    for number in range(_NUM_DIFFERENT, _NUM_RECORDINGS):
        shutil.copyfile(some[number % _NUM_DIFFERENT], folder / ntu_name(number))
    write_cut(folder / ntu_name(500))
    write_nobody(folder / ntu_name(501))
    return folder


def raylet(machine: Any) -> int:
    """The process that all others of a machine come from."""
    return machine.all_processes["raylet"][0].process.pid


def lose(cluster: Any, machine: Any) -> None:
    """Kill all of a machine at once, as when the power fails; Ray itself would leave its workers alive for a moment."""
    for pid in [raylet(machine), *descendants(raylet(machine))]:
        os.kill(pid, signal.SIGKILL)
    cluster.remove_node(machine, allow_graceful=False)


def at_work(machine: Any) -> list[int]:
    """The processes of a machine that make a shard."""
    return descendants(raylet(machine), "_make_shard")


def stop_at_work(machine: Any, working: Future) -> int:
    """Stop a process of a machine in the middle of a shard; which."""
    while True:
        wait_for(lambda: at_work(machine), working)
        for pid in at_work(machine):
            os.kill(pid, signal.SIGSTOP)
            if pid in at_work(machine):
                return pid
            os.kill(pid, signal.SIGCONT)


def wait_for(is_so: Callable[[], Any], working: Future) -> None:
    """Wait until something is so, while the work goes on."""
    while not is_so():
        if working.done():
            raise AssertionError(f"it ended too early: {working.result()}")
        time.sleep(0.01)


def lose_training(root: Path) -> None:
    """Lose a machine that holds one of two ranks of a run, and go on when there are two again."""
    from pipelines.launch import launch
    from skeletonllm.train.metrics import read_metrics
    from tests.skeletonllm.train.runs import make_run, weights

    run = make_run(root / "data", num_steps=_NUM_STEPS, checkpoint_every=5)
    alone = launch(replace(run, engine=replace(run.engine, num_workers=2)), root / "alone", wait=True)
    say("trained undisturbed, two ranks on one machine")
    metrics = root / "cluster" / Path(alone.path).parents[1].relative_to(root / "alone") / "metrics.jsonl"
    with two_machines() as cluster, ThreadPoolExecutor(1) as elsewhere:
        training = elsewhere.submit(launch, replace(run, engine=replace(run.engine, num_nodes=2)), root / "cluster")
        wait_for(lambda: len(read_metrics(metrics)) >= 8, training)
        (other,) = cluster.worker_nodes
        lose(cluster, other)
        say(f"a machine is gone after step {len(read_metrics(metrics))}")
        time.sleep(3)
        cluster.add_node(num_cpus=1)
        say("another has come")
        made = training.result()
    assert weights(Path(made.path)) == weights(Path(alone.path))
    time.sleep(1)
    left = descendants(os.getpid(), "train.worker")
    assert not left, left
    say("the same weights, and no process is left")


_PARTS = {"ingest": lose_ingest, "silence": silence_ingest, "training": lose_training}


def main() -> None:
    """Do it and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=list(_PARTS), help="one of them; by default all")
    given = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.basicConfig(level=logging.WARNING)
    for name in [given.part] if given.part else _PARTS:
        with tempfile.TemporaryDirectory() as place:
            _PARTS[name](Path(place))


if __name__ == "__main__":
    main()
