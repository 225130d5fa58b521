"""How busy the model is while `recognize` goes through many recordings, and whether memory grows with them."""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from skeletonllm.answer.student import BATCH_SIZE
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.recipes import quickstart
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import plain_numpy
from skeletonllm.skeleton.simulate import ACTIONS
from tests.benchmarks.measure import Row, timed

_NUM_CLIPS = 1000
_FILES = 40


def recognitions(clips: list[Clip], runs: int) -> Iterator[Row]:
    """A thousand recordings, read from files, by the quickstart's model with all its actions.

    The model alone is given one batch again and again, before and after: a thread beside it that took its time away would
    show there, not in the share of time that it is busy.
    """
    prompt = mqa_prompt(ACTIONS)
    student = SkeletonLLM.build(quickstart().student, corpus=[prompt, *ACTIONS]).eval()
    some = clips[:BATCH_SIZE]
    batch = student.renderer.collate(some)

    def alone() -> None:
        student.rank(batch, [prompt] * len(some), ACTIONS)

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.npz" for number in range(_FILES)]
        for number, file in enumerate(files):
            plain_numpy.write(some[number % len(some)], file)
        student.recognize(files, ACTIONS)
        seconds = timed(alone, runs)
        busy = _Busy(student)
        started = time.perf_counter()
        student.recognize(files * (_NUM_CLIPS // _FILES), ACTIONS)
        wall_s = time.perf_counter() - started
        student.rank = busy.rank  # type: ignore[method-assign]
        seconds += timed(alone, runs)
    expected_s = _NUM_CLIPS / len(some) * sum(seconds) / len(seconds)
    half = len(busy.peaks_mb) // 2
    yield _row("clips", _NUM_CLIPS / wall_s, "clips/s")
    yield _row("share of the time that the model is busy", 100 * busy.wall_s / wall_s, "%")
    yield _row("speed of the model alone that is reached", 100 * expected_s / wall_s, "%")
    yield _row("peak memory, grown in the second half", busy.peaks_mb[-1] - busy.peaks_mb[half], "MB")


class _Busy:
    """Counts the time inside a student's `rank`."""

    def __init__(self, student: SkeletonLLM) -> None:
        self.rank, self.wall_s = student.rank, 0.0
        self.peaks_mb: list[float] = []
        student.rank = self._timed  # type: ignore[method-assign]

    def _timed(self, *arguments):
        started = time.perf_counter()
        try:
            return self.rank(*arguments)
        finally:
            self.wall_s += time.perf_counter() - started
            self.peaks_mb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _row(what: str, value: float, unit: str) -> Row:
    return Row("recognize, 1000 files", what, value, unit, value, value)
