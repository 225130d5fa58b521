"""Which Ray cluster is joined: none on other machines without a token."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cluster import check_cluster
from pipelines.executor import start_ray
from pipelines.settings import read_settings
from skeletonllm.errors import ConfigError


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    for name in ("RAY_AUTH_MODE", "SKELETONLLM_RAY_INSECURE", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("address", ["10.1.2.3:6379", "ray://head:10001", "auto", "[fd00::1]:6379", "127.evil.org:1"])
def test_a_cluster_that_may_be_elsewhere_is_refused_before_it_is_dialled_unless_it_has_a_token(monkeypatch, address):
    def dial(**_: object) -> None:
        raise AssertionError("dialled")

    monkeypatch.setattr("ray.init", dial)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match="set RAY_AUTH_MODE=token"):
        start_ray()
    for name, value in (("RAY_AUTH_MODE", "token"), ("SKELETONLLM_RAY_INSECURE", "1")):
        monkeypatch.setenv(name, value)
        check_cluster(read_settings())
        monkeypatch.delenv(name)


@pytest.mark.parametrize("address", ["", "local", "127.0.0.1:6379", "ray://localhost:10001", "[::1]:6379"])
def test_a_cluster_on_this_machine_needs_no_token(monkeypatch, address):
    monkeypatch.setenv("RAY_ADDRESS", address)
    check_cluster(read_settings())


@pytest.mark.ray
@pytest.mark.slow
def test_a_real_cluster_on_loopback_is_joined(tmp_path):
    from tests.kills import kill_tree

    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "HOME": str(tmp_path)}
    command = ["start", "--head", "--block", "--num-cpus=1", "--include-dashboard=false", "--port=0"]
    head = subprocess.Popen(
        [str(Path(sys.executable).parent / "ray"), *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said = next(line for line in head.stdout or () if "--address='" in line)
        port = said.split("--address='")[1].split("'")[0].rpartition(":")[2]
        joined = subprocess.run(
            [sys.executable, "-c", "from pipelines.executor import start_ray; start_ray(); import ray; ray.nodes()"],
            env={**environment, "RAY_ADDRESS": f"127.0.0.1:{port}"},
            capture_output=True,
            text=True,
        )
        assert joined.returncode == 0, joined.stderr[-2000:]
    finally:
        kill_tree(head.pid)
        head.wait(10)
        assert head.stdout is not None
        head.stdout.close()
