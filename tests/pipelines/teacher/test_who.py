import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipelines.settings import Settings
from pipelines.teacher.who import choose_teacher
from skeletonllm.errors import ConfigError, TeacherError


@contextmanager
def server_with(*models: str, status: int = 200) -> Iterator[Settings]:
    """A server that has these models; the settings that name it and none of them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/v1/models"
            assert self.headers["Authorization"] == "Bearer hush-hush-hush-hush"
            self.send_response(status)
            self.end_headers()
            one = {"object": "model", "created": 0, "owned_by": "us"}
            self.wfile.write(json.dumps({"object": "list", "data": [{**one, "id": name} for name in models]}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Settings("", f"http://127.0.0.1:{server.server_address[1]}/v1", "hush-hush-hush-hush")
        finally:
            server.shutdown()
            thread.join()


def test_the_only_model_of_a_server_is_the_teacher_and_that_is_said(caplog):
    with server_with("qwen") as settings, caplog.at_level("INFO"):
        assert choose_teacher(settings).teacher_model == "qwen"
    assert f"the only model of {settings.teacher_url} is qwen" in caplog.text


def test_of_several_models_one_must_be_named(caplog):
    with (
        server_with("b", "a") as settings,
        pytest.raises(ConfigError, match=r"has 2 models \(a, b\).*SKELETONLLM_TEACHER_MODEL"),
    ):
        choose_teacher(settings)
    with server_with() as settings, pytest.raises(ConfigError, match=r"0 models \(none\)"):
        choose_teacher(settings)


def test_a_server_that_does_not_say_its_models_is_one_error_without_the_key():
    with server_with("a", status=401) as settings, pytest.raises(TeacherError, match="does not say which") as caught:
        choose_teacher(settings)
    assert "hush" not in str(caught.value)
    with pytest.raises(TeacherError, match="SKELETONLLM_TEACHER_MODEL"):
        choose_teacher(settings)  # nobody is there any more


def test_an_address_that_may_not_be_asked_is_refused_and_no_password_is_shown():
    for teacher in (None, "m"):
        with pytest.raises(ConfigError, match="holds a user name or a password") as caught:
            choose_teacher(Settings("", "https://me:hush@example.org/v1"), teacher, may_ask=False)
        assert "hush" not in str(caught.value)
    with pytest.raises(ConfigError, match="not encrypted"):
        choose_teacher(Settings("", "http://example.org/v1"))


def test_nobody_is_asked_where_a_model_or_no_server_is_named(caplog):
    named = Settings("m", "http://127.0.0.1:9/v1")
    with caplog.at_level("INFO"):
        assert choose_teacher(named) == named
        assert choose_teacher(named, "other") == replace(named, teacher_model="other")
        assert choose_teacher(named, "kinematic") == Settings()
        assert choose_teacher(Settings()) == Settings()
    assert [record.getMessage() for record in caplog.records] == [
        "the teacher is m at http://127.0.0.1:9/v1",
        "the teacher is other at http://127.0.0.1:9/v1",
        "the teacher is the offline kinematic one",
        "the teacher is the offline kinematic one",
    ]


def test_a_plan_asks_no_server_for_its_models():
    with pytest.raises(ConfigError, match="no model is named, and the server may not be asked for one now"):
        choose_teacher(Settings("", "http://127.0.0.1:9/v1"), may_ask=False)


def test_a_key_without_a_model_is_a_warning(caplog):
    choose_teacher(Settings(teacher_key="hush-hush-hush-hush"))
    assert "SKELETONLLM_TEACHER_MODEL" in caplog.text
    assert "hush" not in caplog.text
