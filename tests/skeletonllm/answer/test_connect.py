import json
import traceback

import openai
import pytest

from skeletonllm.answer import connect as connecting
from skeletonllm.answer.address import Rules
from skeletonllm.answer.connect import connect, without_frames
from skeletonllm.errors import ConfigError
from tests.fake_model import FakeModel

KEY = "sk-canary-0123456789"


def url_of(fake: FakeModel) -> str:
    return fake.name.partition("@")[2]


def ask(client: openai.OpenAI) -> None:
    with client:
        client.chat.completions.create(model="fake", messages=[{"role": "user", "content": "hello"}])


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status):
    with FakeModel() as other, FakeModel(status=status, headers={"Location": url_of(other)}) as fake:
        with pytest.raises(openai.APIStatusError) as raised:
            ask(connect(url_of(fake), KEY))
        assert raised.value.status_code == status
        assert len(fake.bodies) == 1
        assert not other.bodies


def test_a_name_is_checked_as_what_it_leads_to_before_anything_is_sent(monkeypatch):
    seen = []

    def refuse(address, where, encrypted):
        seen.append((str(address), encrypted))
        raise ConfigError("there lives nobody")

    with FakeModel() as fake:
        client = connect(url_of(fake).replace("127.0.0.1", "localhost"), KEY, retries=2)
        monkeypatch.setattr(connecting, "check_peer", refuse)
        with pytest.raises(ConfigError, match="nobody"):
            ask(client)
        assert not fake.bodies
    assert seen == [("127.0.0.1", False)]


def test_this_machine_is_not_asked_through_a_proxy(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with FakeModel() as fake:
        ask(connect(url_of(fake), KEY))
        assert fake.keys == [f"Bearer {KEY}"]


def test_openai_itself_is_not_asked_without_a_key():
    with pytest.raises(ConfigError, match=r"OPENAI_API_KEY is not set .* OPENAI_API_KEY_FILE"):
        connect("", "")


def test_azure_is_spoken_to_in_its_own_way():
    with FakeModel() as fake:
        ask(connect(url_of(fake).removesuffix("/v1"), KEY, api_version="2026-01-01"))
        assert fake.bodies
        assert fake.keys == [""]  # it has a header of its own


def test_an_address_off_the_list_gets_no_client():
    with pytest.raises(ConfigError, match="SKELETONLLM_TEACHER_HOSTS"):
        connect("https://elsewhere.org/v1", KEY, Rules(("api.openai.com",)))


@pytest.mark.parametrize("status", [200, 401])
def test_a_key_that_the_server_repeats_is_cut_from_what_it_says(status):
    said = json.dumps({"error": {"message": f"wrong key {KEY}, {KEY}"}})
    with FakeModel(status=status, raw=said) as fake, connect(url_of(fake), KEY) as client:
        response = client.chat.completions.with_raw_response
        try:
            text = response.create(model="fake", messages=[]).http_response.text
        except openai.APIStatusError as error:
            text = str(error) + error.response.text
    assert "wrong key [key], [key]" in text
    assert KEY not in text


def test_a_crash_report_with_local_variables_shows_no_key():
    with FakeModel(hang_up=True) as fake:
        try:
            ask(connect(url_of(fake), KEY))
            raise AssertionError
        except openai.APIConnectionError as error:
            try:
                raise RuntimeError("ours") from without_frames(error)
            except RuntimeError as ours:
                report = traceback.TracebackException.from_exception(ours, capture_locals=True)
    assert report.__cause__ is not None
    assert KEY not in "".join(report.format())
