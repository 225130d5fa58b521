import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from pipelines.launch import find_checkpoint, launch, newest_checkpoint, read_run
from pipelines.launch.cluster import wants_cluster
from pipelines.launch.failures import failure
from pipelines.launch.workers import num_cores
from skeletonllm.errors import BackendError, CheckpointError, SkeletonLLMError
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import EXAMPLES
from skeletonllm.train import checkpoint as checkpoints
from skeletonllm.train.config import EngineConfig, RunConfig, StageConfig
from skeletonllm.train.data import StageData
from skeletonllm.train.metrics import read_metrics
from tests.makers import make_clip, write_clips, write_dataset
from tests.pipelines.stairs import whole_checkpoint
from tests.students import ACTIONS, tiny_student

EVERYTHING = ("renderer", "projector", "language_adapter")
STAGE = StageConfig("warmup", EVERYTHING, ("mqa",), batch_size=4, max_steps=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunConfig:
    root = tmp_path_factory.mktemp("data")
    clips = [make_clip(f"c{i}", seed=i, action=ACTIONS[i % 3]) for i in range(8)]
    columns = {"stage": "warmup", "prompt": "which?", "weight": 1.0}
    rows = [{"example_id": c.clip_id, "clip_id": c.clip_id, "target": c.action, **columns} for c in clips]
    examples = write_dataset(root, "examples_warmup", pa.Table.from_pylist(rows * 2, schema=EXAMPLES))
    engine = EngineConfig(checkpoint_every=2)
    return RunConfig(STAGE, tiny_student().config, engine, write_clips(root, clips), examples, None, 0)


@pytest.fixture(scope="module")
def straight(run, tmp_path_factory):
    """Four steps at once, by DeepSpeed in a process of its own."""
    return launch(run, tmp_path_factory.mktemp("straight"), list(ACTIONS))


def losses(path: str) -> list[float]:
    return [row["train/loss"] for row in read_metrics(Path(path).parents[1] / "metrics.jsonl")]


def weights(path: str) -> list[bytes]:
    return [(Path(path) / f"{part}.safetensors").read_bytes() for part in EVERYTHING]


@pytest.mark.slow
def test_a_stage_is_trained_by_deepspeed_and_its_checkpoint_can_be_loaded(run, straight):
    assert len(losses(straight.path)) == 4
    assert read_run(straight) == run
    assert checkpoints.verify(Path(straight.path)).step == 4
    student = SkeletonLLM.from_pretrained(Path(straight.path))
    before = tiny_student()
    for part in EVERYTHING:
        moved = zip(student.named_parts()[part].values(), before.named_parts()[part].values(), strict=True)
        assert any(not one.equal(other) for one, other in moved), part
    folder = Path(straight.path).parents[1]
    assert (folder / "first_batch.png").exists()
    assert (folder / "pictures" / "step_000004.png").exists()
    assert "which?" in (folder / "first_batch.txt").read_text()


@pytest.mark.slow
def test_a_run_killed_after_two_steps_goes_on_to_the_same_losses_and_weights_to_the_last_bit(run, straight, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(to_plain(run)))
    killed = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stderr=subprocess.DEVNULL)
    saved = wait_for(lambda: list(tmp_path.glob("warmup/*/checkpoints/step_000002.*")), killed)
    trainers = children_of(killed.pid)
    killed.kill()
    killed.wait()
    assert trainers
    wait_for(lambda: not any(is_alive(pid) for pid in trainers))
    assert not (saved[0].parents[1] / "done.json").exists()
    resumed = launch(run, tmp_path, list(ACTIONS))
    assert losses(resumed.path) == losses(straight.path)
    assert weights(resumed.path) == weights(straight.path)


@pytest.mark.slow
def test_a_trained_stage_is_found_and_not_trained_again(run, straight):
    root, log = Path(straight.path).parents[3], Path(straight.path).parents[1] / "log.txt"
    before = log.stat()
    assert launch(run, root) == straight
    assert log.stat() == before  # no worker wrote to it
    assert find_checkpoint(root, "warmup") == newest_checkpoint(root, "warmup") == straight
    with pytest.raises(CheckpointError, match="stage 'recognition' is not trained yet"):
        newest_checkpoint(root, "recognition")


