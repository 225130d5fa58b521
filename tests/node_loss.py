"""Train on a Ray cluster of two machines, and take one away: the run must go on when another comes, and end the same.

`python -m tests.node_loss`. The machines are Ray's own test cluster on this one; two ranks, one on each, train the tiny
student. The weights must be those of the same run undisturbed on one machine.
"""

import logging
import os
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tests.skeletonllm.train.runs import make_run, weights

_NUM_STEPS = 30


def main() -> None:
    """Do it and say what was found."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray.cluster_utils import Cluster

    from pipelines.launch import launch
    from skeletonllm.train.metrics import read_metrics
    from tests.kills import descendants

    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("pipelines").setLevel(logging.INFO)
    began = time.monotonic()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    os.environ["RAY_ADDRESS"] = cluster.address
    os.environ["SKELETONLLM_RAY_INSECURE"] = "1"  # it is this machine, by the address that others would use
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]

    def take_one_away(metrics: Path, training: Future) -> None:
        while len(read_metrics(metrics)) < 8:
            if training.done():
                training.result()
                raise AssertionError("it ended before a machine was taken away")
            time.sleep(0.05)
        cluster.remove_node(nodes[0], allow_graceful=False)
        print(f"{time.monotonic() - began:.0f} s: a machine is gone", flush=True)
        time.sleep(3)
        cluster.add_node(num_cpus=1)
        print(f"{time.monotonic() - began:.0f} s: another has come", flush=True)

    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        run = make_run(root / "data", num_steps=_NUM_STEPS, checkpoint_every=5)
        alone = launch(replace(run, engine=replace(run.engine, num_workers=2)), root / "alone", wait=True)
        print(f"{time.monotonic() - began:.0f} s: undisturbed, on one machine", flush=True)
        metrics = root / "cluster" / Path(alone.path).parents[1].relative_to(root / "alone") / "metrics.jsonl"
        # Ray adds machines in the main thread only.
        with ThreadPoolExecutor(1) as elsewhere:
            training = elsewhere.submit(launch, replace(run, engine=replace(run.engine, num_nodes=2)), root / "cluster")
            take_one_away(metrics, training)
            made = training.result()
        assert weights(Path(made.path)) == weights(Path(alone.path))
        print(f"{time.monotonic() - began:.0f} s: the same weights", flush=True)
    ray.shutdown()
    cluster.shutdown()
    time.sleep(1)
    left = descendants(os.getpid(), "train.worker")
    assert not left, left


if __name__ == "__main__":
    main()
