"""A real `skeletonllm serve` in a process of its own, for the tests."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Served:
    """A server that answers.

    Args:
        url: ends in /v1.
        process: to be stopped.
    """

    url: str
    process: subprocess.Popen[str]

    @property
    def root(self) -> str:
        return self.url.removesuffix("/v1")

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def served(student: Path, *options: str, **environment: str) -> Iterator[Served]:
    """The server of a student's folder, on a free port, until the block ends."""
    command = [sys.executable, "-m", "skeletonllm", "serve", str(student), "--port", "0", *options]
    with (student.parent / "serve.log").open("a") as log:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, **environment}
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"at (http://\S+/v1)", line)
        assert found, (student.parent / "serve.log").read_text()
        yield Served(found[1], process)
    finally:
        process.terminate()
        process.wait(60)
        assert process.stdout is not None
        process.stdout.close()
