"""One row of the benchmarks' table, and how its times are taken."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One line of the table; times are medians of the runs, with the fastest and slowest."""

    group: str
    what: str
    value: float
    unit: str
    low: float
    high: float


def timed(work: Callable[[], Any], runs: int) -> list[float]:
    """Seconds of each run, after one that is not counted."""
    work()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds


def rate(group: str, what: str, unit: str, count: float, seconds: list[float]) -> Row:
    """So many things a second."""
    return Row(group, what, count / median(seconds), unit, count / max(seconds), count / min(seconds))


def duration(group: str, what: str, seconds: list[float], unit: str = "s") -> Row:
    """So many seconds each."""
    return Row(group, what, median(seconds), unit, min(seconds), max(seconds))
