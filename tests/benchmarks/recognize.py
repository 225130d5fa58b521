"""How busy the model is while `recognize` goes through many recordings, and whether memory grows with them."""

import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.recipes import quickstart
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import plain_numpy
from skeletonllm.skeleton.simulate import ACTIONS
from tests.benchmarks.measure import Row

_NUM_CLIPS = 1000
_FILES = 40


def recognitions(clips: list[Clip]) -> Iterator[Row]:
    """A thousand recordings, read from files, by the quickstart's model with all its actions.

    Busy is the time inside `rank` by the clock, of the whole; the same by CPU time of that thread does not count what
    other work on the machine takes.
    """
    prompt = mqa_prompt(ACTIONS)
    student = SkeletonLLM.build(quickstart().student, corpus=[prompt, *ACTIONS]).eval()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.npz" for number in range(_FILES)]
        for file, clip in zip(files, clips * _FILES, strict=False):
            plain_numpy.write(clip, file)
        student.recognize(files, ACTIONS)
        before_mb = _peak_mb()
        busy = _Busy(student)
        started = time.perf_counter()
        student.recognize((files * (_NUM_CLIPS // _FILES)), ACTIONS)
        wall_s = time.perf_counter() - started
    yield _row("clips", _NUM_CLIPS / wall_s, "clips/s")
    yield _row("the model is busy", 100 * busy.wall_s / wall_s, "%")
    yield _row("its thread waits for a batch", 100 * (1 - busy.wall_s / wall_s), "%")
    yield _row("CPU time inside the model, of its thread's", 100 * busy.cpu_s / busy.thread_cpu_s, "%")
    yield _row("peak memory grown over 960 clips more", _peak_mb() - before_mb, "MB")


class _Busy:
    """Counts the time inside a student's `rank`."""

    def __init__(self, student: SkeletonLLM) -> None:
        self.wall_s = self.cpu_s = 0.0
        self._rank, self._first = student.rank, time.thread_time()
        self._thread = threading.current_thread()
        student.rank = self._timed  # type: ignore[method-assign]

    @property
    def thread_cpu_s(self) -> float:
        """CPU time of the asking thread since the beginning."""
        assert threading.current_thread() is self._thread
        return time.thread_time() - self._first

    def _timed(self, *arguments):
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return self._rank(*arguments)
        finally:
            self.wall_s += time.perf_counter() - wall
            self.cpu_s += time.thread_time() - cpu


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _row(what: str, value: float, unit: str) -> Row:
    return Row("recognize, 1000 files", what, value, unit, value, value)
