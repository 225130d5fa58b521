"""A Prefect server of its own for the tests, and our deployments served to it, as the README says."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
_HEALTH = "/health"
_DEPLOYMENT = "/deployments/name/build-teacher-chains/build-teacher-chains"


@contextmanager
def prefect_server(home: Path, environment: Mapping[str, str], cwd: Path) -> Iterator[dict[str, str]]:
    """A server with a home of its own; yields the environment of its clients."""
    home.mkdir(parents=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    clients = {**environment, "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(home)}
    command = [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, clients, cwd, home / "server.log", _HEALTH):
        yield clients


@contextmanager
def served_flows(clients: Mapping[str, str], cwd: Path, log: Path) -> Iterator[None]:
    """`python -m flows` until the block ends."""
    with running([sys.executable, "-m", "flows"], clients, cwd, log, _DEPLOYMENT):
        yield


@contextmanager
def running(command: list[str], clients: Mapping[str, str], cwd: Path, log: Path, path: str) -> Iterator[None]:
    """A process in a group of its own, once the server answers at `path`."""
    with log.open("w") as said:
        process = subprocess.Popen(command, env=clients, stdout=said, stderr=said, cwd=cwd, start_new_session=True)
    try:
        _wait_for(clients["PREFECT_API_URL"] + path, process, log)
        yield
    finally:
        _end(process)


def run_deployment(
    clients: Mapping[str, str], cwd: Path, *options: str, name: str = "build-teacher-chains"
) -> subprocess.CompletedProcess[str]:
    """`prefect deployment run NAME`, and what came of it."""
    watch = ("--watch", "--watch-interval", "1", "--watch-timeout", "280")
    command = [str(BIN / "prefect"), "deployment", "run", name, *options, *watch]
    return subprocess.run(command, env=clients, capture_output=True, text=True, cwd=cwd)


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-3000:])


def _end(process: subprocess.Popen) -> None:
    """Ask a process and its children to stop, then make them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(10)
            return
        except subprocess.TimeoutExpired:
            continue
