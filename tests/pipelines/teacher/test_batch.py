import json
import tempfile
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.settings import Settings
from pipelines.teacher import batch_book
from pipelines.teacher.batch import BatchTeacher, Patience
from pipelines.teacher.entries import settle
from pipelines.teacher.ledger import Caps, Ledger
from pipelines.teacher.prices import Price, Prices
from pipelines.teacher.request import TeacherRequest
from skeletonllm.errors import BudgetError, DataError, RequestError, TeacherBusyError, TeacherError
from tests.fake_batch import FakeBatches
from tests.fake_teacher import CHAIN

KEY = "sk-canary-0123456789"
PRICES = Prices({"fake": Price(1.0, 10.0, 0.5, batch=0.5)}, {})
REPLY_COST = 0.5 * (1000 * 1.0 + 100 * 10.0) / 1e6
PATIENCE = Patience(poll_s=0.01, lost_s=0.0, first_wait_s=0.001)


def requests_to(url: str, count: int = 4) -> list[TeacherRequest]:
    return [
        TeacherRequest("fake", ({"role": "user", "content": f"number {number}"},), {"max_tokens": 200}, url)
        for number in range(count)
    ]


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def ask(ledger):
    """Asks a fake for some requests by batches, as a run of its own."""

    def ask(fake: FakeBatches, requests: list[TeacherRequest], **options) -> dict[str, TeacherError]:
        teacher = BatchTeacher(Settings("fake", fake.url, KEY), ledger, prices=PRICES, patience=PATIENCE, **options)
        try:
            return teacher.ask(requests)
        finally:
            teacher.close()

    return ask


def test_a_batch_brings_all_replies_at_half_the_price_and_a_second_run_asks_nothing(ask, ledger):
    with FakeBatches("slow") as fake:
        requests = requests_to(fake.url)
        assert ask(fake, requests) == {}
        assert ask(fake, requests) == {}
        assert fake.submitted == [[request.key for request in requests]]
        (line,) = {json.loads(line)["url"] for line in fake.files["file-0"].splitlines()}
    assert line == "/v1/chat/completions"
    replies = [ledger.reply(request.key) for request in requests]
    assert {reply.cost for reply in replies} == {REPLY_COST}
    assert json.loads(replies[0].text) == CHAIN
    totals = ledger.totals()
    assert (totals.requests, totals.reserved, totals.failed) == (4, 0, 0)
    assert totals.cost == pytest.approx(4 * REPLY_COST)


def test_money_is_reserved_for_each_request_before_the_server_hears_of_them(ask, ledger):
    seen = {}
    with FakeBatches(hook=lambda step: seen.setdefault(step, ledger.totals())) as fake:
        requests = requests_to(fake.url)
        bound = PRICES.bound(requests[0], in_batch=True).cost
        ask(fake, requests)
    for step in ("upload", "create"):
        assert seen[step].reserved == 4
        assert seen[step].cost == pytest.approx(4 * bound)


def test_requests_are_split_over_files_that_are_not_too_large(ask):
    with FakeBatches() as fake:
        requests = requests_to(fake.url, 7)
        assert ask(fake, requests, most_requests=3) == {}
        assert [len(keys) for keys in fake.submitted] == [3, 3, 1]
        line = max(len(line) for line in fake.files["file-0"].splitlines()) + 3
        more = requests_to(fake.url, 12)
        ask(fake, more, most_bytes=2 * line)
        sizes = [len(data) for name, data in fake.files.items() if b'"method"' in data]
    assert [len(keys) for keys in fake.submitted[3:]] == [2, 2, 1]
    assert max(sizes[3:]) <= 2 * line


def test_a_request_that_no_file_can_hold_has_a_reason_and_costs_nothing(ask, ledger):
    with FakeBatches() as fake:
        (ended,) = ask(fake, requests_to(fake.url, 1), most_bytes=100).values()
        assert not fake.batches
    assert isinstance(ended, RequestError)
    assert "smaller pictures" in str(ended)
    assert ledger.totals().cost == 0


@pytest.mark.parametrize("what", ["half expired", "half cancelled", "half tired"])
def test_only_the_complement_is_submitted_again_and_what_was_not_answered_costs_nothing(ask, ledger, what):
    with FakeBatches(what) as fake:
        requests = requests_to(fake.url)
        assert ask(fake, requests) == {}
        keys = [request.key for request in requests]
        assert fake.submitted == [keys, keys[2:]]
        assert set(fake.charged.values()) == {1}
    assert ledger.totals().cost == pytest.approx(4 * REPLY_COST)
    assert [ledger.reply(key).attempt for key in keys] == [1, 1, 2, 2]


