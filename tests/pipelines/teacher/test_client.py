import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from pipelines.settings import Settings
from pipelines.teacher.client import OpenAITeacher, retry_after_s
from pipelines.teacher.replies import ReplyStore
from pipelines.teacher.request import TeacherRequest
from skeletonllm.errors import ChainError, TeacherBusyError, TeacherError
from skeletonllm.reasoning.chain import parse_chain
from tests.fake_teacher import CHAIN, FakeTeacher

KEY = "sk-canary-123"


@pytest.fixture
def ask(tmp_path):
    """Asks a fake by a request, through a store that lasts as long as the test."""
    teachers = []

    def ask(url, word="hello", **options):
        teachers.append(make(url, **options))
        return teachers[-1].ask(request(url, word))

    def make(url, max_attempts=3, first_wait_s=0.01, timeout_s=5.0):
        store = ReplyStore(tmp_path / "replies.sqlite")
        return OpenAITeacher(Settings("fake", url, KEY), store, max_attempts, first_wait_s, timeout_s)

    yield ask
    for teacher in teachers:
        teacher.close()


def request(url, word="hello", **sampling):
    return TeacherRequest("fake", ({"role": "user", "content": word},), {"max_tokens": 10, **sampling}, url)


def test_a_reply_is_asked_for_once_and_then_comes_from_the_store(ask):
    with FakeTeacher() as fake:
        first, second, other = ask(fake.url), ask(fake.url), ask(fake.url, "another")
        assert fake.count == 2
    assert first == second
    assert other.key != first.key
    assert json.loads(first.text) == CHAIN
    assert (first.prompt_tokens, first.completion_tokens, first.attempt) == (7, 5, 1)


def test_the_request_carries_the_key_and_the_schema(ask):
    with FakeTeacher() as fake:
        ask(fake.url)
        assert fake.keys == [f"Bearer {KEY}"]
        assert fake.bodies[0]["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize("trouble", ["busy", "down", "web page", "broken json", "error object"])
def test_a_busy_or_confused_server_is_asked_again(ask, trouble):
    with FakeTeacher(trouble, trouble) as fake:
        assert ask(fake.url).attempt == 3
        assert fake.count == 3


def test_the_server_says_how_long_to_wait(ask):
    with FakeTeacher("busy 0.3") as fake:
        start = time.monotonic()
        ask(fake.url)
        assert time.monotonic() - start >= 0.3


def test_a_server_that_stays_busy_is_given_up_and_nothing_is_kept(ask, tmp_path):
    with FakeTeacher(*["busy"] * 3) as fake:
        with pytest.raises(TeacherBusyError, match="gave up after 3 attempts"):
            ask(fake.url)
        assert len(ReplyStore(tmp_path / "replies.sqlite")) == 0
        assert ask(fake.url).attempt == 1  # the next run


@pytest.mark.parametrize("trouble", ["refused", "no such model", "no quota"])
def test_a_refusal_is_raised_at_once(ask, trouble):
    with FakeTeacher(trouble) as fake:
        with pytest.raises(TeacherError) as caught:
            ask(fake.url)
        assert fake.count == 1
    assert not isinstance(caught.value, TeacherBusyError)
    assert KEY not in str(caught.value)


def test_after_a_refusal_the_other_requests_are_not_sent(tmp_path):
    with FakeTeacher("refused") as fake:
        teacher = OpenAITeacher(Settings("fake", fake.url), ReplyStore(tmp_path / "r.sqlite"))
        for word in ("one", "two", "three"):
            with pytest.raises(TeacherError):
                teacher.ask(request(fake.url, word))
        assert fake.count == 1
        teacher.close()


def test_an_unreachable_server_is_named_with_what_to_do(ask):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(TeacherBusyError, match=rf"{url}: cannot be reached.*OPENAI_BASE_URL.*3 attempts"):
            ask(url)


def test_a_slow_server_times_out_and_is_asked_again(ask):
    with FakeTeacher("slow") as fake:
        assert ask(fake.url, timeout_s=0.3).attempt == 2


def test_a_cut_reply_is_asked_for_once_more_with_twice_the_room(ask):
    with FakeTeacher("cut") as fake:
        reply = ask(fake.url)
        assert [body["max_tokens"] for body in fake.bodies] == [10, 20]
    assert reply.finish_reason == "stop"
    assert reply.prompt_tokens == 14  # both were paid for


def test_a_reply_that_is_cut_twice_is_kept_and_is_no_chain(ask):
    with FakeTeacher("cut", "cut") as fake:
        reply = ask(fake.url)
        assert ask(fake.url) == reply
        assert fake.count == 2
    with pytest.raises(ChainError, match="c0: the reply is no JSON object"):
        parse_chain(reply.text, "c0", "fake", "1")


def test_nonsense_is_a_reply_and_no_chain(ask):
    with FakeTeacher("nonsense") as fake, pytest.raises(ChainError, match="weather"):
        parse_chain(ask(fake.url).text, "c0", "fake", "1")


@pytest.mark.parametrize(
    ("trouble", "gone", "instead"),
    [
        ("no schema", "response_format", None),
        ("no temperature", "temperature", None),
        ("no max_tokens", "max_tokens", "max_completion_tokens"),
    ],
)
def test_an_option_that_a_server_does_not_know_is_not_sent_again(tmp_path, trouble, gone, instead):
    with FakeTeacher(trouble) as fake:
        teacher = OpenAITeacher(Settings("fake", fake.url), ReplyStore(tmp_path / "r.sqlite"))
        for word in ("one", "two"):
            assert json.loads(teacher.ask(request(fake.url, word, temperature=0.2)).text) == CHAIN
        assert [gone in body for body in fake.bodies] == [True, False, False]
        assert instead is None or fake.bodies[1][instead] == 10
        teacher.close()


def test_many_threads_ask_each_request_once(tmp_path):
    with FakeTeacher("busy", "down", "busy 0.05") as fake:
        teacher = OpenAITeacher(Settings("fake", fake.url), ReplyStore(tmp_path / "r.sqlite"), first_wait_s=0.01)
        requests = [request(fake.url, str(number)) for number in range(20)]
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(teacher.ask, requests))
        assert [reply.key for reply in replies] == [one.key for one in requests]
        assert fake.count == 23
        teacher.close()


def test_the_key_depends_on_all_that_is_asked_and_not_on_its_order():
    one = request("http://a/v1", temperature=0.1)
    assert one.key == replace(one, sampling={"temperature": 0.1, "max_tokens": 10}).key
    for change in ({"model": "other"}, {"base_url": "http://b/v1"}, {"sampling": {"max_tokens": 11}}):
        assert replace(one, **change).key != one.key


def test_no_key_is_written_anywhere(ask, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    with FakeTeacher("busy", "refused") as fake, pytest.raises(TeacherError):
        ask(fake.url)
    assert KEY not in caplog.text
    assert all(KEY.encode() not in path.read_bytes() for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after-ms": "250", "retry-after": "2"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_waiting_times_are_read_in_every_form(headers, seconds):
    assert retry_after_s(headers) == seconds
