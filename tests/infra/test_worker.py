"""The worker of infra/compose.yaml against a real Prefect server, without its container."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.prefect_server import prefect_server

ROOT = Path(__file__).parents[2]
FOLDERS = {"SKELETONLLM_SOURCE": "/recordings", "SKELETONLLM_WORKDIR": "/work/skeletonllm"}


@pytest.mark.prefect
@pytest.mark.slow
def test_a_worker_that_starts_again_undoes_nothing_that_was_done_on_the_server(tmp_path):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RAY_"))}
    environment = {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "SKELETONLLM_HOME": str(ROOT), **FOLDERS}
    with prefect_server(tmp_path / "server", environment, ROOT) as clients:
        clients = {**clients, "PREFECT_HOME": str(tmp_path)}
        with worker(clients, tmp_path / "first.log"):
            retrain = deployment(clients)
            assert retrain["parameters"] == {"source": "/recordings", "workdir": "/work/skeletonllm"}
            assert not retrain["schedules"][0]["active"]
            ask(
                clients, "PATCH", f"/deployments/{retrain['id']}/schedules/{retrain['schedules'][0]['id']}", active=True
            )
            ask(clients, "POST", f"/deployments/{retrain['id']}/pause_deployment")
        with worker(clients, tmp_path / "second.log"):
            assert deployment(clients)["schedules"][0]["active"]
            assert deployment(clients)["paused"]
        with worker({**clients, "SKELETONLLM_SOURCE": "/others"}, tmp_path / "third.log"):
            assert deployment(clients)["parameters"]["source"] == "/others"


@contextmanager
def worker(clients: Mapping[str, str], log: Path) -> Iterator[None]:
    """A worker that has made what it makes, and asks for runs."""
    with log.open("w") as said:
        process = subprocess.Popen(
            ["env", "--default-signal=INT", "bash", "infra/docker/worker.sh"],
            env=clients,
            stdout=said,
            stderr=said,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: process.poll() is not None or "started!" in log.read_text())
        assert process.poll() is None, log.read_text()
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def deployment(clients: Mapping[str, str]) -> dict[str, Any]:
    return ask(clients, "GET", "/deployments/name/retrain/retrain")


def ask(clients: Mapping[str, str], method: str, path: str, **body: Any) -> Any:
    """What the server answers, once it is not too busy."""
    request = urllib.request.Request(
        clients["PREFECT_API_URL"] + path,
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json"},
        method=method,
    )
    for _ in range(60):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
            return json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            time.sleep(0.5)
    raise AssertionError(f"{path}: still too busy")


def wait_for(is_so: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.3)
