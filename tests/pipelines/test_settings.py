import pytest

from pipelines.settings import Settings, read_settings
from skeletonllm.errors import ConfigError

NAMES = ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "RAY_ADDRESS")


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_set_in_an_empty_environment():
    assert read_settings() == Settings()


def test_settings_come_from_the_environment_without_line_ends(monkeypatch):
    for name, value in zip(NAMES, ("gpt", "http://h:1/v1", "sk-1\n", "auto"), strict=True):
        monkeypatch.setenv(name, value)
    assert read_settings() == Settings("gpt", "http://h:1/v1", "sk-1", "auto")


def test_a_key_is_in_no_repr(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    assert "sk-canary" not in repr(read_settings())


@pytest.mark.parametrize("url", ["http://me:secret@host/v1", "https://secret@host"])
def test_a_password_in_the_address_is_refused_and_not_shown(monkeypatch, url):
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "gpt")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        read_settings()
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "http://[::1"])
def test_an_address_that_cannot_be_one_is_refused(monkeypatch, url):
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "gpt")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    with pytest.raises(ConfigError, match="must be an address like"):
        read_settings()


def test_an_address_without_a_teacher_is_not_looked_at(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "whatever")
    assert read_settings().teacher_model == ""


def test_a_key_that_no_header_can_hold_is_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ключ")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        read_settings()
