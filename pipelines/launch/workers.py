"""The training processes of one machine: started, watched, told to stop, and never left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from skeletonllm.train.worker import LAUNCHER, SHOW_STACKS

# How long a stack needs to be written into the log.
_STACKS_S = 0.5


LOG = "log.txt"


class Workers:
    """One process for each rank on this machine; each asks the kernel to be killed when the process that made it dies.

    No torchrun between: it waits half a minute for its workers and then kills them, whatever they are saving.

    Args:
        folder: of the run.
        num: how many.
        first: rank of the first.
        world_size: how many there are on all machines.
        address: where the first rank of all listens, `host:port`.
        threads: of each; by default its share of the cores. Sums depend on it in the last bits.
    """

    def __init__(
        self, folder: Path, num: int, first: int, world_size: int, address: str, threads: str | None = None
    ) -> None:
        host, port = address.rsplit(":", 1)
        self._log, self._first = folder / LOG, first
        self._processes: list[subprocess.Popen[bytes]] = []
        try:
            with self._log.open("ab") as log:
                for local_rank in range(num):
                    environment = {
                        **os.environ,
                        "RANK": str(first + local_rank),
                        "LOCAL_RANK": str(local_rank),
                        "WORLD_SIZE": str(world_size),
                        "LOCAL_WORLD_SIZE": str(num),
                        "MASTER_ADDR": host,
                        "MASTER_PORT": port,
                        LAUNCHER: str(os.getpid()),
                        "TOKENIZERS_PARALLELISM": "false",
                        "OMP_NUM_THREADS": threads or str(max(1, num_cores() // num)),
                        "TORCH_EXTENSIONS_DIR": str(extensions_folder(folder)),
                    }
                    command = [sys.executable, "-m", "skeletonllm.train.worker", str(folder)]
                    # A session of its own, so that it can be ended with all that it has started.
                    self._processes.append(
                        subprocess.Popen(
                            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
                        )
                    )
        except BaseException:
            self.kill()
            raise

    def codes(self) -> list[int | None]:
        """The exit code of each; None while it runs."""
        return [process.poll() for process in self._processes]

    def ask_to_stop(self) -> None:
        """They save and end."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()

    def show_stacks(self) -> None:
        """Each in turn writes into the log where it is."""
        for rank, process in enumerate(self._processes, self._first):
            if process.poll() is None:
                with self._log.open("a") as log:
                    log.write(f"\nwhere rank {rank} (process {process.pid}) is:\n")
                process.send_signal(SHOW_STACKS)
                process.send_signal(signal.SIGCONT)  # one that is stopped would not hear of it
                time.sleep(_STACKS_S)

    def kill(self) -> None:
        """End them with all that they have started."""
        for process in self._processes:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait()


def extensions_folder(folder: Path) -> Path:
    """Where torch keeps what it compiles on a GPU machine, which takes minutes: for all runs of a work folder together."""
    told = os.environ.get("TORCH_EXTENSIONS_DIR")
    return Path(told) if told else folder.parents[1] / "torch_extensions"


def num_cores() -> int:
    """Cores that this process may use: those of the machine, or what its container is allowed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # not in a container, no limit, or an older kernel
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def free_address(host: str = "127.0.0.1") -> str:
    """Where a first rank on this machine may listen."""
    with socket.socket() as one:
        one.bind((host, 0))
        return f"{host}:{one.getsockname()[1]}"
