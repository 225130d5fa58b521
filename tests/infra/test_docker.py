"""The images cannot be built where there is no Docker; what can be read of them is."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "infra" / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
# A command that is ready, is asked to end, and does something first.
SAVES = 'trap "echo saved; kill \\$!; exit 5" TERM; sleep 60 & touch {ready}; wait'
KNOWN = {"FROM", "RUN", "COPY", "ENV", "WORKDIR", "USER", "VOLUME", "ENTRYPOINT", "CMD", "EXPOSE", "HEALTHCHECK"}


@dataclass(frozen=True)
class Instruction:
    name: str
    rest: str


def instructions(file: Path) -> list[Instruction]:
    """Logical lines: comments out, continued lines joined."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [Instruction(*line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def stages(file: Path) -> dict[str, list[Instruction]]:
    """The instructions of each stage, by its name; the one without a name is the last, which is built by default."""
    found: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for one in instructions(file):
        if one.name == "FROM":
            base, _, name = one.rest.partition(" AS ")
            current = found.setdefault(name or "", [*found.get(base, ())])
        current.append(one)
    return found


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def file(request) -> Path:
    return request.param


def test_there_is_an_image_for_cpus_and_one_for_gpus():
    assert [path.name for path in FILES] == ["cpu.Dockerfile", "gpu.Dockerfile"]


def test_instructions_are_known_and_bases_are_stages_or_pinned(file):
    found = instructions(file)
    assert {one.name for one in found} <= KNOWN
    names: set[str] = set()
    for one in found:
        if one.name == "FROM":
            base, _, name = one.rest.partition(" AS ")
            assert base in names or re.fullmatch(r"[\w./-]+:\d[\w.-]+", base), base
            names.add(name)


def test_what_is_copied_is_there_and_let_through(file):
    ignored = (DOCKER / f"{file.name}.dockerignore").read_text().splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for one in instructions(file):
        if one.name == "COPY" and not one.rest.startswith("--from"):
            for source in one.rest.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source in let_through
    assert "*" in ignored
    assert "infra/secrets" in ignored


def test_all_packages_are_in_the_image(file):
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    copied = {one.rest.split()[0] for one in instructions(file) if one.name == "COPY"}
    assert {name.rstrip("*") for name in packages} <= copied


def test_nobody_is_root_and_the_server_has_a_health_check(file):
    for name in ("", "runtime", "serve"):
        users = [one.rest for one in stages(file)[name] if one.name == "USER"]
        assert users[-1:] == ["skeletonllm"], name
    (check,) = [one.rest for one in stages(file)["serve"] if one.name == "HEALTHCHECK"]
    assert "/health" in check
    assert not [one for one in stages(file)[""] if one.name in ("HEALTHCHECK", "EXPOSE")]


def test_packages_are_compiled_pinned_and_leave_no_lists_behind(file):
    text = file.read_text()
    assert "UV_COMPILE_BYTECODE=1" in text
    assert re.search(r"uv==\d+\.\d+\.\d+", text)
    for one in instructions(file):
        if "apt-get install" in one.rest:
            assert "--no-install-recommends" in one.rest
            assert "rm -rf /var/lib/apt/lists/*" in one.rest


def test_ray_up_finds_what_it_calls_inside_the_container(file):
    ran = " ".join(one.rest for one in stages(file)[""] if one.name == "RUN")
    assert re.search(r"\brsync\b", ran)
    assert "PATH=/opt/venv/bin:$PATH' >/etc/profile.d/" in ran  # its commands are those of a login shell
    assert "boto3" in file.read_text()


def test_what_is_run_at_the_start_is_there_and_is_shell(file):
    (entry,) = {one.rest for one in instructions(file) if one.name == "ENTRYPOINT"}
    script = ROOT / entry.strip('[]"').removeprefix("/opt/skeletonllm/")
    assert script.stat().st_mode & 0o111
    for path in DOCKER.glob("*.sh"):
        shell = path.read_text().split("\n", 1)[0].split("/")[-1].removeprefix("env ")
        subprocess.run([shell, "-n", str(path)], check=True)


