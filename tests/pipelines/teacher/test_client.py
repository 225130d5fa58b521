import json
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.settings import Settings
from pipelines.teacher.client import OpenAITeacher
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.limits import Limits
from pipelines.teacher.prices import Price, Prices
from pipelines.teacher.request import TeacherRequest
from skeletonllm.errors import BudgetError, ConfigError, RequestError, TeacherBusyError, TeacherError
from tests.fake_teacher import CHAIN, FakeTeacher

KEY = "sk-canary-123"


@pytest.fixture
def ledger(tmp_path):
    """A ledger that lasts as long as the test."""
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def teacher(ledger):
    """Makes teachers that use the test's ledger."""
    made = []

    def make(url, key=KEY, first_wait_s=0.01, timeout_s=5.0, prices=None, version="", **limits):
        settings = Settings("fake", url, key, teacher_api_version=version)
        made.append(OpenAITeacher(settings, ledger, "", Limits(**limits), prices, first_wait_s, timeout_s))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def ask(teacher):
    """Asks a fake by a request, each time anew."""
    return lambda url, word="hello", **options: teacher(url, **options).ask(request(url, word))


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


@pytest.mark.parametrize("trouble", ["busy", "down", "overloaded 0.01", "web page", "error object"])
def test_a_busy_or_confused_server_is_asked_again_and_charges_nothing(ask, ledger, trouble):
    with FakeTeacher(trouble, trouble) as fake:
        assert ask(fake.url).attempt == 3
        assert fake.count == 3
        assert fake.charges.total() == 1
    totals = ledger.totals()
    assert (totals.requests, totals.tokens, totals.failed) == (1, 12, 2)


@pytest.mark.parametrize("trouble", ["dropped", "dropped unpaid", "broken json", "bad gateway"])
def test_an_answer_that_got_lost_counts_as_spent_and_is_asked_for_once_more(ask, ledger, trouble):
    with FakeTeacher(trouble) as fake:
        assert json.loads(ask(fake.url).text) == CHAIN
        assert fake.count == 2
        assert fake.charges.total() == 1  # this server knows idempotency keys
    totals = ledger.totals()
    assert (totals.requests, totals.in_doubt) == (2, 1)
    assert totals.tokens > 12 + 10  # of the lost one all that was reserved counts


def test_an_answer_that_got_lost_twice_is_not_asked_for_again(ask):
    with FakeTeacher("dropped", "dropped") as fake:
        with pytest.raises(TeacherError, match="connection broke"):
            ask(fake.url)
        with pytest.raises(RequestError, match="was sent 2 times, and the answer was lost each time"):
            ask(fake.url)
        assert ask(fake.url, "another").text
        assert fake.count == 3


@pytest.mark.parametrize(
    ("trouble", "at_least_s", "at_most_s"),
    [("busy 0.3", 0.3, 2.0), ("busy ms 300", 0.3, 2.0), ("busy date", 0.0, 3.0), ("overloaded 0.3", 0.3, 2.0)],
)
def test_the_server_says_how_long_to_wait(teacher, trouble, at_least_s, at_most_s):
    with FakeTeacher(trouble) as fake:
        patient = teacher(fake.url, first_wait_s=20.0)
        start = time.monotonic()
        patient.ask(request(fake.url))
        assert at_least_s <= time.monotonic() - start <= at_most_s + 5.0  # a shared machine stalls now and then


def test_while_the_server_asks_to_wait_nobody_else_is_sent(teacher):
    with FakeTeacher("busy 0.5") as fake:
        one = teacher(fake.url)
        with ThreadPoolExecutor(4) as pool:
            first = pool.submit(one.ask, request(fake.url, "first"))
            while fake.count == 0:
                time.sleep(0.001)
            time.sleep(0.1)  # the refusal has arrived
            list(pool.map(one.ask, [request(fake.url, str(number)) for number in range(3)]))
            first.result()
        assert fake.count == 5
        assert fake.times[1] - fake.times[0] >= 0.5


def test_a_server_that_stays_down_is_given_up_for_all_and_the_next_run_goes_on(teacher, ask, ledger):
    with FakeTeacher(*["down"] * 6) as fake:
        down = teacher(fake.url)
        for word in ("one", "two"):
            with pytest.raises(TeacherBusyError, match=r"status 500\); gave up after 6 attempts; run the same"):
                down.ask(request(fake.url, word))
        assert fake.count == 6
        assert ledger.totals().requests == 0
        assert ask(fake.url, "one").text


@pytest.mark.parametrize("trouble", ["refused", "no such model", "no quota", "redirect"])
def test_a_refusal_is_raised_at_once_and_the_others_are_not_sent(teacher, trouble):
    with FakeTeacher(trouble) as fake:
        one = teacher(fake.url)
        for word in ("one", "two", "three"):
            with pytest.raises(TeacherError) as caught:
                one.ask(request(fake.url, word))
            assert not isinstance(caught.value, TeacherBusyError | RequestError)
            assert KEY not in str(caught.value)
        assert fake.count == 1