@pytest.mark.slow
def test_a_trained_stage_whose_checkpoint_was_damaged_since_trains_its_end_again(run, straight, tmp_path, caplog):
    shutil.copytree(Path(straight.path).parents[3], tmp_path, dirs_exist_ok=True)
    (damaged,) = (tmp_path / "warmup").glob("*/checkpoints/step_000004.*/projector.safetensors")
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    mended = launch(run, tmp_path, list(ACTIONS))
    assert "projector.safetensors: missing or changed" in caplog.text
    assert mended.path != str(damaged.parent)
    assert weights(mended.path) == weights(straight.path)


@pytest.mark.slow
def test_a_run_with_examples_that_are_no_numbers_goes_back_once_in_new_processes_and_ends(run, tmp_path, caplog):
    longer = replace(run, stage=replace(run.stage, max_steps=8))
    rows = [dict(row) for row in ShardReader(run.examples).table().to_pylist() * 4]
    poisoned = StageData(run.clips, write_examples(tmp_path / "whole", rows), longer.stage, run.seed)
    for step in (3, 4, 5):
        for row in poisoned.rows(step):
            rows[row]["weight"] = math.nan
    made = launch(replace(longer, examples=write_examples(tmp_path / "data", rows)), tmp_path, list(ACTIONS))
    (skipped,) = json.loads((Path(made.path).parents[1] / "skipped.json").read_text())
    assert (skipped["back_to"], skipped["steps"], skipped["starts"]) == (2, [4, 5, 6], [12, 16, 20])
    assert "warmup: went back, see skipped.json; going on in new processes" in caplog.text
    metrics = read_metrics(Path(made.path).parents[1] / "metrics.jsonl")
    assert [row["step"] for row in metrics] == list(range(1, 9))
    assert metrics[-1]["guard/rollbacks"] == 1
    assert all(math.isfinite(row["train/loss"]) for row in metrics)


def write_examples(root, rows):
    return write_dataset(root, "examples_warmup", pa.Table.from_pylist(rows, schema=EXAMPLES))


@pytest.mark.slow
def test_a_worker_s_error_is_told_with_its_log_and_leaves_no_checkpoint(run, tmp_path):
    fixed = replace(run.student, render=replace(run.student.render, renderer="skeleton_2d"))
    odd = replace(run, student=fixed, stage=replace(run.stage, trains=("renderer",)))
    with pytest.raises(SkeletonLLMError, match=r"stage warmup: ConfigError: .* nothing to train in .*log\.txt"):
        launch(odd, tmp_path)
    assert find_checkpoint(tmp_path, "warmup") is None


@pytest.mark.slow
def test_a_killed_worker_is_one_clear_error_and_leaves_a_checkpoint_to_go_on_from(run, tmp_path):
    def kill_a_worker() -> None:
        wait_for(lambda: list(tmp_path.glob("warmup/*/checkpoints/step_000002.*")))
        os.kill(trainers_of(os.getpid())[-1], signal.SIGKILL)

    longer = replace(run, stage=replace(run.stage, max_steps=400, epochs=200.0))
    killer = threading.Thread(target=kill_a_worker)
    killer.start()
    with pytest.raises(
        SkeletonLLMError, match=r"stage warmup: the workers ended with code -9: killed .*accum.*log\.txt"
    ):
        launch(longer, tmp_path, list(ACTIONS))
    killer.join()
    assert not trainers_of(os.getpid())
    assert checkpoints.newest(next(tmp_path.glob("warmup/*/checkpoints"))) is not None


def test_a_second_launcher_of_one_stage_is_refused_or_waits_and_finds_it_done(run, tmp_path):
    import fcntl

    from skeletonllm.train.stage import fingerprint_of

    folder = tmp_path / "warmup" / fingerprint_of(run)[:12]
    made = whole_checkpoint(folder, "warmup", fingerprint_of(run))
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CheckpointError, match="is training this stage; wait for it"):
            launch(run, tmp_path)

        def finish() -> None:
            time.sleep(0.3)
            finished = {"fingerprint": fingerprint_of(run), "checkpoint": made.name, "launch_s": 1.0}
            (folder / "done.json").write_text(json.dumps(finished))
            fcntl.flock(lock, fcntl.LOCK_UN)

        other = threading.Thread(target=finish)
        other.start()
        assert launch(run, tmp_path, wait=True).path == str(made)
        other.join()


