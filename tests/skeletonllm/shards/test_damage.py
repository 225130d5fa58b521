"""Damage of any kind is one error before a clip is served. The reader is another process: a bus error would kill it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.shards.reader import ShardReader
from tests.makers import make_clip
from tests.skeletonllm.shards.test_shards import write_dataset

# Serves whatever folder or shard it is told to, clip by clip, and says what came of it.
_SERVE = """
import json, sys
from pathlib import Path
from skeletonllm.errors import ShardError
from skeletonllm.shards.reader import ShardReader, open_shard
from skeletonllm.shards.schema import clips_from_table, check_schema, SCHEMA_VERSION
def shard(path):
    table = open_shard(Path(path))
    check_schema(table.schema, "clips", SCHEMA_VERSION, path)
    return clips_from_table(table)
served = 0
for line in sys.stdin:
    kind, path = json.loads(line)
    served = 0
    try:
        for clip in ShardReader(path).clips() if kind == "dataset" else shard(path):
            float(clip.positions.sum()), float(clip.confidence.sum()), repr(clip.source), clip.captions
            served += 1
        print(json.dumps([served, ""]), flush=True)
    except ShardError as error:
        print(json.dumps([served, str(error)]), flush=True)
"""


class Server:
    """The other process, and one question to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, kind: str, path: Path) -> tuple[int, str]:
        """Clips that were served, and the error that ended it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([kind, str(path)]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the reader died with code {self._process.wait(10)}"
        served, error = json.loads(line)
        return served, error

    def close(self) -> None:
        """End it, in peace."""
        self._process.communicate(timeout=30)
        assert self._process.returncode == 0


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = [make_clip(f"c{n}", num_frames=3, captions=("a", "bc"), seed=n) for n in range(4)]
    dataset = write_dataset(tmp_path_factory.mktemp("whole"), clips, per_shard=2)
    return Path(dataset.path)


@st.composite
def damages(draw):
    """A change of bytes, as a function."""
    kind = draw(st.sampled_from(["flip", "cut", "swap", "duplicate", "drop", "zero"]))
    first, second = (draw(st.floats(0, 1, exclude_max=True)) for _ in range(2))
    bit, length = draw(st.integers(0, 7)), draw(st.sampled_from([1, 8, 64, 4096]))

    def damage(data: bytes) -> bytes:
        a, b = sorted((int(first * len(data)), int(second * len(data))))
        changed = bytearray(data)
        if kind == "flip":
            changed[a] ^= 1 << bit
        elif kind == "cut":
            del changed[a:]
        elif kind == "swap":
            changed[a], changed[b] = changed[b], changed[a]
        elif kind == "duplicate":
            changed[a:a] = data[a : a + length]
        elif kind == "drop":
            del changed[a : a + length]
        else:
            changed[a : a + length] = bytes(len(changed[a : a + length]))
        return bytes(changed)

    return damage


@settings(max_examples=300, deadline=None)
@given(which=st.integers(0, 2), damage=damages())
def test_any_damage_of_any_file_is_noticed_before_a_clip_of_it_is_served(server, folder, which, damage):
    files = sorted(path for path in folder.iterdir() if path.suffix in (".arrow", ".json"))
    copy = folder.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    whole = files[which].read_bytes()
    damaged = damage(whole)
    (copy / files[which].name).write_bytes(damaged)
    served, error = server.ask("dataset", copy)
    if damaged == whole:
        assert (served, error) == (4, "")
    else:
        assert error
        assert served == (2 if files[which].name.startswith("shard-00001") else 0)


@settings(max_examples=300, deadline=None)
@given(damage=damages())
def test_a_damaged_shard_without_a_hash_ends_no_process(server, folder, damage):
    whole = sorted(folder.glob("*.arrow"))[0].read_bytes()
    path = folder.parent / "alone.arrow"
    path.write_bytes(damage(whole))
    served, error = server.ask("shard", path)
    assert served == 2 or error


def test_shards_that_changed_places_are_noticed(server, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    one, other = sorted((tmp_path / "copy").glob("*.arrow"))
    one.rename(tmp_path / "kept")
    other.rename(one)
    (tmp_path / "kept").rename(other)
    served, error = server.ask("dataset", tmp_path / "copy")
    assert served == 0
    assert "its bytes are not those of the manifest" in error


def test_a_shard_that_is_changed_after_it_was_read_is_noticed_by_the_next_reader(server, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    assert server.ask("dataset", tmp_path / "copy") == (4, "")
    shard = sorted((tmp_path / "copy").glob("*.arrow"))[1]
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    assert "sha256" in server.ask("dataset", tmp_path / "copy")[1]


def test_thousands_of_shards_need_no_thousands_of_open_files(tmp_path):
    dataset = write_dataset(tmp_path, [make_clip(f"c{n}", num_frames=1) for n in range(40)], per_shard=1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    reader = ShardReader(dataset)
    assert len([clip.positions.sum() for clip in reader.clips()]) == 40
    assert len(list(Path("/proc/self/fd").iterdir())) == before
