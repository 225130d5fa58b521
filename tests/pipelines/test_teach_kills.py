"""A flow's asking that is killed, and two of it at once: one payment for each question, the same chains."""

import os
import subprocess
import sys
import threading
import time

import pytest

from pipelines import teach
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.reader import ShardReader
from tests.fake_teacher import FakeTeacher, kinematic_answer
from tests.makers import performed_clips, write_clips

CLIPS = performed_clips(("bow", "kick", "wave"), ("P001", "P002", "P003"))
PROTOCOL = to_plain(Protocol("subject", ("P003",)))
NUM_ASKED = 6
_SCRIPT = """
import sys
from pathlib import Path
from pipelines import teach
from skeletonllm.log import set_up_logging
from skeletonllm.shards.manifest import DatasetRef
from tests.pipelines.test_teach_kills import taught
set_up_logging()
taught(Path(sys.argv[1]), DatasetRef("clips", sys.argv[2], sys.argv[3]))
"""


def slowly(body) -> str:
    time.sleep(0.2)
    return kinematic_answer(CLIPS, body)


def taught(root, clips: DatasetRef) -> DatasetRef:
    config = teach.configure(("bow", "kick", "wave"), PROTOCOL, limits=teach.Limits(at_once=1))
    return teach.run(clips, None, config, root, root / "ledger.sqlite")


@pytest.fixture
def started(tmp_path, monkeypatch):
    """Starts processes that ask a server, as many as are wanted, until the test ends."""
    clips = write_clips(tmp_path, CLIPS)
    running = []
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("SKELETONLLM_TEACHER_MODEL", "fake")

    def start(url: str) -> subprocess.Popen:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        command = [sys.executable, "-c", _SCRIPT, str(tmp_path), clips.path, clips.fingerprint]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ)))
        return running[-1]

    start.clips = clips
    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stderr.close()


def until(condition, process: subprocess.Popen) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)


def test_an_asking_that_is_killed_goes_on_and_no_reply_is_paid_for_twice(tmp_path, started):
    with FakeTeacher(answer=slowly) as fake:
        killed = started(fake.url)
        until(lambda: fake.count >= 3, killed)
        killed.kill()
        killed.wait()
        chains = taught(tmp_path, started.clips)
        # The request that was under way may be asked again, with the same idempotency key; no other may.
        assert fake.count <= NUM_ASKED + 1
        undisturbed = teach.run(
            started.clips,
            None,
            teach.configure(("bow", "kick", "wave"), PROTOCOL),
            tmp_path / "other",
            tmp_path / "other.sqlite",
        )
    assert chains.fingerprint == undisturbed.fingerprint
    assert ShardReader(chains).table().to_pylist() == ShardReader(undisturbed).table().to_pylist()


def test_of_two_askings_at_once_the_second_waits_and_finds_everything_done(tmp_path, started):
    is_waiting = threading.Event()

    def answer(body) -> str:
        assert is_waiting.wait(60)
        return kinematic_answer(CLIPS, body)

    with FakeTeacher(answer=answer) as fake:
        first = started(fake.url)
        until(lambda: fake.count >= 1, first)
        second = started(fake.url)
        lines = []
        while "waiting for it" not in "".join(lines[-1:]):
            lines.append(second.stderr.readline())
            assert lines[-1], lines
        is_waiting.set()
        said = [first.communicate()[1], "".join(lines) + second.communicate()[1]]
        assert [first.returncode, second.returncode] == [0, 0], said
        assert fake.count == NUM_ASKED
    assert f"process {first.pid} on " in said[1]
    assert "is building this data set; waiting for it" in said[1]
    assert "is there already, nothing to do" in said[1]
    assert "asking the teacher" in said[0]
    assert "6 requests" in said[0]
