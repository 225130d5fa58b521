"""What each training process runs: `python -m skeletonllm.train.worker RUN_FOLDER`, started by the launcher."""

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
from datetime import timedelta
from pathlib import Path

from skeletonllm.train.config import EngineConfig, RunConfig

RUN = "run.json"
CORPUS = "corpus.json"
ERROR = "error.txt"
LAUNCHER = "SKELETONLLM_LAUNCHER_PID"
# The exit code of a run that was asked to stop: saved, it goes on when it is started again (EX_TEMPFAIL).
STOPPED = 75
# That of a run that goes on from an earlier checkpoint, in new processes, without the examples that it skips from now on.
GONE_BACK = 76
# Makes a process write the stacks of all its threads into the log.
SHOW_STACKS = signal.SIGUSR1


def main(arguments: list[str]) -> int:
    """Train the stage that `RUN_FOLDER/run.json` describes.

    Returns:
        0; `STOPPED` after a SIGTERM, with the run saved; `GONE_BACK` where new processes should go on.
    """
    die_with_parent()
    faulthandler.enable()
    faulthandler.register(SHOW_STACKS, all_threads=True)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    from skeletonllm.log import set_up_logging
    from skeletonllm.plain import from_plain
    from skeletonllm.train.guards import GoBack, Stopped
    from skeletonllm.train.stage import run_stage

    folder = Path(arguments[0])
    set_up_logging()
    try:
        run = from_plain(RunConfig, json.loads((folder / RUN).read_text()), str(folder / RUN))
        corpus = json.loads((folder / CORPUS).read_text()) if (folder / CORPUS).exists() else []
        leave_hangs_to_launcher(run.engine)
        run_stage(run, folder, corpus, stop.is_set)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return STOPPED
    except GoBack:
        return GONE_BACK
    except Exception as error:  # whatever it is, the launcher says it in one sentence; the log has the traceback
        # The first rank that fails says why; the disk may be full.
        with contextlib.suppress(OSError), (folder / ERROR).open("x") as said:
            said.write(f"{type(error).__name__}: {error}\n")
        raise
    return 0


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that no trainer outlives a killed run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        sys.exit("the launcher died before this process was ready")


def leave_hangs_to_launcher(engine: EngineConfig) -> None:
    """Let no process give up on another before the launcher does, who has their stacks written and starts them again.

    By default NCCL ends a process that has waited for 10 minutes, gloo one that has waited for 30.
    """
    from torch.distributed import distributed_c10d as groups

    longest = timedelta(seconds=2 * max(engine.hang_after_s, engine.start_within_s))
    # Not as an argument, since DeepSpeed makes groups of its own.
    groups.default_pg_timeout = groups.default_pg_nccl_timeout = longest  # pyright: ignore[reportPrivateImportUsage]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
