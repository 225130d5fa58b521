"""Train on a Ray cluster of two machines and end whoever launched it: nothing trains on, and a new launch ends the same.

`python -m tests.driver_loss`. The machines are Ray's own test cluster on this one; two ranks, one on each, train the tiny
student. Who launched it is asked to stop once, and once killed; meanwhile a second launch is refused, also from another
folder, or waits; then a trainer hangs. The weights must be those of the same run undisturbed on one machine.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from skeletonllm.plain import from_plain, to_plain
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.train import checkpoint as checkpoints
from skeletonllm.train.config import RunConfig
from skeletonllm.train.metrics import read_metrics
from skeletonllm.train.worker import STOPPED
from tests.kills import descendants
from tests.skeletonllm.train.runs import make_run, weights

_NUM_STEPS = 40
_GONE_WITHIN_S = 10.0


def main() -> None:
    """Do it and say what was found."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    from pipelines.launch import launch

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("pipelines").setLevel(logging.INFO)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = str(cluster.address)
    os.environ["SKELETONLLM_RAY_INSECURE"] = "1"  # it is this machine, by the address that others would use
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    try:
        with tempfile.TemporaryDirectory() as place:
            root = Path(place)
            run = make_run(root / "data", num_steps=_NUM_STEPS, checkpoint_every=5)
            alone = launch(replace(run, engine=replace(run.engine, num_workers=2)), root / "alone")
            spread = replace(run, engine=replace(run.engine, num_nodes=2))
            folder = root / "cluster" / Path(alone.path).parents[1].relative_to(root / "alone")
            ask_driver_to_stop(spread, folder)
            with ThreadPoolExecutor(1) as elsewhere:
                joined = kill_driver(spread, folder, root / "another", elsewhere)
                assert weights(Path(joined.result().path)) == weights(Path(alone.path))
            print("who waited for it has the same weights", flush=True)
            assert weights(hang(spread, folder)) == weights(Path(alone.path))
            print("the same weights", flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()
    wait_for(lambda: not trainers(), 5, "the end of the trainers")


def ask_driver_to_stop(run: RunConfig, folder: Path) -> None:
    """It saves first, and its exit code says so."""
    with driver_of(run, folder.parents[1]) as driver:
        wait_for(lambda: steps(folder) >= 3, 240, "step 3", driver)
        driver.terminate()
        assert driver.wait(60) == STOPPED, (folder.parents[1] / "said").read_text()[-9000:]
    assert not trainers()
    assert saved(folder) == steps(folder)
    print(f"asked to stop: saved at step {saved(folder)}", flush=True)


def kill_driver(run: RunConfig, folder: Path, another: Path, elsewhere: Executor) -> Future[CheckpointRef]:
    """Twice more it is launched in vain; when it is killed its trainers go, and who waits for it trains."""
    from pipelines.launch import launch

    before = steps(folder)
    with driver_of(run, folder.parents[1]) as driver:
        wait_for(lambda: steps(folder) >= before + 3, 240, "three steps more", driver)
        os.kill(trainers()[0], signal.SIGSTOP)  # lest it ends meanwhile
        for root in (folder.parents[1], another):
            refused(run, root)
        assert len(trainers()) == 2
        joined = elsewhere.submit(launch, run, another, wait=True)
        time.sleep(1)
        assert not joined.done()
        assert driver.poll() is None
    began = time.monotonic()
    wait_for(lambda: not trainers(folder), _GONE_WITHIN_S, "the end of the trainers")
    print(f"killed after step {steps(folder)}: no trainer {time.monotonic() - began:.1f} s later", flush=True)
    assert steps(folder) < _NUM_STEPS
    assert not (folder / "done.json").exists()
    return joined


def hang(run: RunConfig, folder: Path) -> Path:
    """Launch at once, and stop a trainer as if it hung; the checkpoint that is made in the end."""
    from pipelines.launch import launch

    before, passed, log = saved(folder), steps(folder), folder / "log.txt"
    begins = log.stat().st_size

    def said() -> str:
        return log.read_bytes()[begins:].decode()

    def stop_a_trainer() -> None:
        wait_for(lambda: steps(folder) > passed, 600, "a step more")
        os.kill(trainers()[0], signal.SIGSTOP)

    stopper = threading.Thread(target=stop_a_trainer)
    stopper.start()
    made = launch(replace(run, engine=replace(run.engine, hang_after_s=10.0)), folder.parents[1])
    stopper.join()
    assert f"going on from step {before} " in said()
    assert "where rank 0 " in said()
    assert "where rank 1 " in said()
    print(f"launched again: from step {before}, and again when a trainer hung", flush=True)
    return Path(made.path)


def refused(run: RunConfig, root: Path) -> None:
    """A second launch fails, and says why."""
    from pipelines.launch import launch
    from skeletonllm.errors import CheckpointError

    began = time.monotonic()
    try:
        launch(run, root)
    except CheckpointError as error:
        print(f"a second launch, after {time.monotonic() - began:.1f} s: {error}", flush=True)
    else:
        raise AssertionError("it was launched twice")


@contextmanager
def driver_of(run: RunConfig, root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Launch in a process of its own."""
    root.mkdir(exist_ok=True)
    (root / "run.json").write_text(json.dumps(to_plain(run)))
    with (root / "said").open("ab") as said:
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tests.driver_loss", str(root)], stdout=said, stderr=said
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def drive(root: Path) -> None:
    """What that process does."""
    from pipelines.launch import launch

    launch(from_plain(RunConfig, json.loads((root / "run.json").read_text()), "run"), root)


def trainers(folder: Path | str = "train.worker") -> list[int]:
    """Training processes of this cluster, or of one run."""
    return descendants(os.getpid(), str(folder))


def steps(folder: Path) -> int:
    """How far the run is."""
    return len(read_metrics(folder / "metrics.jsonl"))


def saved(folder: Path) -> int:
    """The step of its newest whole checkpoint."""
    found = checkpoints.newest(folder / "checkpoints")
    assert found is not None
    return found[1].step


def wait_for(
    is_so: Callable[[], Any], seconds: float, what: str, process: subprocess.Popen[bytes] | None = None
) -> None:
    """Look again and again."""
    end = time.monotonic() + seconds
    while not is_so():
        assert process is None or process.poll() is None, f"it ended before {what}"
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)


if __name__ == "__main__":
    drive(Path(sys.argv[1])) if sys.argv[1:] else main()
