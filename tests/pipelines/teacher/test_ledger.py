import multiprocessing
import os
import signal
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from pipelines.teacher.database import ATTEMPT, BUDGET, REQUEST, Database
from pipelines.teacher.ledger import Attempt, Bound, Caps, Ledger, Pace, Totals, Wait
from pipelines.teacher.owners import is_alive, this_owner
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.errors import BudgetError, ConfigError, DataError, RequestError
from tests.postgres import lacking, postgres

BOUND = Bound(100, 0.001)
NO_CAPS = Caps()


@pytest.fixture(scope="module")
def server():
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """A ledger's address, in each kind of database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/deep/ledger.sqlite"
    if lacking():
        pytest.skip(lacking())
    found = request.getfixturevalue("server")
    with closing(Database(found)) as database:
        tables = "request, attempt, reply, verdict, budget, owner, pace, batch"
        database.do(lambda connection: connection.exec_driver_sql(f"TRUNCATE {tables}"))
    return found


@pytest.fixture
def ledger(url):
    with closing(Ledger.open(url)) as opened:
        yield opened


def request(word="hello"):
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10_000}}
    content = [{"type": "text", "text": word}, picture]
    return TeacherRequest("m", ({"role": "user", "content": content},), {"max_tokens": 10}, "http://x/v1", "v1")


def reply(attempt, text="text", cost=0.0005):
    return TeacherReply(attempt.key, text, "stop", 3, 4, attempt.number, "2026-01-01T00:00:00+00:00", cost)


def reserve(ledger, word="hello", caps=NO_CAPS, **options) -> Attempt:
    leave = ledger.reserve(request(word), BOUND, caps, **options)
    assert isinstance(leave, Attempt), leave
    return leave


def test_a_request_is_reserved_sent_settled_and_never_asked_again(ledger):
    attempt = reserve(ledger)
    assert ledger.totals() == Totals(requests=1, tokens=100, cost=0.001, reserved=1, reserved_cost=0.001)
    ledger.mark_sent(attempt)
    said = reply(attempt, "half of a pair \ud800, a zero \0 and ü")
    ledger.settle(attempt, said, response_id="r1")
    assert ledger.reply(attempt.key) == said
    assert ledger.reserve(request(), BOUND, Caps(max_requests=1)) == said
    assert ledger.totals() == Totals(requests=1, tokens=7, cost=0.0005, settled=1)


def test_a_reply_that_does_not_tell_its_cost_counts_in_full(ledger):
    attempt = reserve(ledger)
    ledger.settle(attempt, reply(attempt, cost=None))
    assert ledger.totals().cost == 0.001


def test_what_was_asked_is_kept_without_its_pictures(ledger):
    reserve(ledger)
    size = ledger.database.do(
        lambda connection: connection.execute(select(func.length(REQUEST.c.payload))).scalar_one()
    )
    assert size < 1000


@pytest.mark.parametrize(
    ("caps", "told"),
    [
        (Caps(max_cost=0.0025), r"has cost 0\.0020 USD, the next request may cost 0\.0010.*--max-cost"),
        (Caps(max_tokens=250), r"has taken 200 tokens, the next request may take 100.*--max-tokens"),
        (Caps(max_requests=2), r"was asked 2 times.*--max-requests"),
    ],
)
def test_a_cap_is_checked_with_what_is_in_doubt(ledger, caps, told):
    for word in ("one", "two"):
        attempt = reserve(ledger, word, caps)
        ledger.mark_sent(attempt)
        ledger.fail(attempt, "the connection broke", in_doubt=True)
    with pytest.raises(BudgetError, match=told):
        ledger.reserve(request("three"), BOUND, caps)
    reserve(ledger, "three", caps, budget="another")


def test_money_that_may_come_free_is_waited_for(ledger):
    caps = Caps(max_requests=1)
    attempt = reserve(ledger, "one", caps)
    waits = ledger.reserve(request("two"), BOUND, caps)
    assert isinstance(waits, Wait)
    assert "hold money" in waits.reason
    ledger.fail(attempt, "busy", 429)
    assert reserve(ledger, "two", caps).number == 1


def test_who_asks_the_same_waits(ledger, url):
    attempt = reserve(ledger)
    with closing(Ledger.open(url)) as other:
        waits = other.reserve(request(), BOUND, NO_CAPS)
        assert isinstance(waits, Wait)
        assert str(os.getpid()) in waits.reason
        ledger.settle(attempt, reply(attempt))
        assert other.reserve(request(), BOUND, NO_CAPS) == reply(attempt)


def test_an_answer_that_got_lost_may_be_asked_for_once_more(ledger):
    for _ in range(2):
        attempt = reserve(ledger)
        ledger.mark_sent(attempt)
        ledger.fail(attempt, "lost", in_doubt=True)
    with pytest.raises(RequestError, match="was sent 2 times"):
        ledger.reserve(request(), BOUND, NO_CAPS)
    assert ledger.totals() == Totals(requests=2, tokens=200, cost=0.002, in_doubt=2, in_doubt_cost=0.002)


def _leave_behind(url):
    ledger = Ledger.open(url)
    reserve(ledger, "reserved")
    ledger.mark_sent(reserve(ledger, "sent"))
    settled = reserve(ledger, "settled")
    ledger.mark_sent(settled)
    ledger.settle(settled, reply(settled))
    reserve(ledger, "in a batch", batch="b1")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_dead_process_had_sent_is_in_doubt_and_the_rest_comes_free(url):
    process = multiprocessing.get_context("spawn").Process(target=_leave_behind, args=(url,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with closing(Ledger.open(url)) as ledger:
        totals = ledger.totals()
        assert (totals.settled, totals.in_doubt, totals.failed, totals.reserved) == (1, 1, 1, 1)
        assert reserve(ledger, "sent").number == 2
        assert isinstance(ledger.reserve(request("in a batch"), BOUND, NO_CAPS), Wait)


def _spend(url, first):
    with closing(Ledger.open(url)) as ledger:
        for number in range(first, first + 20):
            try:
                attempt = ledger.reserve(request(str(number)), BOUND, Caps(max_requests=30))
            except BudgetError:
                return
            if isinstance(attempt, Attempt):
                ledger.mark_sent(attempt)
                ledger.settle(attempt, reply(attempt))


def test_several_processes_together_pass_no_cap(url):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_spend, args=(url, 15 * number)) for number in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 3
    with closing(Ledger.open(url)) as ledger:
        assert ledger.totals().requests == 30


def test_requests_take_turns_at_the_pace_that_is_set(ledger):
    pace = Pace("x", requests=600, tokens=None, counted_tokens=0, paused_until=0)
    turns = [reserve(ledger, str(number), pace=pace).send_at for number in range(5)]
    assert turns[-1] - turns[0] == pytest.approx(0.4, abs=0.01)
    tokens = Pace("x", requests=None, tokens=6000, counted_tokens=100, paused_until=turns[-1] + 50)
    turns = [reserve(ledger, f"t{number}", pace=tokens).send_at for number in range(3)]
    assert turns[-1] - turns[0] == pytest.approx(2.0, abs=0.01)


def test_the_latest_judgement_holds(ledger):
    key = reserve(ledger).key
    ledger.judge(key, "c0", "accepted")
    ledger.judge(key, "c0", "rejected", ["no such movement"])


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["reserve", "sent", "settle", "fail", "doubt"])), max_size=25)
)
def test_the_budget_is_always_the_sum_of_its_attempts(tmp_path_factory, steps):
    caps, held = Caps(max_cost=0.0032), {}
    with closing(Ledger.open(f"sqlite:///{tmp_path_factory.mktemp('l')}/l.sqlite")) as ledger:
        for word, step in steps:
            if step == "reserve":
                try:
                    leave = ledger.reserve(request(str(word)), BOUND, caps, budget="b")
                except (BudgetError, RequestError):
                    continue
                if isinstance(leave, Attempt):
                    held[word] = leave
            elif word in held and step == "sent":
                ledger.database.do(
                    lambda c, a=held[word]: c.execute(ATTEMPT.update().where(ATTEMPT.c.id == a.id).values(state="sent"))
                )
            elif word in held:
                attempt = held.pop(word)
                if step == "settle":
                    ledger.settle(attempt, reply(attempt))
                else:
                    ledger.fail(attempt, "x", in_doubt=step == "doubt")
            totals = ledger.totals("b")
            kept = ledger.database.do(
                lambda c: c.execute(select(BUDGET.c.requests, BUDGET.c.tokens, BUDGET.c.cost)).first()
            )
            assert (tuple(kept) if kept else (0, 0, 0)) == (totals.requests, totals.tokens, round(totals.cost * 1e9))
            assert totals.cost <= 0.0032


def test_a_process_is_known_by_its_number_and_its_start():
    me = this_owner()
    assert is_alive(me, 0.0)
    assert not is_alive(me.rsplit("|", 1)[0] + "|1", 0.0)
    assert not is_alive("another machine|12|34", 0.0)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://me:hush@x/y", r"mysql://me:\*\*\*@x/y: a ledger is in SQLite .* or Postgres"),
        ("ledger.sqlite", "the ledger's address is none"),
        ("sqlite://", "a ledger is in SQLite"),
    ],
)
def test_an_address_that_is_none_is_told_without_its_password(url, told):
    with pytest.raises(ConfigError, match=told) as caught:
        Ledger.open(url)
    assert "hush" not in str(caught.value)


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    (tmp_path / "l.sqlite").write_text("this is no data base, and long enough to be looked at as one" * 20)
    with pytest.raises(DataError, match=r"l\.sqlite: cannot be used as the ledger"):
        Ledger.open(f"sqlite:///{tmp_path}/l.sqlite")


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="its folder cannot be made"):
        Ledger.open(f"sqlite:///{tmp_path}/file/l.sqlite")
