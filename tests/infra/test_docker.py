"""The images cannot be built where there is no Docker; what can be read of them is."""

import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "infra" / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
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


def test_what_is_run_at_the_start_is_there_and_is_shell(file):
    (entry,) = {one.rest for one in instructions(file) if one.name == "ENTRYPOINT"}
    script = ROOT / entry.strip('[]"').removeprefix("/opt/skeletonllm/")
    assert script.stat().st_mode & 0o111
    for path in DOCKER.glob("*.sh"):
        subprocess.run(["sh", "-n", str(path)], check=True)


def test_a_container_joins_the_cluster_that_is_named_and_then_runs_its_command(tmp_path):
    (tmp_path / "ray").write_text('#!/bin/sh\necho "ray $*"\n')
    (tmp_path / "ray").chmod(0o755)
    for environment, said in (
        ({}, "address: \n"),
        (
            {"RAY_HEAD": "head:6379"},
            "ray start --address=head:6379 --num-cpus=0 --num-gpus=0 --disable-usage-stats\naddress: head:6379\n",
        ),
    ):
        done = subprocess.run(
            [str(DOCKER / "join.sh"), "sh", "-c", 'echo "address: ${RAY_ADDRESS:-}"'],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin", **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == said
