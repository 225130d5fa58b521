import os
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import sources
from pipelines.sources import assign, read_sources, scan, write_sources
from skeletonllm.plain import sha256_of
from tests.pipelines.recordings import write_nobody, write_recordings


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sources, "_SETTLED_NS", -(10**15))  # files of this moment count as settled
    write_recordings(tmp_path / "recordings" / "a", range(3))
    (tmp_path / "recordings" / "labels.csv").write_text("clip_id\n")
    (tmp_path / "recordings" / ".hidden").mkdir()
    (tmp_path / "recordings" / ".hidden" / "labels.csv").write_text("clip_id\n")
    return tmp_path / "recordings"


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """Names of the files that were hashed."""
    names = []

    def counted(path: Path) -> str:
        names.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(sources, "_sha256", counted)
    return names


def test_a_scan_knows_every_file_with_its_hash_and_the_side_files(folder, tmp_path):
    rows, sides = scan(folder, None, tmp_path / "cache")
    assert sides["file"].to_pylist() == ["labels.csv"]
    for row in rows.to_pylist():
        path = folder / row["file"]
        assert (row["recording"], row["bytes"]) == (row["file"], path.stat().st_size)
        assert row["sha256"] == sha256_of(path)


def test_only_what_changed_is_hashed_again(folder, tmp_path, hashed):
    first = scan(folder, None, tmp_path / "cache")
    assert len(hashed) == 4
    hashed.clear()
    assert scan(folder, None, tmp_path / "cache") == first
    assert hashed == []
    changed = sorted((folder / "a").iterdir())[1]
    stat = changed.stat()
    data = bytearray(changed.read_bytes())
    data[-3] ^= 1
    changed.write_bytes(data)
    os.utime(changed, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # same size, same time of change: the inode tells
    scan(folder, None, tmp_path / "cache")
    assert hashed == [changed.name]


def test_a_file_of_this_moment_is_not_trusted_to_the_cache(folder, tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(sources, "_SETTLED_NS", 2 * 10**9)
    for _ in range(2):
        scan(folder, None, tmp_path / "cache")
    assert len(hashed) == 8


def test_a_damaged_cache_costs_time_and_nothing_else(folder, tmp_path, hashed, caplog):
    first = scan(folder, None, tmp_path / "cache")
    (tmp_path / "cache").write_bytes(b"ARROW1 or not")
    assert scan(folder, None, tmp_path / "cache") == first
    assert len(hashed) == 8
    assert "all files are hashed again" in caplog.text


def test_without_saving_no_cache_is_written(folder, tmp_path):
    scan(folder, None, tmp_path / "cache", save=False)
    assert not (tmp_path / "cache").exists()


def test_an_assignment_is_sorted_at_first_and_goes_on_from_the_one_before(folder, tmp_path):
    rows, sides = scan(folder, None, tmp_path / "cache")
    first = assign(rows, sides, None, per_shard=2)
    assert [first.shard(index)["recording"].to_pylist() for index in range(first.num_shards)] == [
        ["a/S001C001P001R001A001.skeleton", "a/S001C001P002R001A001.skeleton"],
        ["a/S001C001P003R001A001.skeleton"],
    ]
    write_sources(tmp_path / "data", first, ["k0", "k1"], "made by")
    kept = read_sources(tmp_path / "data")
    assert (kept.keys, kept.made_by) == (("k0", "k1"), "made by")
    write_nobody(folder / "0.skeleton")
    (folder / "a" / "S001C001P001R001A001.skeleton").unlink()
    then = assign(*scan(folder, None, tmp_path / "cache"), kept, per_shard=2)
    assert [then.shard(index)["recording"].to_pylist() for index in range(then.num_shards)] == [
        ["a/S001C001P002R001A001.skeleton"],
        ["a/S001C001P003R001A001.skeleton"],
        ["0.skeleton"],
    ]
    assert then.ancestors == (0, 1, -1)


def test_label_files_speak_of_the_folders_below_them(tmp_path):
    names = ["labels.csv", "a/actions.txt", "a/b/labels.csv", "c/labels.csv", "a/LICENSE"]
    sides = pa.Table.from_pylist(
        [{"shard": -1, "recording": "", "file": name, "bytes": 1, "mtime_ns": 0, "sha256": name} for name in names],
        schema=sources.SOURCES,
    )
    found = sources.Sources(sources.SOURCES.empty_table(), sides)
    assert [row["file"] for row in found.label_files({"a/b/c"})] == names[:3]
    assert [row["file"] for row in found.label_files({""})] == names[:1]
    assert found.licence_files() == ["a/LICENSE"]
