import http.server
import json
import threading
from pathlib import Path

import pytest

from skeletonllm.cli import checkup, main
from skeletonllm.cli.checkup import Finding

NAMES = (
    *("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "RAY_ADDRESS", "RAY_AUTH_MODE"),
    *("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "SKELETONLLM_RAY_INSECURE", "PREFECT_API_URL"),
)


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def port():
    """A server that refuses every question but one for its health."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/api/health" else 401)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def settings(online: bool = False) -> dict[str, Finding]:
    return {finding.what: finding for finding in checkup.settings_of(online)}


def test_doctor_looks_at_everything_and_its_exit_code_tells(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkup, "_FILES", (1, 2))
    assert main(["doctor", "--workdir", str(tmp_path), "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert {finding["what"] for finding in findings} >= {
        *("packages", "prefect", "ray", "teacher", "shared memory", "open files"),
        *("disk", "gpus", "compiler", "threads", "clock"),
    }
    monkeypatch.setenv("OMP_NUM_THREADS", "none")
    assert main(["doctor", "--workdir", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "OMP_NUM_THREADS is 'none'" in printed
    assert "→ export OMP_NUM_THREADS=" in printed
    assert "1 fault, " in printed


def test_a_package_of_a_wrong_version_or_that_is_not_there_is_a_fault(monkeypatch):
    wanted = ["torch<1", "no-such-package>=2", 'never; extra == "dev"', "numpy"]
    monkeypatch.setattr(checkup, "requires", lambda _: wanted)
    torch, missing = checkup.packages()
    assert torch.level == missing.level == "fault"
    assert "must be <1" in torch.found
    assert missing.advice == "pip install 'no-such-package>=2'"


def test_a_prefect_api_that_does_not_answer_is_a_fault_and_its_password_is_not_shown(port):
    assert checkup.prefect_api(f"http://127.0.0.1:{port}/api").level == "ok"
    finding = checkup.prefect_api("http://me:hush@127.0.0.1:9/api")
    assert finding.level == "fault"
    assert "hush" not in str(finding)


def test_a_port_that_is_taken_where_prefect_would_be_is_said(port, monkeypatch):
    monkeypatch.setattr(checkup, "_PREFECT_PORT", port)
    assert "export PREFECT_API_URL=" in checkup.prefect_api("").advice


def test_clocks_that_are_apart_are_said(port, monkeypatch):
    monkeypatch.setattr(checkup, "_CLOCK_S", -1.0)
    assert "synchronise" in checkup.prefect_api(f"http://127.0.0.1:{port}/api").advice


def test_a_ray_cluster_is_dialled_only_where_it_may_be_joined(port, monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    assert settings()["ray"].level == "ok"
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    assert settings()["ray"].level == "fault"
    monkeypatch.setenv("RAY_ADDRESS", "10.255.255.1:6379")
    assert "RAY_AUTH_MODE" in settings()["ray"].found
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert settings()["ray"].level == "ok"
    assert settings()["ray token"].level == "fault"
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("canary")
    assert settings()["ray token"].level == "ok"
    assert "canary" not in str(settings())


def test_a_teacher_needs_a_key_that_is_never_shown_and_is_asked_only_online(port, monkeypatch):
    assert settings()["teacher"].found == "kinematic (offline)"
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "gpt")
    assert settings()["teacher"].level == "fault"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    assert settings()["teacher"].level == "ok"
    assert "teacher online" not in settings()
    online = settings(online=True)
    assert "answers (401" in online["teacher online"].found
    assert "canary" not in str(online)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert settings(online=True)["teacher online"].level == "fault"
    monkeypatch.setenv("OPENAI_BASE_URL", "no address")
    assert settings()["settings"].level == "fault"


@pytest.mark.parametrize(("name", "value"), [("_DISK", (0, 2**80)), ("_FILES", (0, 2**40)), ("_SHARED_MEMORY", 2**80)])
def test_too_little_is_a_warning_with_advice(monkeypatch, tmp_path, name, value):
    monkeypatch.setattr(checkup, name, value)
    findings = [checkup.disk(tmp_path / "not" / "made"), checkup.open_files(), checkup.shared_memory()]
    (short,) = [finding for finding in findings if finding.level == "warning"]
    assert short.advice


def test_too_many_threads_crawl(monkeypatch):
    monkeypatch.setattr(checkup, "_cores", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for told, level in (("64", "warning"), ("2", "ok"), ("0", "fault"), ("", "warning")):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert checkup.threads().level == level


def test_a_gpu_that_torch_cannot_use_is_said(monkeypatch, tmp_path):
    import torch

    monkeypatch.setattr("skeletonllm.cli.machine.gpu_names", list)
    driver = tmp_path / "version"
    driver.write_text("NVRM version: 470\n")
    monkeypatch.setattr(checkup, "_DRIVER_AT", driver)
    for cuda, level in ((None, "warning"), ("13.0", "fault")):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        (finding,) = checkup.gpus()
        assert finding.level == level
    monkeypatch.setattr(checkup, "_DRIVER_AT", Path("/nowhere"))
    assert [finding.found for finding in checkup.gpus()] == ["none"]


def test_no_compiler_is_a_fault(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert checkup.compiler().level == "fault"
