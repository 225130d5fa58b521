"""Asking a server: how much of the allowed rate is reached, and what a request costs this process."""

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from typing import Any

from pipelines.settings import Settings
from pipelines.teacher.client import OpenAITeacher
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.limits import Limits
from pipelines.teacher.request import TeacherRequest
from skeletonllm.answer.connect import connect
from tests.benchmarks.measure import Row
from tests.fake_teacher import FakeTeacher

_LATENCY_S = 0.05
_AT_ONCE = 64
_TEXT = "person 0: right wrist raises by 0.61 body sizes, frames 3 to 20. " * 30


def _serve(pipe: Connection, options: dict[str, Any]) -> None:
    with FakeTeacher(**options) as fake:
        pipe.send(fake.url)
        pipe.recv()
        pipe.send((fake.times, fake.exceeded))


@contextmanager
def _served(**options: Any) -> Iterator[tuple[str, list[Any]]]:
    """A server in a process of its own; its times of arrival and refusals stand in the list afterwards."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, options))
    process.start()
    told: list[Any] = []
    try:
        yield ours.recv(), told
        ours.send("enough")
        told += ours.recv()
    finally:
        process.join(10)


def _ask(url: str, count: int, folder: str, **limits: Any) -> tuple[float, float]:
    """Seconds of the clock and of this process's CPU for so many requests, after some that are not counted."""
    with closing(Ledger.open(f"sqlite:///{folder}/ledger-{time.monotonic_ns()}.sqlite")) as ledger:
        teacher = OpenAITeacher(Settings("fake", url), ledger, limits=Limits(at_once=_AT_ONCE, **limits))

        def request(number: int) -> TeacherRequest:
            return TeacherRequest(
                "fake", ({"role": "user", "content": f"{_TEXT} {number}"},), {"max_tokens": 1024}, url
            )

        with closing(teacher), ThreadPoolExecutor(_AT_ONCE) as pool:
            if not limits:
                list(pool.map(teacher.ask, map(request, range(10**6, 10**6 + 2 * _AT_ONCE))))
            started, cpu = time.perf_counter(), time.process_time()
            list(pool.map(teacher.ask, map(request, range(count))))
            return time.perf_counter() - started, time.process_time() - cpu


def _ask_bare(url: str, count: int) -> float:
    """Seconds of this process's CPU for as many requests by the `openai` package alone, which keeps nothing."""

    def ask(number: int) -> None:
        client.chat.completions.create(
            model="fake", messages=[{"role": "user", "content": f"{_TEXT} {number}"}], max_tokens=1024
        )

    with connect(url, "", None, 60.0) as client, ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(ask, range(10**6, 10**6 + 2 * _AT_ONCE)))
        cpu = time.process_time()
        list(pool.map(ask, range(count)))
        return time.process_time() - cpu


def teaching(runs: int) -> Iterator[Row]:
    """Against a server of 50 ms latency."""
    with tempfile.TemporaryDirectory() as folder:
        for per_minute, window_s, told in ((3000, 6.0, True), (3000, 6.0, False)):
            how = "told by headers" if told else "set"
            options = {"requests_per_minute": per_minute, "window_s": window_s, "tells_limits": told}
            with _served(latency_s=_LATENCY_S, **options) as (url, seen):
                _ask(url, 600, folder, **({} if told else {"requests_per_minute": per_minute}))
            times, exceeded = seen
            reached = 100 * (len(times) - 1) / (times[-1] - times[0]) * 60 / per_minute
            what = f"{per_minute} requests/min, {how}"
            yield Row("teaching", f"{what}: of the allowed rate", reached, "%", reached, reached)
            yield Row("teaching", f"{what}: refused as too many", exceeded, "requests", exceeded, exceeded)
        spent, more, rates = [], [], []
        for _ in range(runs):
            with _served(latency_s=_LATENCY_S) as (url, _):
                seconds, cpu = _ask(url, 1000, folder)
                more.append(1000 * (cpu - _ask_bare(url, 1000)) / 1000)
            spent.append(1000 * cpu / 1000)
            rates.append(1000 / seconds)
        middle = len(spent) // 2
        what = f"without a limit, {_AT_ONCE} in flight"
        for name, values in (("CPU of the client", spent), ("of that, more than `openai` alone", more)):
            yield Row("teaching", f"{what}: {name}", sorted(values)[middle], "ms/request", min(values), max(values))
        yield Row("teaching", what, sorted(rates)[middle], "requests/s", min(rates), max(rates))
