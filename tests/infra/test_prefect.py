"""The deployments, pools and automations against a real Prefect API."""

import functools
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipelines.teacher.terms import Caps, Totals
from pipelines.workdir import Workdir
from skeletonllm.errors import BudgetError
from tests.chaos import ask
from tests.fake_teacher import FakeTeacher, kinematic_answer
from tests.makers import performed_clips, write_clips

ROOT = Path(__file__).parents[2]
PREFECT = ROOT / "infra" / "prefect"
BIN = Path(sys.executable).parent


def described() -> dict[str, Any]:
    return yaml.safe_load((PREFECT / "prefect.yaml").read_text())


def template(kind: str) -> dict[str, Any]:
    """The job template of a pool: the one that Prefect brings along for processes, else ours."""
    if kind != "process":
        return json.loads((PREFECT / f"{kind}.json").read_text())
    import prefect

    known = Path(prefect.__file__).parent / "server/api/collections_data/views/aggregate-worker-metadata.json"
    return json.loads(known.read_text())["prefect"][kind]["default_base_job_configuration"]


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_the_variables_of_each_pool_are_known_to_its_kind_of_worker(kind):
    pool, variables = described()["definitions"]["pools"][kind], template(kind)["variables"]
    jsonschema.validate(pool["job_variables"], {**variables, "additionalProperties": False})


@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_a_template_of_ours_declares_what_it_uses_and_uses_what_it_declares(kind):
    ours = template(kind)
    used = re.findall(r"{{ (\w+) }}", json.dumps(ours["job_configuration"]))
    assert set(used) == set(ours["variables"]["properties"])


def test_a_container_has_more_shared_memory_than_docker_gives_by_itself():
    from docker.models.containers import RUN_HOST_CONFIG_KWARGS

    given = described()["definitions"]["pools"]["docker"]["job_variables"]["container_create_kwargs"]
    assert given["shm_size"] == "4g"
    assert set(given) <= set(RUN_HOST_CONFIG_KWARGS)


