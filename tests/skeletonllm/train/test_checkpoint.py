import json
import os
import threading
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import CheckpointError
from skeletonllm.train import checkpoint
from skeletonllm.train.checkpoint import POINTS, CheckpointMeta, Kept, newest, random_file, read_meta, save, verify
from skeletonllm.train.ranks import Ranks


class Killed(BaseException):
    """What stands for SIGKILL here: nothing of ours catches it."""


@dataclass(frozen=True)
class Threads(Ranks):
    """Ranks that are threads of this process."""

    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    said: dict = field(default_factory=dict)

    def told(self, value):
        """What each says; `BrokenBarrierError` when one is dead."""
        self.said[self.rank] = value
        self.barrier.wait(10)
        heard = [self.said[rank] for rank in range(self.num)]
        self.barrier.wait(10)
        return heard

    def first(self, value):
        """What the first says."""
        return self.told(value)[0]


def write(text):
    def inner(path):
        path.write_bytes(text.encode() * 30)

    return inner


def save_step(root, step, ranks=None, kept=None, loss=0.5):
    ranks = ranks or Ranks()

    def save_student(folder):
        if ranks.rank == 0:
            (folder / "backbone").mkdir(parents=True)
            write(f"student {step} ")(folder / "renderer.safetensors")
            write("settings")(folder / "backbone" / "config.json")

    meta = CheckpointMeta(
        checkpoint.FORMAT_VERSION, step, 9, 16 * step, "recognition", "f" * 64, ranks.num, {}, {"train/loss": loss}
    )
    state, rng = write(f"state {step} {ranks.rank} "), write(f"random {ranks.rank} ")
    return save(root, meta, save_student, state, rng, ranks, kept or Kept())


def save_on_two(root, step):
    """A step saved by two ranks that are threads; what each raised."""
    barrier, said, raised = threading.Barrier(2), {}, {}

    def work(rank):
        try:
            save_step(root, step, Threads(rank, 2, barrier, said))
        except BaseException as error:
            raised[rank] = error
            if not isinstance(error, CheckpointError):
                barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,), name=f"rank {rank}") for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_a_saved_step_is_found_and_verified(tmp_path):
    folder = save_step(tmp_path, 3)
    assert newest(tmp_path) == (folder, verify(folder))
    assert sorted(read_meta(folder).files) == [
        "backbone/config.json",
        "engine/rank_00000/random.safetensors",
        "engine/rank_00000/state.safetensors",
        "renderer.safetensors",
    ]
    assert (tmp_path / "latest").read_text().strip() == folder.name
    assert folder.name.startswith("step_000003.")


def test_the_files_of_every_rank_are_hashed(tmp_path):
    assert save_on_two(tmp_path, 1) == {}
    folder, meta = newest(tmp_path)
    assert checkpoint.state_files(folder) == [folder / f"engine/rank_0000{rank}/state.safetensors" for rank in (0, 1)]
    assert len(meta.files) == 6
    assert random_file(folder, 1).exists()


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("point", POINTS)
def test_a_rank_killed_at_any_point_of_a_save_leaves_a_whole_checkpoint(tmp_path, monkeypatch, point, rank):
    assert save_on_two(tmp_path, 1) == {}

    def kill(name):
        if name == point and threading.current_thread().name == f"rank {rank}":
            raise Killed

    monkeypatch.setattr(checkpoint, "fault", kill)
    save_on_two(tmp_path, 2)
    monkeypatch.undo()
    _, meta = newest(tmp_path)
    assert meta.step in (1, 2)
    if rank == 0:  # which commits
        assert meta.step == (2 if POINTS.index(point) > POINTS.index("meta") else 1)
    assert save_on_two(tmp_path, 2) == {}
    assert newest(tmp_path)[1].step == 2
    assert list(tmp_path.glob(".*")) == []


def test_no_name_is_used_twice(tmp_path):
    names = {save_step(tmp_path, 1).name for _ in range(5)}
    assert len(names) == 5
    assert newest(tmp_path)[0].name == max(names)


