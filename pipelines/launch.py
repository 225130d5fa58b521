"""Start the training workers of a stage, watch them, and leave nothing behind."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.locks import only_one
from skeletonllm.errors import CheckpointError, SkeletonLLMError
from skeletonllm.log import Tick, progress
from skeletonllm.plain import from_plain, to_plain, write_whole
from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.train.config import RunConfig
from skeletonllm.train.loop import read_metrics
from skeletonllm.train.worker import CORPUS, ERROR, RUN, die_with_parent

logger = logging.getLogger(__name__)

_DONE = "done.json"
_ERROR_LINE = re.compile(r"(\[rank\d+\]: )?[\w.]*(Error|Exception): ")
_POLL_S = 0.5
_GRACE_S = 10.0


def launch(run: RunConfig, root: Path, corpus: list[str] | None = None) -> CheckpointRef:
    """Train a stage in worker processes, or find that it is trained; a killed run goes on from its last checkpoint.

    Args:
        run: what to train; its fingerprint names the run's folder, `root/<stage>/<fingerprint>`.
        root: where runs are kept.
        corpus: texts that a tokenizer made on the spot must know besides the examples.

    Raises:
        SkeletonLLMError: the workers failed; says why, and where their log is.
        CheckpointError: another process is training this very stage.
    """
    from skeletonllm.train.stage import fingerprint_of

    fingerprint = fingerprint_of(run)
    folder = root / run.stage.name / fingerprint[:12]
    done = _read_done(folder, run.stage.name, fingerprint)
    if done is not None:
        (folder / _DONE).touch()  # asked for last
        logger.info("stage %s: %s is trained already, nothing to do", run.stage.name, fingerprint[:12])
        return done
    with _only_launcher(folder):
        write_whole(folder / RUN, json.dumps(to_plain(run), indent=2) + "\n")
        write_whole(folder / CORPUS, json.dumps(corpus or []))
        (folder / ERROR).unlink(missing_ok=True)
        started = time.monotonic()
        _run_workers(run, folder)
        last = max(folder.glob("checkpoints/step_*"))
        finished = {"fingerprint": fingerprint, "checkpoint": last.name, "launch_s": time.monotonic() - started}
        write_whole(folder / _DONE, json.dumps(finished) + "\n")
        return CheckpointRef(run.stage.name, str(last), fingerprint)


def read_run(checkpoint: CheckpointRef) -> RunConfig:
    """What a checkpoint was trained with.

    Raises:
        CheckpointError: its run's folder does not say.
    """
    path = Path(checkpoint.path).parents[1] / RUN
    try:
        return from_plain(RunConfig, json.loads(path.read_text()), str(path))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); train it again") from error


def launch_s(checkpoint: CheckpointRef) -> float:
    """Seconds of the launch that finished a checkpoint, start of the workers included."""
    return float(json.loads((Path(checkpoint.path).parents[1] / _DONE).read_text())["launch_s"])


def find_checkpoint(root: Path, stage: str) -> CheckpointRef | None:
    """The finished run of a stage that was asked for last; None where there is none."""
    finished = sorted((root / stage).glob(f"*/{_DONE}"), key=lambda path: path.stat().st_mtime)
    if not finished:
        return None
    plain = json.loads(finished[-1].read_text())
    return _read_done(finished[-1].parent, stage, plain["fingerprint"])


def find_run(root: Path, stage: str, fingerprint: str) -> CheckpointRef | None:
    """The finished run of a stage with this fingerprint; None where there is none."""
    return _read_done(root / stage / fingerprint[:12], stage, fingerprint)


def newest_checkpoint(root: Path, stage: str) -> CheckpointRef:
    """The newest finished run of a stage.

    Raises:
        CheckpointError: it was never trained.
    """
    found = find_checkpoint(root, stage)
    if found is None:
        raise CheckpointError(
            f"{root}: stage {stage!r} is not trained yet; run `skeletonllm train --until {stage}` first"
        )
    return found


def _read_done(folder: Path, stage: str, fingerprint: str) -> CheckpointRef | None:
    try:
        plain = json.loads((folder / _DONE).read_text())
    except FileNotFoundError:
        return None
    path = folder / "checkpoints" / plain["checkpoint"]
    return CheckpointRef(stage, str(path), fingerprint) if path.is_dir() else None


def _run_workers(run: RunConfig, folder: Path) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc_per_node", str(run.engine.num_workers)),
        *("-m", "skeletonllm.train.worker", str(folder)),
    ]
    environment = {
        **os.environ,
        "TOKENIZERS_PARALLELISM": "false",
        # Each rank's share of the cores, unless who shares the machine said less. Sums depend on it in the last bits.
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")
        or str(max(1, (os.cpu_count() or 1) // run.engine.num_workers)),
        "TORCH_EXTENSIONS_DIR": str(folder / "torch_extensions"),
    }
    with (folder / "log.txt").open("ab") as log:
        # A session of its own, so that the workers can be ended as one group; and the parent's death ends them too.
        workers = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
    try:
        with progress(run.stage.name, _num_steps(run), "steps") as tick:
            while workers.poll() is None:
                _show(folder, tick)
                time.sleep(_POLL_S)
            _show(folder, tick)
    except BaseException:  # a cancelled flow raises more than Exception; the workers must go in any case
        _end(workers)
        raise
    if workers.returncode != 0:
        raise _failure(run, folder, workers.returncode)


def _num_steps(run: RunConfig) -> int:
    from skeletonllm.train.data import StageData

    data = StageData(run.clips, run.examples, run.stage.batch_size, run.seed)
    return data.num_steps(run.stage.epochs, run.stage.max_steps)


def _show(folder: Path, tick: Tick) -> None:
    rows = read_metrics(folder / "metrics.jsonl")
    if rows:
        last = rows[-1]
        measured = [row["renderer/speed_color"] for row in rows if "renderer/speed_color" in row]
        shown = f", motion shows {measured[-1]:.3f}" if measured else ""
        tick(int(last["step"]), f"loss {last['train/loss']:.3f}{shown}")


def _end(workers: subprocess.Popen[bytes]) -> None:
    """Ask the whole group to stop, then make it."""
    for number, wait_s in ((signal.SIGTERM, _GRACE_S), (signal.SIGKILL, _GRACE_S)):
        try:
            os.killpg(workers.pid, number)
            workers.wait(wait_s)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _failure(run: RunConfig, folder: Path, code: int) -> SkeletonLLMError:
    said = folder / ERROR
    if said.exists():
        return SkeletonLLMError(f"stage {run.stage.name}: {said.read_text().strip()} (log: {folder}/log.txt)")
    lines = (folder / "log.txt").read_text(errors="replace").splitlines()
    # What torchrun adds says only that a worker failed.
    telling = [line for line in lines if _ERROR_LINE.match(line) and "ChildFailedError" not in line]
    why = telling[-1] if telling else "killed, perhaps for want of memory"
    return SkeletonLLMError(
        f"stage {run.stage.name}: the workers ended with code {code} ({why}); see {folder}/log.txt, then run the same "
        "command again: it goes on from the last checkpoint"
    )


@contextmanager
def _only_launcher(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder / ".lock", "is training this stage", CheckpointError):
        yield
