import subprocess
import sys
from pathlib import Path

import pytest

from skeletonllm.errors import CheckpointError
from skeletonllm.model import whole
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.model.whole import whole_folder
from tests.students import tiny_student

# Imports once, then forks a process that saves without end, kills it at some moment, and loads what is there.
_KILL_AGAIN_AND_AGAIN = """
import os, pathlib, signal, sys, time
import torch
from skeletonllm.model.student import SkeletonLLM

torch.set_num_threads(1)
folder = pathlib.Path(sys.argv[1])
student = SkeletonLLM.from_pretrained(folder)
for number in range(int(sys.argv[2])):
    reader, writer = os.pipe()
    child = os.fork()
    while child == 0:
        student.save_pretrained(folder)
        os.write(writer, b".")
    os.read(reader, 1)
    time.sleep(0.0071 * number)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert SkeletonLLM.from_pretrained(folder).config == student.config
    print("whole", [path.name for path in folder.parent.iterdir()].count(folder.name))
"""


def write(folder: Path, text: str) -> None:
    with whole_folder(folder, "mark") as temporary:
        (temporary / "mark").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_takes_the_place_of_the_former_one_and_nothing_is_left_beside(tmp_path):
    for text in ("one", "two"):
        write(tmp_path / "a", text)
        assert (tmp_path / "a" / "mark").read_text() == text
    assert names(tmp_path) == ["a"]


def test_where_the_two_cannot_change_places_the_former_is_renamed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "_exchange", lambda one, other: False)
    test_a_folder_takes_the_place_of_the_former_one_and_nothing_is_left_beside(tmp_path)


def test_a_kill_between_the_two_renames_leaves_the_former_one_which_the_error_names(tmp_path, monkeypatch):
    monkeypatch.setattr(whole, "_exchange", lambda one, other: False)
    tiny_student().save_pretrained(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / ".a.former")
    with pytest.raises(CheckpointError, match=r"a save was killed, the former one is .*\.a\.former; give a folder"):
        SkeletonLLM.from_pretrained(tmp_path / "a")
    assert SkeletonLLM.from_pretrained(tmp_path / ".a.former").config == tiny_student().config


def test_what_was_there_stays_where_writing_fails(tmp_path):
    write(tmp_path / "a", "one")
    with (
        pytest.raises(CheckpointError, match=r"cannot be written .*No space.*; what was there is as it was"),
        whole_folder(tmp_path / "a", "mark"),
    ):
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "a", "mark"):
        raise KeyboardInterrupt
    assert (tmp_path / "a" / "mark").read_text() == "one"
    assert names(tmp_path) == ["a"]


def test_what_is_not_ours_is_never_replaced(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"")
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="holds other things"):
        write(tmp_path / "photos", "one")
    with pytest.raises(CheckpointError, match="is a file"):
        write(tmp_path / "file", "one")
    write(tmp_path / "empty", "one")
    assert (tmp_path / "photos" / "cat.jpg").exists()


@pytest.mark.slow
def test_a_kill_while_saving_leaves_a_whole_student(tmp_path):
    tiny_student().save_pretrained(tmp_path / "student")
    command = [sys.executable, "-W", "ignore", "-c", _KILL_AGAIN_AND_AGAIN, str(tmp_path / "student"), "20"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("whole 1") == 20
