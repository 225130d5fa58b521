"""A real file system without room."""

import re
import subprocess
from pathlib import Path

import pytest

from skeletonllm.errors import CheckpointError
from skeletonllm.train.checkpoint import newest
from tests.ranks import run_ranks
from tests.skeletonllm.train.runs import make_run, train


@pytest.fixture
def small_disk(tmp_path):
    """Of a size that is said when it is mounted."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(num_bytes: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={num_bytes}", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("file systems cannot be mounted here")
        return place

    yield mount
    subprocess.run(["umount", str(place)], capture_output=True)


def fill(root: Path, disk: Path) -> str:
    """What training says that saves every step."""
    run = make_run(root / "data", num_steps=4, batch_size=2, checkpoint_every=1, kind="plain")
    try:
        train(run, disk / "run")
    except CheckpointError as error:
        return str(error)
    return ""


def size_of_one(root: Path) -> int:
    run = make_run(root / "data", num_steps=1, batch_size=2, kind="plain")
    return sum(path.stat().st_blocks * 512 for path in train(run, root / "roomy").checkpoint.rglob("*"))


@pytest.mark.parametrize("room", [1.2, 2.5])
def test_a_full_disk_is_one_clear_error_and_the_checkpoint_before_is_whole(tmp_path, small_disk, room):
    size = run_ranks(1, size_of_one, tmp_path)[0]
    disk = small_disk(int(room * size))
    said = run_ranks(1, fill, tmp_path, disk)[0]
    assert re.search("cannot be saved .*No space left.*the disk is full: make room", said), said
    found = newest(disk / "run" / "checkpoints")
    assert found is not None
    assert found[1].step == int(room)