CODE = (
    "import json, sys\nfrom pathlib import Path\nfrom pipelines.launch import launch\n"
    "from skeletonllm.plain import from_plain\nfrom skeletonllm.train.config import RunConfig\n"
    "root = Path(sys.argv[1])\nrun = from_plain(RunConfig, json.loads((root / 'run.json').read_text()), 'run')\n"
    f"launch(run, root, {list(ACTIONS)!r})"
)


@pytest.mark.slow
def test_a_launch_that_is_asked_to_stop_saves_first_and_its_exit_code_says_that_it_can_go_on(run, tmp_path):
    plain = replace(run.engine, kind="plain", checkpoint_every=100)
    longer = replace(run, stage=replace(run.stage, max_steps=400, epochs=200.0), engine=plain)
    (tmp_path / "run.json").write_text(json.dumps(to_plain(longer)))
    launched = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stderr=subprocess.DEVNULL)
    (metrics,) = wait_for(lambda: list(tmp_path.glob("warmup/*/metrics.jsonl")), launched)
    wait_for(lambda: read_metrics(metrics), launched)
    trainers = trainers_of(launched.pid)
    launched.terminate()
    assert launched.wait(60) == 75
    assert len(trainers) == 1
    assert not is_alive(trainers[0])
    _, meta = checkpoints.newest(metrics.parent / "checkpoints")
    assert meta.step == len(read_metrics(metrics)) > 0
    assert not (metrics.parent / "done.json").exists()


@pytest.mark.slow
def test_a_launch_whose_worker_cannot_save_in_time_ends_it_and_says_so(run, tmp_path):
    longer = replace(run.stage, max_steps=400, epochs=200.0)
    short = replace(run, stage=longer, engine=replace(run.engine, kind="plain", grace_s=1.0))
    (tmp_path / "run.json").write_text(json.dumps(to_plain(short)))
    launched = subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path)], stderr=subprocess.PIPE, text=True)
    (trainer,) = wait_for(lambda: trainers_of(launched.pid), launched)
    os.kill(trainer, signal.SIGSTOP)
    launched.terminate()
    _, said = launched.communicate(timeout=60)
    assert launched.returncode == 75
    assert "not saved within 1 s, engine.grace_s" in said
    assert not is_alive(trainer)


@pytest.mark.slow
def test_ranks_that_hang_are_shown_ended_and_started_again_to_the_same_weights(run, tmp_path):
    def stop_one() -> None:
        wait_for(lambda: list(tmp_path.glob("hung/warmup/*/checkpoints/step_000002.*")))
        os.kill(trainers_of(os.getpid())[-1], signal.SIGSTOP)

    stage, engine = replace(run.stage, max_steps=12, epochs=3.0), replace(run.engine, num_workers=2, hang_after_s=4.0)
    two = replace(run, stage=stage, engine=engine)
    undisturbed = launch(two, tmp_path / "undisturbed", list(ACTIONS))
    stopper = threading.Thread(target=stop_one)
    stopper.start()
    hung = launch(two, tmp_path / "hung", list(ACTIONS))
    stopper.join()
    said = (Path(hung.path).parents[1] / "log.txt").read_text()
    first, second = said.split("where rank 0 ")[1].split("where rank 1 ")
    assert "loop.py" in first
    assert "loop.py" in second
    assert "going on from step" in second
    assert not trainers_of(os.getpid())
    assert weights(hung.path) == weights(undisturbed.path)
    assert losses(hung.path) == losses(undisturbed.path)


