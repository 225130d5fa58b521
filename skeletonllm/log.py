"""Logging and progress, set up in one place. Library code says `logging.getLogger(__name__)` and `progress(...)`."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

_LINE_EVERY_S = 30.0

Tick = Callable[..., None]


def set_up_logging(verbose: bool = False) -> None:
    """Lines of our own packages on standard error; warnings and worse from everybody else but Prefect.

    Prefect logs a failure with its traceback at each level of flows and tasks, for its server; on a terminal the command
    tells it once, in a sentence.
    """
    logging.basicConfig(format="%(asctime)s %(levelname).1s %(name)s: %(message)s", datefmt="%H:%M:%S", force=True)
    logging.getLogger().setLevel(logging.WARNING)
    for handler in logging.getLogger().handlers:
        handler.addFilter(lambda record: verbose or not record.name.startswith("prefect."))
    for name in ("skeletonllm", "pipelines", "flows"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)


@contextlib.contextmanager
def progress(label: str, total: int, unit: str = "") -> Iterator[Tick]:
    """Show that long work goes on: a bar on a terminal, a line every 30 s elsewhere.

    Yields a function `tick(done, note="")`.
    """
    shown = _bar(label, total) if sys.stderr.isatty() else _lines(label, total, unit)
    with shown as tick:
        yield tick


@contextlib.contextmanager
def _bar(label: str, total: int) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), redirect_stdout=False) as bars:
        task = bars.add_task(label, total=total, note="")
        yield lambda done, note="": bars.update(task, completed=done, note=note)


@contextlib.contextmanager
def _lines(label: str, total: int, unit: str) -> Iterator[Tick]:
    logger = logging.getLogger("skeletonllm.progress")
    started = last = time.monotonic()

    def tick(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S:
            left = f", {(now - started) / done * (total - done):.0f} s left" if done else ""
            logger.info("%s %d/%d %s %s%s", label, done, total, unit, note, left)
            last = now

    yield tick
    logger.info("%s %d %s in %.1f s", label, total, unit, time.monotonic() - started)
