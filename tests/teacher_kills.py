"""Kill a teacher's run again and again, at 30 % faults: no cap is passed, nothing that was accepted is paid for twice.

`python -m tests.teacher_kills --times 20`. A run that asks about many clips is killed at named and at random moments, also
two runs at once, then finished. The server counts what it charged; it knows idempotency keys.
"""

import argparse
import multiprocessing
import os
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path

from pipelines.settings import Settings
from pipelines.teacher.ask import ask_for_chains
from pipelines.teacher.client import OpenAITeacher
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.limits import Limits
from skeletonllm.errors import BudgetError, TeacherBusyError
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.performers import perform
from tests.fake_teacher import FakeTeacher, kinematic_answer

# A run is forked from a process that has imported everything: seconds less for each start.
_STARTER = multiprocessing.get_context("forkserver")
_STARTER.set_forkserver_preload(["openai", "pipelines.teacher.ask", "tests.fake_teacher"])
_PERFORMED = [perform(action, 0, 0, 0, fps=30.0) for action in ("wave", "kick", "bow")]
_TIMEOUT_S = 120.0


def clips(count: int) -> list[Clip]:
    """So many clips, each with its own requests."""
    return [replace(_PERFORMED[number % 3], clip_id=f"c{number}") for number in range(count)]


def run(url: str, ledger: str, count: int, limits: Limits, die_at: str = "") -> Iterator[tuple[str, str]]:
    """Each clip with what came of it: accepted, rejected or a reason. With `die_at` it kills itself there."""
    with closing(Ledger.open(ledger)) as opened:
        teacher = OpenAITeacher(Settings("fake", url), opened, "kills", limits, first_wait_s=0.02, timeout_s=20.0)
        if die_at:
            _die(opened, teacher, die_at)
        with closing(teacher):
            for one in ask_for_chains(clips(count), lambda clip: [], teacher, "fake", url, limits.at_once):
                yield (
                    one.clip.clip_id,
                    one.chain.verdict if isinstance(one.chain, ReasoningChain) else f"reason: {one.chain}",
                )


def _die(ledger: Ledger, teacher: OpenAITeacher, at: str) -> None:
    """Kill this process at a named point of its fifth request."""
    left = [5]

    def reached(point: str) -> None:
        if point == at:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    mark_sent, settle, post = ledger.mark_sent, ledger.settle, teacher._post

    def marking(attempt):
        reached("after reserve")
        mark_sent(attempt)
        reached("after mark")

    def posting(request, attempt):
        came = post(request, attempt)
        reached("after send")
        return came

    def settling(*told):
        reached("before settle")
        settle(*told)
        reached("after settle")

    ledger.mark_sent, ledger.settle, teacher._post = marking, settling, posting  # type: ignore[method-assign]


POINTS = ("after reserve", "after mark", "after send", "before settle", "after settle")


def start(url: str, ledger: str, count: int, limits: Limits, die_at: str = "") -> BaseProcess:
    """The same in a process of its own."""
    child = _STARTER.Process(target=_consume, args=(url, ledger, count, limits, die_at))
    child.start()
    return child


def _consume(url: str, ledger: str, count: int, limits: Limits, die_at: str) -> None:
    try:
        for _ in run(url, ledger, count, limits, die_at):
            pass
    except (BudgetError, TeacherBusyError):
        pass


def kill_after(child: BaseProcess, fake: FakeTeacher, requests: int, seconds: float) -> bool:
    """Kill it so long after so many more requests, unless it ends by itself before; whether it was killed."""
    wanted, end = fake.count + requests, time.monotonic() + _TIMEOUT_S
    while fake.count < wanted and child.exitcode is None and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(seconds)
    was_alive = child.exitcode is None
    if was_alive:
        os.kill(child.pid or 0, signal.SIGKILL)
    child.join(_TIMEOUT_S)
    return was_alive


def finish(fake: FakeTeacher, ledger: str, count: int, limits: Limits) -> dict[str, str]:
    """Run until every clip has its end."""
    for _ in range(10):
        try:
            ends = list(run(fake.url, ledger, count, limits))
        except TeacherBusyError:
            continue  # all that was under way failed at once: what a later run is for
        assert len(ends) == count
        assert len(dict(ends)) == count
        return dict(ends)
    raise AssertionError("the server stayed busy")


def check_cap(fake: FakeTeacher, ledger: str, limits: Limits) -> None:
    """By the server's own count and by the ledger's no cap is passed."""
    with closing(Ledger.open(ledger)) as opened:
        totals = opened.totals("kills")
    assert fake.charges.total() <= totals.requests <= (limits.max_requests or totals.requests)
    assert fake.tokens <= totals.tokens <= (limits.max_tokens or totals.tokens)


def check(fake: FakeTeacher, ledger: str, ends: dict[str, str], limits: Limits) -> None:
    """The server's own count against the ledger's and the cap."""
    with closing(Ledger.open(ledger)) as opened:
        totals = opened.totals("kills")
    assert all(end in ("accepted", "rejected") or end.startswith("reason: ") for end in ends.values())
    assert totals.reserved == 0
    check_cap(fake, ledger, limits)
    assert max(fake.charges.values()) == 1


def answer(body):
    """What a teacher says who looks closely."""
    return kinematic_answer(clips(1000), body)


def main() -> None:
    """Run them and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="kills")
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--faults", type=float, default=0.3)
    parser.add_argument("--ledger", default="", help="address of an empty ledger; by default a SQLite file")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    chance, began, killed = random.Random(given.seed), time.monotonic(), 0
    limits = Limits(max_tokens=1_000_000, at_once=8)
    tight = replace(limits, max_requests=given.clips // 2)  # for the first half of the kills
    with (
        tempfile.TemporaryDirectory() as folder,
        FakeTeacher(answer=answer, faults=given.faults, seed=given.seed, latency_s=0.02) as fake,
    ):
        ledger = given.ledger or f"sqlite:///{Path(folder) / 'ledger.sqlite'}"
        while killed < given.times:
            # First by name, then at random moments; every third time two at once.
            die_at = POINTS[killed] if killed < len(POINTS) else ""
            allowed = tight if killed < given.times // 2 else limits
            children = [start(fake.url, ledger, given.clips, allowed, die_at) for _ in range(1 + (killed % 3 == 2))]
            for child in children:
                if die_at:
                    child.join(_TIMEOUT_S)
                else:
                    kill_after(child, fake, chance.randint(1, 20), chance.uniform(0, 0.05))
                killed += child.exitcode == -signal.SIGKILL
            print(f"{killed} kills, {fake.count} requests, {fake.charges.total()} charged", flush=True)
            if allowed is tight:
                check_cap(fake, ledger, tight)
            if all(child.exitcode == 0 for child in children):
                given.clips += 40  # all done before it could be killed, or the cap is reached: more to do
                tight = replace(tight, max_requests=(tight.max_requests or 0) + 40)
        ends = finish(fake, ledger, given.clips, limits)
        check(fake, ledger, ends, limits)
        with closing(Ledger.open(ledger)) as opened:
            print(opened.totals("kills"))
    kinds = {kind: sum(end.startswith(kind) for end in ends.values()) for kind in ("accepted", "rejected", "reason")}
    print(f"{given.clips} clips: {kinds}; {killed} kills in {time.monotonic() - began:.0f} s")
    print(f"the server: {fake.count} requests, {fake.charges.total()} charged, none twice; met {dict(fake.met)}")


if __name__ == "__main__":
    main()
