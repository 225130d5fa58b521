import multiprocessing
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from pipelines.teacher.replies import ReplyStore
from pipelines.teacher.request import TeacherReply
from skeletonllm.errors import DataError

REPLY = TeacherReply("k", "text ü \ud800", "stop", 3, 4, 1, "2026-01-01T00:00:00+00:00", 0.01)

WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from pipelines.teacher.replies import ReplyStore
from pipelines.teacher.request import TeacherReply
store = ReplyStore(Path(sys.argv[1]))
for number in range(100_000):
    store.put(TeacherReply(f"k{number}", "x" * 20_000, "stop", 1, 1, 1, ""))
    print(number, flush=True)
"""


def test_a_reply_comes_back_as_it_was(tmp_path):
    store = ReplyStore(tmp_path / "deep" / "r.sqlite")
    assert store.get("k") is None
    store.put(REPLY)
    assert store.get("k") == REPLY
    assert len(store) == 1


def test_a_reply_is_never_overwritten(tmp_path):
    store = ReplyStore(tmp_path / "r.sqlite")
    store.put(REPLY)
    store.put(replace(REPLY, text="another"))
    assert store.get("k") == REPLY


def test_a_writer_killed_at_any_moment_loses_no_reply_that_it_had_put(tmp_path):
    path = tmp_path / "r.sqlite"
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            put = [int(writer.stdout.readline()) for _ in range(20)]
            os.kill(writer.pid, signal.SIGKILL)
            put += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        store = ReplyStore(path)
        for number in put:
            reply = store.get(f"k{number}")
            assert reply is not None
            assert reply.text == "x" * 20_000


def _put(path, first):
    store = ReplyStore(path)
    for number in range(first, first + 10):
        store.put(replace(REPLY, key=str(number)))


def test_several_processes_open_and_write_one_new_store(tmp_path):
    path = tmp_path / "r.sqlite"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_put, args=(path, 5 * writer)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    assert len(ReplyStore(path)) == 25


def test_a_file_that_is_no_store_is_named(tmp_path):
    path = tmp_path / "r.sqlite"
    path.write_text("this is no data base, and long enough to be looked at as one" * 20)
    with pytest.raises(DataError, match=r"r\.sqlite: cannot be used as the store"):
        ReplyStore(path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be used as the store"):
        ReplyStore(tmp_path / "file" / "r.sqlite")