def joined(tmp_path: Path, ray: str, *command: str) -> subprocess.Popen[str]:
    """A command that the entry point runs beside a node; `ray` is what the shell does for it."""
    (tmp_path / "ray").write_text(f"#!/bin/sh\n{ray}\n")
    (tmp_path / "ray").chmod(0o755)
    return subprocess.Popen(
        # As in a container: whoever runs tests in the background may have them ignore it.
        ["env", "--default-signal=INT", str(DOCKER / "join.sh"), *command],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "RAY_HEAD": "head:6379"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_without_a_cluster_a_container_runs_its_command_and_nothing_else():
    done = subprocess.run([str(DOCKER / "join.sh"), "sh", "-c", "exit 7"], env={"PATH": "/usr/bin:/bin"}, check=False)
    assert done.returncode == 7


def test_a_container_is_a_node_of_the_cluster_that_is_named_while_its_command_runs(tmp_path):
    node = tmp_path / "node"
    ray = f'echo "$$ $*" >{node}; exec sleep 60'
    said = f'until [ -s {node} ]; do sleep 0.1; done; echo "address: $RAY_ADDRESS"; exit 3'
    process = joined(tmp_path, ray, "sh", "-c", said)
    assert process.communicate(timeout=30)[0] == "address: head:6379\n"
    assert process.returncode == 3
    pid, started = node.read_text().split(maxsplit=1)
    assert started.startswith("start --address=head:6379 --num-cpus=0 --num-gpus=0 ")
    assert not Path("/proc", pid).exists()


def test_a_container_ends_when_its_node_ends_so_that_it_is_started_again(tmp_path):
    process = joined(tmp_path, "sleep 1", "sh", "-c", SAVES.format(ready=tmp_path / "ready"))
    said, why = process.communicate(timeout=30)
    assert said == "saved\n"
    assert "Ray node has ended" in why
    assert process.returncode == 1


def test_the_command_is_told_when_its_container_is_asked_to_stop(tmp_path):
    ready = tmp_path / "ready"
    process = joined(tmp_path, "exec sleep 60", "sh", "-c", SAVES.format(ready=ready))
    wait_for(ready.exists)
    process.terminate()
    assert process.communicate(timeout=30)[0] == "saved\n"
    assert process.returncode == 5


def test_the_command_may_be_interrupted(tmp_path):
    ask = "import signal; print(signal.getsignal(signal.SIGINT).__name__)"
    assert (
        joined(tmp_path, "exec sleep 60", sys.executable, "-c", ask).communicate(timeout=30)[0]
        == "default_int_handler\n"
    )


@pytest.mark.ray
@pytest.mark.slow
def test_a_node_ends_when_the_head_of_its_cluster_is_killed():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        head = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # how long a raylet looks for a head that is gone; else 60
    }
    # Ray's sockets lie in its folder, and their paths may not be long.
    with tempfile.TemporaryDirectory(prefix="ray-") as place, (Path(place) / "log").open("w+") as log:
        ours: dict[str, Any] = {"stdout": log, "stderr": log, "start_new_session": True}
        start = ["ray", "start", "--head", "--block", f"--port={head.split(':')[1]}", "--num-cpus=0"]
        options = ["--include-dashboard=false", "--disable-usage-stats", f"--temp-dir={place}"]
        cluster = subprocess.Popen([*start, *options], env=environment, **ours)
        container = None
        try:
            answers = ["ray", "health-check", "--address", head]
            wait_for(lambda: subprocess.run(answers, env=environment, capture_output=True, check=False).returncode == 0)
            container = subprocess.Popen(
                [str(DOCKER / "join.sh"), "sleep", "600"], env={**environment, "RAY_HEAD": head}, **ours
            )
            wait_for(lambda: Path(place, "log").read_text().count("Ray runtime started.") == 2)
            assert container.poll() is None
            os.killpg(cluster.pid, signal.SIGKILL)
            assert container.wait(120) == 1, log.read()
        finally:
            for process in (cluster, container):
                if process is not None and process.poll() is None:
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait(60)


def wait_for(is_so: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.2)