def test_a_pod_that_trains_finds_a_node_with_a_gpu_and_has_the_time_to_save():
    from skeletonllm.train.config import EngineConfig

    pod = template("kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 2 * EngineConfig().grace_s
    assert [toleration["key"] for toleration in pod["tolerations"]] == ["nvidia.com/gpu"]


def test_any_of_the_pools_can_be_the_one_of_all_deployments():
    text = (PREFECT / "prefect.yaml").read_text()
    assert text.count("    <<: *process\n") == 1
    for kind in ("process", "docker", "kubernetes"):
        changed = yaml.safe_load(text.replace("    <<: *process\n", f"    <<: *{kind}\n"))
        pools = {one["work_pool"]["name"] for one in changed["deployments"]}
        assert pools == {changed["definitions"]["pools"][kind]["name"]}


def test_what_trains_runs_once_at_a_time_and_every_schedule_is_paused():
    for one in described()["deployments"]:
        if one["name"] in ("train-stages", "retrain", "compare-renderers", "build-teacher-chains"):
            assert one["concurrency_limit"] == 1
        assert all(schedule["active"] is False for schedule in one.get("schedules", ()))


class Told:
    """A place that notifications are sent to."""

    def __init__(self) -> None:
        self.said: list[str] = []
        told = self.said

        class Listen(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listen)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture(scope="module")
def told():
    listening = Told()
    yield listening
    listening.server.shutdown()
    listening.server.server_close()


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    """A Prefect server with a database of its own; the address of its API."""
    place = tmp_path_factory.mktemp("prefect")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_HOME": str(place), "PREFECT_API_URL": url, "SKELETONLLM_HOME": str(ROOT)}
    with (place / "log").open("w") as log:
        server = subprocess.Popen(
            [str(BIN / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=environment,
            stdout=log,
            stderr=log,
            cwd=ROOT,
            start_new_session=True,
        )
    try:
        wait_for(lambda: ask(f"{url}/health") is True)
        ask(f"{url}/work_pools/", {"name": "skeletonllm", "type": "process", "base_job_template": template("process")})
        subprocess.run(
            [str(BIN / "prefect"), "--no-prompt", "deploy", "--all", "--prefect-file", "infra/prefect/prefect.yaml"],
            env=environment,
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(20)


def wait_for(is_so: Callable[[], Any], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.3)


def failed_run(api: str, deployment: str) -> None:
    run: dict[str, Any] = {}
    wait_for(lambda: run.update(ask(f"{api}/deployments/{deployment}/create_flow_run", {}) or {}) or run, 60)
    failed = {"state": {"type": "FAILED"}, "force": True}
    wait_for(lambda: ask(f"{api}/flow_runs/{run['id']}/set_state", failed), 60)


def stop_at_a_cap(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a teacher about more clips than it may be asked about."""
    from flows.build_teacher_chains import build_teacher_chains

    clips = write_clips(Workdir(workdir).data, performed_clips())
    with FakeTeacher(answer=functools.partial(kinematic_answer, performed_clips())) as fake:
        teacher = {"SKELETONLLM_TEACHER_MODEL": "fake", "OPENAI_BASE_URL": fake.url, "OPENAI_API_KEY": "k"}
        for name, value in teacher.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(BudgetError):
            build_teacher_chains(
                str(workdir), hold_out="subject=P002", clips=clips, executor="inline", max_requests=1, at_once=1
            )
        assert fake.count == 1


@pytest.mark.prefect
@pytest.mark.slow
def test_deployments_and_automations_do_on_a_real_server_what_they_say(api, told, tmp_path, monkeypatch):
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.automations import create_automations
    from flows.budget import told_budget

    names = {one["name"] for one in ask(f"{api}/deployments/filter", {})}
    assert names == {one["name"] for one in described()["deployments"]}
    retrain = ask(f"{api}/deployments/name/retrain/retrain")
    assert not retrain["schedules"][0]["active"]
    assert retrain["global_concurrency_limit"]["limit"] == 1
    assert retrain["pull_steps"][0].popitem()[1]["directory"] == str(ROOT)
    ours = {"name": "skeletonllm-kubernetes", "type": "kubernetes", "base_job_template": template("kubernetes")}
    assert ask(f"{api}/work_pools/", ours)["name"] == ours["name"]

    with temporary_settings({PREFECT_API_URL: api}):
        lines = create_automations()
        assert sum("created" in line for line in lines) == 2
        assert "there is no notification block 'skeletonllm'" in lines[2]
        block = CustomWebhookNotificationBlock(name="skeletonllm", url=told.url, json_data={"text": "{{body}}"})
        block.save("skeletonllm")
        assert [line.split(": ")[1] for line in create_automations()] == ["replaced", "replaced", "created"]
        assert len(ask(f"{api}/automations/filter", {})) == 3

        with told_budget(tmp_path, Caps(max_cost=10.0)) as look:
            for spent in (7.9, 8.0, 8.1):
                look(Totals(cost=spent + 0.5, reserved_cost=0.5))
        wait_for(lambda: told.said, 60)
        stop_at_a_cap(tmp_path / "work", monkeypatch)
    wait_for(lambda: len(told.said) == 2, 60)
    assert f"8.0000 of at most 10.0000 USD are spent on the teacher of {tmp_path}" in told.said[0]
    assert "work has stopped: the teacher was asked 1 times, at most 1 are allowed" in told.said[1]

    mine = ask(f"{api}/deployments/name/mine-pairs/mine-pairs")["id"]
    for _ in range(3):
        failed_run(api, mine)
    for _ in range(2):
        failed_run(api, retrain["id"])
    time.sleep(3)
    assert not ask(f"{api}/deployments/{retrain['id']}")["paused"]
    failed_run(api, retrain["id"])
    wait_for(lambda: ask(f"{api}/deployments/{retrain['id']}")["paused"], 60)
    assert not ask(f"{api}/deployments/{mine}")["paused"]
    assert len(told.said) == 2  # nobody asked again at the cap