def test_a_rank_that_cannot_write_is_heard_of_by_all(tmp_path, monkeypatch):
    save_step(tmp_path, 1)

    def full(name):
        if name == "state" and threading.current_thread().name == "rank 1":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "fault", full)
    raised = save_on_two(tmp_path, 2)
    for error in raised.values():
        assert isinstance(error, CheckpointError)
        assert "rank 1: OSError: [Errno 28] No space left" in str(error)
        assert "the disk is full: make room, or set a smaller engine.keep_last" in str(error)
        assert "the checkpoint before is untouched (step_000001." in str(error)
    assert len(raised) == 2
    assert newest(tmp_path)[1].step == 1


@pytest.mark.parametrize("point", POINTS[: POINTS.index("renamed")])
def test_a_disk_that_is_full_at_any_point_leaves_the_checkpoint_before(tmp_path, monkeypatch, point):
    save_step(tmp_path, 1)

    def full(name):
        if name == point:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "fault", full)
    with pytest.raises(CheckpointError, match="the disk is full"):
        save_step(tmp_path, 2)
    assert newest(tmp_path)[1].step == 1
    monkeypatch.undo()
    assert newest(tmp_path)[0] != save_step(tmp_path, 2) == newest(tmp_path)[0]


def flip(path, place, difference):
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= difference
    path.write_bytes(bytes(data))


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    root = tmp_path_factory.mktemp("steps")
    return save_step(root, 1), save_step(root, 2)


@settings(max_examples=200)
@given(st.data(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_byte_flipped_anywhere_is_found_and_the_checkpoint_before_is_used(two_steps, data, place, difference):
    old, new = two_steps
    path = data.draw(st.sampled_from(sorted(path for path in new.rglob("*") if path.is_file())))
    flip(path, place, difference)
    try:
        with pytest.raises(CheckpointError):
            verify(new)
        assert newest(new.parent)[0] == old
    finally:
        flip(path, place, difference)
    assert newest(new.parent)[0] == new


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: os.truncate(path, 5)])
def test_a_file_that_is_cut_or_gone_is_named(tmp_path, damage, caplog):
    old, new = save_step(tmp_path, 1), save_step(tmp_path, 2)
    damage(new / "engine" / "rank_00000" / "state.safetensors")
    with pytest.raises(CheckpointError, match=r"rank_00000/state\.safetensors: missing or changed"):
        verify(new)
    assert newest(tmp_path)[0] == old
    assert "using an older checkpoint" in caplog.text
    assert newest(tmp_path / "none") is None


def steps(root):
    return [read_meta(folder).step for folder in sorted(root.glob("step_*"))]


def test_the_newest_are_kept(tmp_path):
    for step in range(1, 5):
        save_step(tmp_path, step)
    assert steps(tmp_path) == [3, 4]
    for step in range(5, 8):
        save_step(tmp_path, step, kept=Kept(last=4))
    assert steps(tmp_path) == [4, 5, 6, 7]


@pytest.mark.parametrize(("best_is", "expected"), [("lowest", [2, 5, 6]), ("highest", [1, 5, 6])])
def test_the_best_are_kept_besides(tmp_path, best_is, expected):
    for step, loss in enumerate((0.9, 0.1, 0.5, 0.7, 0.3, 0.4), 1):
        save_step(tmp_path, step, kept=Kept(2, 1, "train/loss", best_is), loss=loss)
    assert steps(tmp_path) == expected


def test_a_checkpoint_of_another_format_version_is_refused(tmp_path):
    folder = save_step(tmp_path, 1)
    path = folder / "meta.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 7}))
    with pytest.raises(CheckpointError, match="checkpoint format 7, this version reads 2"):
        read_meta(folder)


def test_a_run_that_has_gone_back_keeps_what_it_saves_then_and_not_what_lies_ahead(tmp_path):
    for step in (4, 6, 8):
        save_step(tmp_path, step)
    saved = save_step(tmp_path, 5)
    assert checkpoint.saved(tmp_path)[-1] == saved
    assert [int(path.name[5:11]) for path in checkpoint.saved(tmp_path)] == [5]
    assert (tmp_path / "latest").read_text().strip() == saved.name
