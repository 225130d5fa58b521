import logging
import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import flows.train_stages
from pipelines import staircase
from pipelines.locks import only_one
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.train.stage import fingerprint_of
from tests.pipelines.stairs import SMOKE, finish, work_with_clips

_PROCESSES = multiprocessing.get_context("fork")


def train_for_a_moment(work, run, begun: Path) -> None:
    """As another run of the flow does, but for the training."""
    folder = work.runs / run.stage.name / fingerprint_of(run)[:12]
    folder.mkdir(parents=True)
    with only_one(folder / ".lock", "is training this stage"):
        begun.touch()
        time.sleep(1.0)
        finish(work, run)


def test_a_stage_that_another_run_of_the_flow_trains_is_waited_for_and_found_done(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(flows.train_stages, "show_checkpoint", lambda _: None)
    caplog.set_level(logging.INFO)
    work, clips = work_with_clips(tmp_path / "work")
    examples = DatasetRef("examples", str(tmp_path), "e" * 64)
    run = staircase.alone(work, SMOKE, clips, "render_warmup").run
    run = replace(run, examples=examples)
    other = _PROCESSES.Process(target=train_for_a_moment, args=(work, run, tmp_path / "begun"))
    other.start()
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    made = flows.train_stages.train_stage.fn(work, run.stage, run.student, clips, examples, None, SMOKE)
    assert f"process {other.pid} on" in caplog.text
    assert "is training this stage; waiting for it" in caplog.text
    assert "is trained already, nothing to do" in caplog.text
    assert made.fingerprint == fingerprint_of(run)
    other.join(10)
    assert other.exitcode == 0
