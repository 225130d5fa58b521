"""Kill training with SIGKILL, again and again: the next start must find a whole checkpoint and end in the same weights.

`python -m tests.checkpoint_kills --random 20`. Two ranks train the tiny student, with dropout, and save every step; one is
killed at each named point of a save, on each rank, then some at random moments under each kind of ZeRO. The other rank is
ended as torchrun ends it. The next start must go on from the last step or the one before.
"""

import argparse
import logging
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from skeletonllm.train import checkpoint
from skeletonllm.train.loop import read_metrics
from tests.ranks import run_ranks, start_ranks
from tests.skeletonllm.train.runs import make_run, train, weights, with_zero

_NUM_STEPS = 4
_KILLED_IN = 2  # the save, counted from 1
_TIMEOUT_S = 300.0


def work(data: Path, folder: Path, zero_stage: int, point: str = "", rank: int = -1) -> dict[str, str]:
    """Train to the end, unless this is the rank to be killed at a point of a save; the hashes of the weights."""
    saves = [0]

    def fault(name: str) -> None:
        saves[0] += name == checkpoint.POINTS[0]
        if (name, saves[0], int(os.environ["RANK"])) == (point, _KILLED_IN, rank):
            os.kill(os.getpid(), signal.SIGKILL)

    checkpoint.fault = fault
    run = with_zero(make_run(data, num_steps=_NUM_STEPS, checkpoint_every=1), zero_stage)
    run = replace(run, stage=replace(run.stage, batch_size=2))
    return weights(train(run, folder).checkpoint or folder)


def killed_at_point(data: Path, folder: Path, point: str, rank: int, expected: dict[str, str]) -> int:
    """The step that was found after a kill at a named point."""
    started = start_ranks(2, work, data, folder, 1, point, rank, log=folder.with_suffix(".log"))
    assert wait([process.sentinel for process, _ in started], _TIMEOUT_S), "nobody was killed"
    dead = [process.exitcode for process, _ in started]
    _end(started)
    if point in checkpoint.POINTS[: checkpoint.POINTS.index("meta")] or rank == 0:
        assert -signal.SIGKILL in dead, dead
    return _recovered(data, folder, 1, expected)


def killed_at_random(data: Path, folder: Path, zero_stage: int, chance: random.Random, expected: dict[str, str]) -> int:
    """The step that was found after a kill at a random moment after the first save, 0 before it was whole."""
    started = start_ranks(2, work, data, folder, zero_stage, log=folder.with_suffix(".log"))
    begun = time.monotonic()
    while not list(folder.glob("checkpoints/.step_*")) and time.monotonic() < begun + _TIMEOUT_S:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 1.0))
    with suppress(ProcessLookupError):  # it was too late
        os.kill(started[chance.randrange(2)][0].pid or 0, signal.SIGKILL)
    _end(started)
    return _recovered(data, folder, zero_stage, expected)


def _end(started: list) -> None:
    for process, _ in started:
        process.kill()
        process.join()


def _recovered(data: Path, folder: Path, zero_stage: int, expected: dict[str, str]) -> int:
    """Check what is there, and train to the end."""
    found = checkpoint.newest(folder / "checkpoints")
    step = found[1].step if found else 0
    logged = [int(row["step"]) for row in read_metrics(folder / "metrics.jsonl")]
    assert step >= max([1, *logged]) - 1, (step, logged)
    assert run_ranks(2, work, data, folder, zero_stage)[0] == expected
    return step


def main() -> None:
    """Kill them all and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=20, help="kills at random moments")
    parser.add_argument("--points", nargs="*", default=checkpoint.POINTS, help="some of the named points, or none")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        make_run(root / "data")
        expected = {
            zero_stage: run_ranks(2, work, root / "data", root / f"whole-{zero_stage}", zero_stage)[0]
            for zero_stage in range(4)
        }
        for point in given.points:
            for rank in (0, 1):
                step = killed_at_point(root / "data", root / f"{point}-{rank}", point, rank, expected[1])
                print(f"{time.monotonic() - began:.0f} s rank {rank} killed at {point}: from step {step}", flush=True)
        for number in range(given.random):
            chance, zero_stage = random.Random(f"{given.seed}/{number}"), number % 4
            step = killed_at_random(root / "data", root / f"{number}", zero_stage, chance, expected[zero_stage])
            print(f"{time.monotonic() - began:.0f} s random, ZeRO {zero_stage}: from step {step}", flush=True)


if __name__ == "__main__":
    main()