@pytest.mark.parametrize(("what", "answered"), [("half failed", 2), ("all failed", 0)])
def test_a_request_that_the_server_refuses_has_a_reason_and_is_not_submitted_again(ask, ledger, what, answered):
    with FakeBatches(what) as fake:
        ended = ask(fake, requests_to(fake.url))
        assert len(fake.submitted) == 1
    assert len(ended) == 4 - answered
    assert all(isinstance(error, RequestError) and "not allowed" in str(error) for error in ended.values())
    assert ledger.totals().cost == pytest.approx(answered * REPLY_COST)


@pytest.mark.parametrize(("what", "lost"), [("half lost", 2), ("cut", 1)])
def test_what_may_have_been_charged_counts_as_spent_and_is_submitted_once_more(ask, ledger, what, lost):
    with FakeBatches(what) as fake:
        requests = requests_to(fake.url)
        assert ask(fake, requests) == {}
        assert [len(keys) for keys in fake.submitted] == [4, lost]
        spent = sum(fake.charged.values()) * REPLY_COST
    totals = ledger.totals()
    assert totals.in_doubt == lost
    assert totals.cost >= spent


def test_what_is_lost_twice_is_not_paid_for_a_third_time(ask):
    with FakeBatches("half lost", "half lost", "half lost") as fake:
        ended = ask(fake, requests_to(fake.url))
        assert max(fake.charged.values()) == 2
        assert ended
        assert all(isinstance(error, RequestError) and "not sent again" in str(error) for error in ended.values())


def test_lines_may_come_twice_and_in_any_order(ask, ledger):
    with FakeBatches("shuffled twice", answer=lambda body: body["messages"][0]["content"]) as fake:
        requests = requests_to(fake.url)
        assert ask(fake, requests) == {}
    assert [ledger.reply(request.key).text for request in requests] == [f"number {number}" for number in range(4)]
    assert ledger.totals().cost == pytest.approx(4 * REPLY_COST)


def test_what_always_expires_is_left_to_a_later_run(ask, ledger):
    with FakeBatches(*["half expired"] * 3) as fake:
        requests = requests_to(fake.url, 1)
        ended = ask(fake, requests)
        assert [len(keys) for keys in fake.submitted] == [1, 1, 1]
        assert isinstance(ended[requests[0].key], TeacherBusyError)
        assert ask(fake, requests) == {}
    assert ledger.totals().cost == pytest.approx(REPLY_COST)


def test_an_option_that_the_server_does_not_know_is_left_out_of_the_next_batch(ask):
    with FakeBatches("no schema") as fake:
        assert ask(fake, requests_to(fake.url)) == {}
        asked = [json.loads(fake.files[name].splitlines()[0])["body"] for name in ("file-0", "file-2")]
    assert ["response_format" in body for body in asked] == [True, False]


@pytest.mark.parametrize(
    ("what", "said"), [("refused", "the file is no good"), ("unauthorized", "refused with status 403 .not your model")]
)
def test_a_refusal_of_all_is_one_error_and_costs_nothing(ask, ledger, what, said):
    with FakeBatches(what) as fake:
        with pytest.raises(TeacherError, match=said) as raised:
            ask(fake, requests_to(fake.url))
        assert len(fake.submitted) == 1
    assert KEY not in str(raised.value)
    assert ledger.totals().cost == ledger.totals().reserved == 0


def test_no_more_is_submitted_than_the_cap_allows_and_a_higher_one_goes_on(ask, ledger):
    with FakeBatches() as fake:
        requests = requests_to(fake.url)
        bound = PRICES.bound(requests[0], in_batch=True).cost
        ended = ask(fake, requests, caps=Caps(max_cost=2.5 * bound))
        assert [len(keys) for keys in fake.submitted] == [2]
        assert [type(ended[request.key]) for request in requests[2:]] == [BudgetError] * 2
        assert ledger.totals().cost <= 2.5 * bound
        assert ask(fake, requests) == {}
        assert set(fake.charged.values()) == {1}