def test_a_run_that_never_comes_to_a_step_is_started_again_a_few_times_then_it_is_an_error(run, tmp_path, monkeypatch):
    """In place of the trainer stands one that does nothing."""
    from pipelines.launch import supervise

    started = []

    class Idle(supervise.Workers):
        def __init__(self, folder, *_):
            started.append(folder)
            code = (
                "import faulthandler, signal, time\nfaulthandler.register(signal.SIGUSR1, all_threads=True)\n"
                "def waits_for_ever():\n    time.sleep(600)\nwaits_for_ever()"
            )
            self._log, self._first = folder / "log.txt", 0
            with self._log.open("ab") as log:
                process = subprocess.Popen([sys.executable, "-c", code], stderr=log, start_new_session=True)
            self._processes = [process]

    monkeypatch.setattr(supervise, "Workers", Idle)
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    build = tmp_path / "torch_extensions" / "op"
    build.mkdir(parents=True)
    (build / "lock").touch()
    long_ago = time.time() - 1300
    os.utime(build / "lock", (long_ago, long_ago))  # left by who was killed while it compiled
    (tmp_path / "torch_extensions" / "lock").touch()  # of one that compiles now
    idle = replace(run, engine=replace(run.engine, hang_after_s=0.5, start_within_s=1.0))
    with pytest.raises(
        SkeletonLLMError, match=r"no step for 1 s, .*start_within_s; started again 2 times without .*log"
    ):
        launch(idle, tmp_path)
    assert not (build / "lock").exists()
    assert (tmp_path / "torch_extensions" / "lock").exists()
    assert len(started) == 3
    assert "waits_for_ever" in (started[0] / "log.txt").read_text()
    assert not [pid for pid in children_of(os.getpid()) if b"waits_for_ever" in command_of(pid)]


@pytest.mark.parametrize(
    ("said", "codes", "expected"),
    [
        (
            "OutOfMemoryError: CUDA out of memory. Tried",
            [1],
            r"--set engine\.gradient_accumulation=2 or .*gradient_checkpointing=true",
        ),
        (
            "",
            [-9],
            "killed .*zero_stage=2 or engine.offload=optimizer, which change no .*warmup.batch_size=2, with which",
        ),
        ("RuntimeError: Connection closed by peer", [-9, 1], "killed from outside, or for want of memory"),
        ("OSError: [Errno 28] No space left on device", [1], "disk is full: make room"),
        ("ConfigError: no", [1], "stage warmup: ConfigError: no .log: "),
    ],
)
def test_a_failure_says_which_setting_to_change(run, tmp_path, said, codes, expected):
    if said:
        (tmp_path / "error.txt").write_text(said)
    two = replace(run, engine=replace(run.engine, num_workers=2))
    with pytest.raises(SkeletonLLMError, match=expected):
        raise failure(two, tmp_path, codes, 0)


def test_what_killed_one_process_is_told_rather_than_that_others_have_lost_it_or_what_an_earlier_launch_said(
    run, tmp_path
):
    (tmp_path / "error.txt").write_text("RuntimeError: Connection closed by peer")
    (tmp_path / "log.txt").write_text("ConfigError: long mended\n")
    size = (tmp_path / "log.txt").stat().st_size
    said = str(failure(run, tmp_path, [1, -9], 0, size))
    assert "code -9: killed" in said
    assert "closed" not in said
    assert "mended" not in said


def test_how_often_a_run_saves_and_where_its_data_lie_do_not_change_its_name(run):
    from skeletonllm.train.stage import fingerprint_of

    moved = replace(run, clips=replace(run.clips, path="/elsewhere"), engine=replace(run.engine, checkpoint_every=7))
    assert fingerprint_of(moved) == fingerprint_of(run)
    assert fingerprint_of(replace(run, seed=1)) != fingerprint_of(run)
    assert from_plain(RunConfig, to_plain(run), "run") == run


def test_a_run_goes_to_the_cluster_where_it_asks_for_more_than_this_machine_has(run, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    engine = replace(run.engine, num_workers=1)
    assert not wants_cluster(engine)
    assert wants_cluster(replace(engine, num_nodes=2))
    assert wants_cluster(replace(engine, num_workers=num_cores() + 1))
    assert wants_cluster(replace(engine, needs_gpu=True)) != torch.cuda.is_available()
    monkeypatch.delenv("RAY_ADDRESS")
    assert not wants_cluster(replace(engine, needs_gpu=True))
    with pytest.raises(BackendError, match="num_nodes is 2, and there is no Ray cluster"):
        wants_cluster(replace(engine, num_nodes=2))


def wait_for(condition, process=None, seconds=120.0):
    """What the condition gives, as soon as it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        assert process is None or process.poll() is None, "it ended too early"
        time.sleep(0.005)
    raise AssertionError("it took too long")


def children_of(pid: int) -> list[int]:
    """All descendants of a process."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def trainers_of(pid: int) -> list[int]:
    """The workers below a process, in the order in which they were started."""
    found = []
    for child in children_of(pid):
        if b"skeletonllm.train.worker" in command_of(child).split(b"\0"):
            found.append(child)
    return found


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIG_DFL)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
