import logging
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

import flows.retrain
from pipelines.promote import Decision
from pipelines.retraining import only_retraining
from pipelines.workdir import Workdir
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef

_PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture
def trained(tmp_path, monkeypatch) -> Path:
    """The flow with steps that take a moment and write down that they were done; yields the list of trainings."""
    done = tmp_path / "trainings"
    done.touch()

    def ingest(source: str, workdir: str, executor: str) -> DatasetRef:
        return DatasetRef("clips", workdir, Path(source).read_text())

    def train(workdir: str, *_: object, clips: DatasetRef, **__: object) -> dict[str, CheckpointRef]:
        with done.open("a") as lines:
            lines.write(f"{os.getpid()} {clips.fingerprint}\n")
        time.sleep(0.3)
        (Path(workdir) / clips.fingerprint).mkdir(exist_ok=True)
        return {"recognition": CheckpointRef("recognition", f"{workdir}/{clips.fingerprint}", clips.fingerprint)}

    def evaluate(workdir: str, *_: object) -> str:
        (Path(workdir) / "report.html").write_text("")
        return str(Path(workdir) / "report.html")

    def promote(work: Workdir, _: DatasetRef, candidate: CheckpointRef, *__: object) -> Decision:
        (work.path / "promoted.json").write_text(candidate.fingerprint)
        return Decision(candidate, True, "the first")

    for name, step in zip(
        ("ingest_clips", "train_stages", "evaluate", "promote_student"), (ingest, train, evaluate, promote), strict=True
    ):
        monkeypatch.setattr(flows.retrain, name, step)
    return done


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "source"
    path.write_text("monday")
    return path


def run(source: Path, work: Path, **changes: Any) -> str:
    return flows.retrain.retrain.fn(str(source), str(work), **changes)


def test_a_retraining_does_nothing_where_nothing_changed_and_says_so(trained, source, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    report = run(source, tmp_path / "work")
    assert "nothing changed" not in caplog.text
    assert run(source, tmp_path / "work") == report
    assert "nothing changed since" in caplog.text
    assert len(trained.read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "changed", ["data", "recipe", "settings", "tolerance", "teacher", "the pointer is gone", "the report"]
)
def test_a_retraining_goes_through_every_step_where_something_changed(trained, source, tmp_path, monkeypatch, changed):
    run(source, tmp_path / "work")
    changes = {}
    if changed == "data":
        source.write_text("tuesday")
    elif changed == "recipe":
        changes = {"recipe": "smoke"}
    elif changed == "settings":
        changes = {"settings": ["stages.*.batch_size=8"]}
    elif changed == "tolerance":
        changes = {"tolerance": 0.1}
    elif changed == "teacher":
        monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "gpt")
    else:
        (tmp_path / "work" / ("report.html" if "report" in changed else "promoted.json")).unlink()
    run(source, tmp_path / "work", **changes)
    assert len(trained.read_text().splitlines()) == 2


def test_of_two_that_are_fired_at_once_one_trains_and_the_other_finds_it_done(trained, source, tmp_path):
    both = [_PROCESSES.Process(target=run, args=(source, tmp_path / "work")) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join(30)
    assert [one.exitcode for one in both] == [0, 0]
    assert len(trained.read_text().splitlines()) == 1


def hold(work: Path, held: Path) -> None:
    with only_retraining(Workdir(work)):
        held.touch()
        time.sleep(60)


def test_who_waits_says_for_whom_and_goes_on_when_that_one_is_killed(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    other = _PROCESSES.Process(target=hold, args=(tmp_path, tmp_path / "held"))
    other.start()
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    killer = _PROCESSES.Process(target=_kill_later, args=(other.pid,))
    killer.start()
    with only_retraining(Workdir(tmp_path)):
        assert f"process {other.pid} on" in caplog.text
        assert "is retraining here; waiting" in caplog.text
    for one in (other, killer):
        one.join(10)


def _kill_later(pid: int) -> None:
    time.sleep(0.7)
    os.kill(pid, 9)