def test_a_server_without_batches_is_told_and_nothing_is_reserved(ask, ledger):
    with FakeBatches() as fake:
        fake.faults.extend([404])
        with pytest.raises(TeacherError, match="whether it has a Batch API"):
            ask(fake, requests_to(fake.url))
    assert ledger.totals().reserved == 0


def test_a_tired_server_is_asked_again(ask):
    with FakeBatches() as fake:
        fake.faults.extend([500, 429, 200, 429, 200, 502, 200, 500])  # upload twice, create, look, download
        assert ask(fake, requests_to(fake.url)) == {}
        assert len(fake.submitted) == 1


def test_a_batch_that_may_have_been_made_is_looked_for_and_not_submitted_twice(ask):
    def made(fake: FakeBatches) -> None:
        fake.faults.clear()

    with FakeBatches() as fake:
        create = fake._create

        def and_then_fail(asked):
            create(asked)
            raise ConnectionResetError

        fake._create = and_then_fail
        requests = requests_to(fake.url)
        fake.hook = lambda step: made(fake) if step == "list" else None
        assert ask(fake, requests) == {}
        assert fake.submitted == [[request.key for request in requests]]


def test_a_batch_that_was_never_made_is_submitted_again_without_a_cent(ask, ledger):
    with FakeBatches() as fake:
        fake.faults.extend([200, 500])  # the file arrives, the batch does not
        assert ask(fake, requests_to(fake.url)) == {}
        assert len(fake.submitted) == 1
    assert ledger.totals().cost == pytest.approx(4 * REPLY_COST)
    assert ledger.totals().failed == 4


def test_a_run_that_fails_while_it_writes_down_replies_goes_on_where_it_was(ask, ledger, monkeypatch):
    written = []

    def dying(connection, attempt, reply):
        if len(written) == 2:
            raise RuntimeError("the disk is full")
        written.append(attempt)
        settle(connection, attempt, reply)

    monkeypatch.setattr(batch_book, "_TOGETHER", 1)
    with FakeBatches() as fake:
        requests = requests_to(fake.url)
        with monkeypatch.context() as patched:
            patched.setattr(batch_book, "settle", dying)
            with pytest.raises(DataError, match="disk is full"):
                ask(fake, requests)
        assert sum(ledger.reply(request.key) is not None for request in requests) == 2
        assert ask(fake, requests) == {}
        assert len(fake.submitted) == 1
    assert ledger.totals().cost == pytest.approx(4 * REPLY_COST)


def test_two_runs_at_once_pay_once(ask, ledger):
    with FakeBatches("slow", "slow") as fake, ThreadPoolExecutor(2) as pool:
        requests = requests_to(fake.url)
        both = [pool.submit(ask, fake, requests) for _ in range(2)]
        assert [one.result() for one in both] == [{}, {}]
        assert set(fake.charged.values()) == {1}
    assert ledger.totals().cost == pytest.approx(4 * REPLY_COST)


WORDS = ("ok", "half expired", "half cancelled", "half lost", "half failed", "half tired", "cut", "shuffled twice")


@settings(max_examples=6)
@given(
    script=st.lists(st.sampled_from(WORDS), max_size=5),
    faults=st.lists(st.sampled_from([200, 200, 200, 429, 500, 502]), max_size=8),
    cap=st.floats(0.5, 8.0),
)
def test_whatever_happens_no_more_is_spent_than_the_cap_and_each_request_has_a_reply_or_a_reason(script, faults, cap):
    with tempfile.TemporaryDirectory() as folder, FakeBatches(*script) as fake:
        fake.faults.extend(faults)
        requests = requests_to(fake.url, 5)
        most = cap * PRICES.bound(requests[0], in_batch=True).cost
        ledger = Ledger.open(f"sqlite:///{folder}/ledger.sqlite")
        teacher = BatchTeacher(
            Settings("fake", fake.url, KEY),
            ledger,
            caps=Caps(max_cost=most),
            prices=PRICES,
            patience=PATIENCE,
            most_requests=3,
        )
        ended = teacher.ask(requests)
        teacher.close()
        totals = ledger.totals()
        replies = {request.key for request in requests if ledger.reply(request.key) is not None}
        ledger.close()
        assert sum(fake.charged.values()) * REPLY_COST <= totals.cost + 1e-12 <= most + 2e-12
    assert totals.reserved == 0
    assert replies | set(ended) == {request.key for request in requests}
    assert not replies & set(ended)