def test_a_request_that_is_not_taken_is_its_own_fault(teacher):
    with FakeTeacher("too long") as fake:
        one = teacher(fake.url)
        with pytest.raises(RequestError, match=r"does not take this request, status 400 .*10 tokens"):
            one.ask(request(fake.url, "one"))
        assert one.ask(request(fake.url, "two")).text


def test_an_unreachable_server_is_named_with_what_to_do(ask, ledger):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(TeacherBusyError, match=rf"{url}: cannot be reached.*OPENAI_BASE_URL.*6 attempts"):
            ask(url)
    assert ledger.totals().requests == 0  # not one byte was sent


def test_a_slow_server_times_out_and_is_asked_again(ask):
    with FakeTeacher("slow") as fake:
        assert ask(fake.url, timeout_s=0.3).attempt == 2


@pytest.mark.parametrize(
    ("trouble", "gone", "instead"),
    [
        ("no schema", "response_format", None),
        ("no temperature", "temperature", None),
        ("no max_tokens", "max_tokens", "max_completion_tokens"),
    ],
)
def test_an_option_that_a_server_does_not_know_is_not_sent_again(teacher, trouble, gone, instead):
    with FakeTeacher(trouble) as fake:
        one = teacher(fake.url)
        for word in ("one", "two"):
            assert json.loads(one.ask(request(fake.url, word, temperature=0.2)).text) == CHAIN
        assert [gone in body for body in fake.bodies] == [True, False, False]
        assert instead is None or fake.bodies[1][instead] == 10


def test_many_threads_ask_each_request_once(teacher, ledger):
    with FakeTeacher("busy", "down", "busy 0.05") as fake:
        one = teacher(fake.url)
        requests = [request(fake.url, str(number % 10)) for number in range(20)]
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(one.ask, requests))
        assert [reply.key for reply in replies] == [one.key for one in requests]
        assert fake.count == 13
        assert ledger.totals().requests == 10


def test_a_replay_needs_no_server_and_says_what_is_missing(teacher):
    with FakeTeacher() as fake:
        url = fake.url
        reply = teacher(url).ask(request(url))
    replay = teacher(url, replay=True)
    assert replay.ask(request(url)) == reply
    with pytest.raises(RequestError, match="the ledger has no reply; run without replay"):
        replay.ask(request(url, "another"))


def test_a_cap_on_cost_is_never_passed_by_many_threads(teacher, ledger):
    prices = Prices({"fake": Price(1000.0, 1000.0, 1000.0)}, {})
    with FakeTeacher("dropped", latency_s=0.01) as fake:
        one = teacher(fake.url, prices=prices, max_cost=4.0, at_once=4)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(one.ask, request(fake.url, str(number))) for number in range(250)]
            errors = [error for error in (one.exception() for one in asked) if error is not None]
        spent = fake.tokens * 1000.0 / 1e6
        assert spent <= ledger.totals().cost <= 4.0
        assert spent > 0.5  # what was reserved came free again
        assert errors
        assert all(isinstance(error, BudgetError) for error in errors)


def test_the_price_is_what_the_server_says_else_what_the_file_says(teacher, ledger):
    with FakeTeacher() as fake:
        assert teacher(fake.url).ask(request(fake.url)).cost == 0.0  # a server on this machine costs nothing
        prices = Prices({"fake": Price(1000.0, 2000.0, 1000.0)}, {})
        reply = teacher(fake.url, prices=prices).ask(request(fake.url, "another"))
    assert reply.cost == pytest.approx((7 * 1000 + 5 * 2000) / 1e6)
    assert ledger.totals().cost == pytest.approx(reply.cost)


def test_a_cap_on_cost_needs_a_price(teacher):
    with pytest.raises(ConfigError, match=r"the price of 'fake' is not known.*prices\.toml(.|\n)*--max-tokens"):
        teacher("https://models.example/v1", max_cost=1.0)
    teacher("https://models.example/v1", max_tokens=1000)


def test_azure_is_asked_in_its_own_way(teacher):
    with FakeTeacher() as fake:
        root = fake.url.removesuffix("/v1")
        teacher(root, version="2025-01-01").ask(request(root))
        assert fake.paths == ["/openai/deployments/fake/chat/completions?api-version=2025-01-01"]


def test_the_pace_stays_below_what_the_headers_allow(teacher):
    with FakeTeacher(latency_s=0.01, requests_per_minute=1800, window_s=2.0) as fake:
        one = teacher(fake.url, at_once=16)
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one.ask, [request(fake.url, str(number)) for number in range(70)]))
        assert fake.exceeded == 0
        assert fake.count == 70
        assert len(fake.times) / (fake.times[-1] - fake.times[0]) * 60 > 0.6 * 1800


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
    assert all(KEY.encode() not in path.read_bytes() for path in Path(tmp_path).iterdir())
