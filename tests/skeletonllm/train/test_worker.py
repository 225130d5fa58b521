import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from skeletonllm.plain import to_plain
from skeletonllm.train.checkpoint import newest
from skeletonllm.train.config import EngineConfig
from skeletonllm.train.worker import RUN, SHOW_STACKS, STOPPED, leave_hangs_to_launcher
from tests.ranks import run_ranks
from tests.skeletonllm.train.runs import make_run


def until(happened, process, log: Path) -> None:
    """Wait for it, while the process lives."""
    end = time.monotonic() + 120
    while not happened():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)


@pytest.mark.slow
def test_a_worker_that_is_asked_where_it_is_shows_its_stacks_and_goes_on_until_it_is_asked_to_stop(tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    folder.mkdir()
    run = make_run(tmp_path / "data", num_steps=100_000, checkpoint_every=100_000, kind="plain")
    (folder / RUN).write_text(json.dumps(to_plain(run)))

    def num_steps() -> int:
        metrics = folder / "metrics.jsonl"
        return metrics.read_text().count("\n") if metrics.exists() else 0

    with log.open("w") as stderr:
        process = subprocess.Popen([sys.executable, "-m", "skeletonllm.train.worker", str(folder)], stderr=stderr)
    try:
        until(lambda: num_steps() > 0, process, log)
        process.send_signal(SHOW_STACKS)
        until(lambda: "in run_stage" in log.read_text(), process, log)
        shown = num_steps()
        until(lambda: num_steps() > shown, process, log)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == STOPPED, log.read_text()
    finally:
        process.kill()
        process.wait()
    said = log.read_text()
    assert "most recent call first" in said
    assert said.index("in train") < said.index("in run_stage") < said.index("in main")
    found = newest(folder / "checkpoints")
    assert found is not None
    assert found[1].step > shown


def test_a_process_waits_longer_for_another_than_the_launcher_for_a_step_also_in_groups_that_deepspeed_makes():
    (waits,) = run_ranks(1, _waits)
    assert waits == [14400.0, 14400.0]


def _waits() -> list[float]:
    import torch
    import torch.distributed as dist

    leave_hangs_to_launcher(EngineConfig(hang_after_s=7200.0))
    dist.init_process_group("gloo")
    groups: list[Any] = [dist.group.WORLD, dist.new_group([0])]
    return [group._get_backend(torch.device("cpu")).options._timeout.total_seconds() for group in groups]
