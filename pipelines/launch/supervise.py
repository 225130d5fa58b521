"""One supervisor: starts the training workers of a stage, watches them, and leaves nothing behind."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipelines.launch.cluster import ClusterWorkers, NodeLost, wants_cluster
from pipelines.launch.failures import failure, kernel_kills
from pipelines.launch.runs import DONE, read_done
from pipelines.launch.workers import LOG, Workers, extensions_folder, free_address
from pipelines.locks import only_one
from skeletonllm.errors import CheckpointError, SkeletonLLMError
from skeletonllm.log import Tick, progress
from skeletonllm.plain import to_plain, write_whole
from skeletonllm.shards.manifest import CheckpointRef, read_manifest
from skeletonllm.train import checkpoint
from skeletonllm.train.config import RunConfig
from skeletonllm.train.metrics import METRICS, NewMetrics, read_metrics
from skeletonllm.train.worker import CORPUS, ERROR, GONE_BACK, RUN, STOPPED

logger = logging.getLogger(__name__)

_POLL_S = 0.3
# What the other ranks may take to fail after the first one.
_OTHERS_S = 2.0
_COMPILES_WITHIN_S = 1200.0
# How often workers are started again without coming further.
_MAX_VAIN = 2


class Interrupted(SystemExit):
    """A run was asked to stop, and is saved; the process ends with the code that says so."""

    def __init__(self, stage: str) -> None:
        super().__init__(STOPPED)
        logger.warning("stage %s: stopped, and saved; the same command goes on from there", stage)


class _Hang(Exception):
    """No step for too long."""


def launch(run: RunConfig, root: Path, corpus: list[str] | None = None, wait: bool = False) -> CheckpointRef:
    """Train a stage in worker processes, or find that it is trained; a killed run goes on from its last checkpoint.

    Args:
        run: what to train; its fingerprint names the run's folder, `root/<stage>/<fingerprint>`.
        root: where runs are kept; on a disk that all machines share where there are several.
        corpus: texts that a tokenizer made on the spot must know besides the examples.
        wait: join another process that trains this very stage, instead of refusing.

    Raises:
        SkeletonLLMError: the workers failed; says why, and where their log is.
        CheckpointError: another process is training this very stage.
        Interrupted: the workers were asked to stop.
    """
    from skeletonllm.train.stage import fingerprint_of

    fingerprint = fingerprint_of(run)
    folder = root / run.stage.name / fingerprint[:12]
    done = _find_done(folder, run, fingerprint)
    if done is not None:
        return done
    with _only_launcher(folder, wait), _terminable():
        done = _find_done(folder, run, fingerprint) if wait else None  # the other one may have made it
        if done is not None:
            return done
        write_whole(folder / RUN, json.dumps(to_plain(run), indent=2) + "\n")
        write_whole(folder / CORPUS, json.dumps(corpus or []))
        started = time.monotonic()
        _run_workers(run, folder, f"skeletonllm-{run.stage.name}-{fingerprint[:12]}", wait)
        found = checkpoint.newest(folder / checkpoint.CHECKPOINTS)
        if found is None:
            raise CheckpointError(f"{folder}: all of its checkpoints are damaged; look at the disk, then run again")
        last = found[0]
        finished = {"fingerprint": fingerprint, "checkpoint": last.name, "launch_s": time.monotonic() - started}
        write_whole(folder / DONE, json.dumps(finished) + "\n")
        return CheckpointRef(run.stage.name, str(last), fingerprint)


def _find_done(folder: Path, run: RunConfig, fingerprint: str) -> CheckpointRef | None:
    done = read_done(folder, run.stage.name, fingerprint)
    if done is None:
        return None
    try:
        checkpoint.verify(Path(done.path))
    except CheckpointError as error:
        logger.warning("stage %s was trained, but %s; training its end again", run.stage.name, error)
        return None
    (folder / DONE).touch()  # asked for last
    logger.info("stage %s: %s is trained already, nothing to do", run.stage.name, fingerprint[:12])
    return done


def _run_workers(run: RunConfig, folder: Path, name: str, wait: bool) -> None:
    """Start the workers, and again from the last checkpoint where they hang or a machine is lost."""
    on_cluster, killed_before, vain, before = wants_cluster(run.engine), kernel_kills(), 0, -1
    with progress(run.stage.name, _num_steps(run), "steps") as tick:
        while True:
            _forget_last_start(folder)
            said = _size(folder / LOG)
            try:
                codes = _watch(run, folder, _start(run, folder, name, on_cluster, wait), tick)
            except (_Hang, NodeLost) as lost:
                step = _last_step(folder)
                vain = vain + 1 if step <= before else 1
                before = max(before, step)
                if vain > _MAX_VAIN:
                    raise SkeletonLLMError(
                        f"stage {run.stage.name}: {lost}; started again {_MAX_VAIN} times without coming further than step "
                        f"{step}; see where each process was in {folder}/log.txt"
                    ) from lost
                logger.warning("stage %s: %s; starting again from the last checkpoint", run.stage.name, lost)
                continue
            if GONE_BACK in codes:  # all do it together; the log says why, and the second time is an error
                logger.warning("stage %s: went back, see skipped.json; going on in new processes", run.stage.name)
                continue
            if all(code == 0 for code in codes):
                return
            if all(code in (0, STOPPED) for code in codes):
                raise Interrupted(run.stage.name)
            raise failure(run, folder, codes, kernel_kills() - killed_before, said)


def _forget_last_start(folder: Path) -> None:
    (folder / ERROR).unlink(missing_ok=True)
    # Who was killed while torch compiled an extension has left a lock, which the next would wait for, for ever.
    for lock in extensions_folder(folder).rglob("lock"):
        with suppress(FileNotFoundError):
            if time.time() - lock.stat().st_mtime > _COMPILES_WITHIN_S:
                lock.unlink()


def _start(run: RunConfig, folder: Path, name: str, on_cluster: bool, wait: bool) -> Workers | ClusterWorkers:
    if on_cluster:
        return ClusterWorkers(folder, run.engine, name, wait)
    num = run.engine.num_workers
    return Workers(folder, num, 0, num, free_address(), os.environ.get("OMP_NUM_THREADS"))


def _watch(run: RunConfig, folder: Path, workers: Workers | ClusterWorkers, tick: Tick) -> list[int | None]:
    """How each of the workers ended; whatever happens, none is left."""
    metrics, engine = folder / METRICS, run.engine
    size, moved_at, shown = _size(metrics), time.monotonic(), _Shown(metrics, tick)
    allowed, setting = max(engine.start_within_s, engine.hang_after_s), "start_within_s"
    try:
        while None in (codes := workers.codes()):
            if any(code not in (None, 0, STOPPED, GONE_BACK) for code in codes):
                # The others wait for the one that failed, for ever or until they fail in turn.
                time.sleep(_OTHERS_S)
                return [code if code is not None else 0 for code in workers.codes()]
            before, size = size, _size(metrics)
            if size > before:  # at a start it is cut to where it goes on
                allowed, setting, moved_at = engine.hang_after_s, "hang_after_s", time.monotonic()
                shown.look()
            elif time.monotonic() - moved_at > allowed:
                workers.show_stacks()
                raise _Hang(f"no step for {allowed:g} s, engine.{setting}")
            time.sleep(_POLL_S)
        shown.look()
        return codes
    except BaseException as error:
        # Ctrl-C, a SIGTERM and a cancelled flow raise more than Exception, and want the run saved.
        if not isinstance(error, Exception) and _ask_to_stop(run, workers) and isinstance(error, SystemExit):
            raise Interrupted(run.stage.name) from None  # Ray's exit code for a SIGTERM does not say that it is saved
        raise
    finally:
        workers.kill()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _last_step(folder: Path) -> int:
    rows = read_metrics(folder / METRICS)
    return int(rows[-1]["step"]) if rows else 0


def _ask_to_stop(run: RunConfig, workers: Workers | ClusterWorkers) -> bool:
    """Let them finish their step and save; whether they did."""
    end = time.monotonic() + run.engine.grace_s
    signal.alarm(0)  # where Ray is loaded, its handler of SIGTERM has set one that aborts this process after 3 s
    with suppress(NodeLost):
        workers.ask_to_stop()
        while None in (codes := workers.codes()) and time.monotonic() < end:
            time.sleep(_POLL_S)
        if all(code in (0, STOPPED, GONE_BACK) for code in codes):
            return True
    logger.warning(
        "stage %s: stopped, and not saved within %g s, engine.grace_s; the same command goes on from the last checkpoint",
        *(run.stage.name, run.engine.grace_s),
    )
    return False


def _num_steps(run: RunConfig) -> int:
    from skeletonllm.train.data import num_steps

    stage, examples = run.stage, read_manifest(run.examples.path).num_rows
    return num_steps(examples, stage.batch_size, stage.epochs, stage.max_steps)


class _Shown:
    """Progress as `metrics.jsonl` tells it, of which each line is read once."""

    def __init__(self, metrics: Path, tick: Tick) -> None:
        self._new, self._tick, self._motion = NewMetrics(metrics), tick, ""

    def look(self) -> None:
        rows = self._new()
        for row in rows:
            if "renderer/speed_color" in row:
                self._motion = f", motion shows {row['renderer/speed_color']:.3f}"
        if rows:
            self._tick(int(rows[-1]["step"]), f"loss {rows[-1]['train/loss']:.3f}{self._motion}")


@contextmanager
def _terminable() -> Iterator[None]:
    """Let a SIGTERM end this process as Ctrl-C does, unless somebody else handles it."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(*_: Any) -> None:
        raise SystemExit(STOPPED)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _only_launcher(folder: Path, wait: bool) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder / ".lock", "is training this stage", None if wait else CheckpointError):
        yield
