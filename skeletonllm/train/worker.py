"""What each training process runs: `python -m skeletonllm.train.worker RUN_FOLDER`, started by torchrun."""

import contextlib
import ctypes
import json
import signal
import sys
from pathlib import Path

RUN = "run.json"
CORPUS = "corpus.json"
ERROR = "error.txt"


def main(arguments: list[str]) -> int:
    """Train the stage that `RUN_FOLDER/run.json` describes; exit code 2 for a mistake of the user's."""
    die_with_parent()
    from skeletonllm.log import set_up_logging
    from skeletonllm.plain import from_plain
    from skeletonllm.train.config import RunConfig
    from skeletonllm.train.stage import run_stage

    folder = Path(arguments[0])
    set_up_logging()
    try:
        run = from_plain(RunConfig, json.loads((folder / RUN).read_text()), str(folder / RUN))
        corpus = json.loads((folder / CORPUS).read_text()) if (folder / CORPUS).exists() else []
        run_stage(run, folder, corpus)
    except Exception as error:  # whatever it is, the launcher says it in one sentence; the log has the traceback
        with contextlib.suppress(OSError):  # the disk may be full
            (folder / ERROR).write_text(f"{type(error).__name__}: {error}\n")
        raise
    return 0


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, so that no trainer outlives a killed run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 = PR_SET_PDEATHSIG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
