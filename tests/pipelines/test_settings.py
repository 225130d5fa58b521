import pytest

from pipelines.settings import Settings, read_settings
from skeletonllm.answer.address import Rules
from skeletonllm.errors import ConfigError

NAMES = ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "RAY_ADDRESS")
MORE = ("OPENAI_API_KEY_FILE", "SKELETONLLM_TEACHER_HOSTS", "SKELETONLLM_TEACHER_INSECURE")
RAY = ("RAY_AUTH_MODE", "SKELETONLLM_RAY_INSECURE")  # a Ray that another test started sets the first


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    for name in (*NAMES, *MORE, *RAY):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_set_in_an_empty_environment():
    assert read_settings() == Settings()


def test_settings_come_from_the_environment_without_line_ends(monkeypatch):
    for name, value in zip(NAMES, ("gpt", "https://h:1/v1", "sk-1\n", "auto"), strict=True):
        monkeypatch.setenv(name, value)
    assert read_settings() == Settings("gpt", "https://h:1/v1", "sk-1", ray_address="auto")


def test_a_key_is_in_no_repr(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    assert "sk-canary" not in repr(read_settings())


def test_an_address_that_may_not_be_asked_is_refused_where_a_teacher_is_named(monkeypatch):
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "gpt")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://me:secret@host/v1")
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL: it holds a user name") as caught:
        read_settings()
    assert "secret" not in str(caught.value)


def test_hosts_and_the_private_network_are_read(monkeypatch):
    monkeypatch.setenv("SKELETONLLM_TEACHER_HOSTS", "a.example, *.b.example,")
    monkeypatch.setenv("SKELETONLLM_TEACHER_INSECURE", "1")
    assert read_settings().rules == Rules(("a.example", "*.b.example"), allow_http=True)
    monkeypatch.setenv("SKELETONLLM_TEACHER_INSECURE", "maybe")
    with pytest.raises(ConfigError, match="'maybe', must be 1 or 0"):
        read_settings()


def test_an_address_without_a_teacher_is_not_looked_at(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "whatever")
    assert read_settings().teacher_model == ""


def test_a_key_that_no_header_can_hold_is_refused(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-ключ")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        read_settings()


def key_file(folder, data: bytes = b"sk-canary\n", mode: int = 0o600) -> str:
    path = folder / "key"
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def test_a_key_may_come_from_a_file(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("OPENAI_API_KEY_FILE", key_file(tmp_path))
    assert read_settings().teacher_key == "sk-canary"
    assert not caplog.records


def test_a_key_file_that_others_may_read_is_warned_of_once(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("OPENAI_API_KEY_FILE", key_file(tmp_path, mode=0o644))
    assert [read_settings().teacher_key for _ in range(2)] == ["sk-canary"] * 2
    assert [record.getMessage().endswith(f"chmod 600 {tmp_path / 'key'}") for record in caplog.records] == [True]
    assert "sk-canary" not in caplog.text


@pytest.mark.parametrize(
    ("data", "said"), [(b" \n", "is empty"), (b"x" * 9000, "longer than a key"), ("sk-\u043a".encode(), "no key has")]
)
def test_a_key_file_that_holds_no_key_is_refused_without_what_it_holds(monkeypatch, tmp_path, data, said):
    monkeypatch.setenv("OPENAI_API_KEY_FILE", key_file(tmp_path, data))
    with pytest.raises(ConfigError, match=f"OPENAI_API_KEY_FILE .*{said}") as caught:
        read_settings()
    assert "xxx" not in str(caught.value)


def test_a_key_file_that_is_not_there_or_not_alone_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="No such file"):
        read_settings()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    with pytest.raises(ConfigError, match="both set") as caught:
        read_settings()
    assert "sk-canary" not in str(caught.value)
