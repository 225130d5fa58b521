"""A run is killed while it talks to the server about a batch; the next one must end as if nothing had happened."""

import multiprocessing
import os
import signal

import pytest

from pipelines.settings import Settings
from pipelines.teacher.batch import BatchTeacher, Patience
from pipelines.teacher.ledger import Ledger
from tests.fake_batch import FakeBatches
from tests.pipelines.teacher.test_batch import PRICES, REPLY_COST, requests_to

_STARTER = multiprocessing.get_context("forkserver")
_STARTER.set_forkserver_preload(["openai", "pipelines.teacher.batch", "tests.pipelines.teacher.test_batch"])
# What the server is about to make when the run dies is listed a moment later.
_PATIENCE = Patience(poll_s=0.05, lost_s=5.0, first_wait_s=0.01)


def run(url: str, ledger_url: str) -> None:
    """Ask four requests by batches, as a process of its own does."""
    ledger = Ledger.open(ledger_url)
    teacher = BatchTeacher(Settings("fake", url, "key"), ledger, prices=PRICES, patience=_PATIENCE)
    assert teacher.ask(requests_to(url)) == {}
    teacher.close()
    ledger.close()


@pytest.mark.parametrize("at", ["upload", "upload done", "create", "create done", "look done", "download done"])
def test_a_run_that_is_killed_finds_its_batch_again_and_submits_nothing_twice(tmp_path, at):
    children, killed = [], []

    def kill(step: str) -> None:
        if step == at and not killed:
            killed.append(step)
            os.kill(children[0].pid, signal.SIGKILL)

    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    with FakeBatches(hook=kill) as fake:
        keys = [request.key for request in requests_to(fake.url)]
        children.append(_STARTER.Process(target=run, args=(fake.url, url)))
        children[0].start()
        children[0].join(60)
        assert children[0].exitcode == -signal.SIGKILL
        run(fake.url, url)
        assert fake.submitted == [keys]
        assert set(fake.charged.values()) == {1}
    ledger = Ledger.open(url)
    totals = ledger.totals()
    ledger.close()
    assert totals.cost == pytest.approx(4 * REPLY_COST)
    assert (totals.requests, totals.in_doubt, totals.reserved) == (4, 0, 0)
