"""A key is used, runs fail in every way that we know, and then everything that they left behind is searched for it."""

import base64
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.executor import Build, ShardOutput, map_shards
from pipelines.settings import read_settings
from pipelines.workdir import Workdir
from skeletonllm.errors import ShardError
from tests.fake_model import FakeModel
from tests.makers import performed_clips, write_clips

KEY = "sk-canary-c0ffee0123456789abcdef"
ROOT = Path(__file__).parent.parent


def fail(_: int) -> ShardOutput:
    """Fails with the settings at hand."""
    settings = read_settings()
    assert settings.teacher_key == KEY, "a worker has the key of its own environment"
    raise KeyError(f"nothing is right with {settings}")


def abort(_: int) -> ShardOutput:
    """Dies as a segmentation fault does, with a dump of its stack."""
    settings = read_settings()
    assert settings
    os.abort()


def main(workdir: str) -> None:
    """Crashes on Ray, then the teacher's flow, with every report that Python, rich and the packages can give."""
    import faulthandler

    import rich.traceback

    from flows.build_teacher_chains import build_teacher_chains

    faulthandler.enable()
    rich.traceback.install(show_locals=True, locals_max_string=None, locals_max_length=None, width=1000)
    logging.basicConfig(level=logging.DEBUG)
    for process_shard in (fail, abort):
        try:
            build = Build("crash", process_shard.__name__, 1, {}, [], "chains", process_shard, shards=[0])
            map_shards(build, Path(workdir) / "data", "ray")
        except (KeyError, ShardError):
            logging.exception("the worker failed")
    build_teacher_chains(workdir=workdir, recipe="smoke", hold_out="subject=P002", executor="ray")


@pytest.fixture
def places(tmp_path):
    """Where runs leave things: the folder of the test, and one for Ray, whose sockets need a short name."""
    sessions = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    yield tmp_path, Path(sessions)
    shutil.rmtree(sessions, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.prefect
def test_after_runs_that_failed_the_key_is_found_nowhere(places):
    here, sessions = places
    work = Workdir(here / "work")
    write_clips(work.data, performed_clips())
    environment = {
        **os.environ,
        "SKELETONLLM_TEACHER_MODEL": "fake",
        "OPENAI_API_KEY": KEY,
        "OPENAI_LOG": "debug",
        "PREFECT_HOME": str(here / "prefect"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "RAY_TMPDIR": str(sessions),
        "PYTHONPATH": str(ROOT),
        "PYTHONFAULTHANDLER": "1",
    }
    repeats = json.dumps({"error": {"message": f"wrong key: Bearer {KEY}", "type": "fake", "code": None}})
    command = [sys.executable, "-c", f"from tests.test_secrets import main; main({str(work.path)!r})"]
    with FakeModel(status=401, raw=repeats) as fake:
        environment["OPENAI_BASE_URL"] = fake.name.partition("@")[2]
        done = subprocess.run(command, env=environment, capture_output=True, cwd=ROOT)
        assert fake.keys
        assert set(fake.keys) == {f"Bearer {KEY}"}  # it was used
    said = done.stdout + done.stderr
    assert done.returncode == 1, said[-3000:].decode()
    for sign in (b"nothing is right with Settings", b"killed its worker 3 times", b"TeacherError: "):
        assert sign in said, said[-3000:].decode()
    (here / "said.txt").write_bytes(said)
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert any(path.suffix == ".db" for path in files), "Prefect's own records"
    assert any("session_" in str(path) and path.suffix == ".log" for path in files), "Ray's own records"
    assert not [path for path in files if holds_key(path.read_bytes())]


def holds_key(data: bytes) -> bool:
    """Whether the key, or its Base64 from wherever it begins, is in it."""
    forms = [base64.b64encode(bytes(shift) + KEY.encode())[4:-4] for shift in range(3)]
    return any(form in data for form in (KEY.encode(), KEY.encode("utf-16-le"), *forms))


def test_the_search_would_find_the_key():
    for shift in range(3):
        assert holds_key(base64.b64encode(b"x" * shift + b"Bearer " + KEY.encode() + b" and more"))
    assert holds_key(f"...{KEY}...".encode())
    assert not holds_key(base64.b64encode(b"nothing of the kind" * 9))


def test_keys_are_read_in_one_place_and_sent_to_no_worker():
    sources = [path for package in ("flows", "pipelines", "skeletonllm") for path in (ROOT / package).rglob("*.py")]
    texts = {str(path.relative_to(ROOT)): path.read_text() for path in sources}
    assert not [name for name, text in texts.items() if "runtime_env" in text]
    assert [name for name, text in texts.items() if re.search(r"os\.environ.*OPENAI|openai\.\w*OpenAI\(", text)] == [
        "skeletonllm/answer/connect.py"
    ]
