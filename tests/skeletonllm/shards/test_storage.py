import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pytest

from skeletonllm.errors import ConfigError, ShardError
from skeletonllm.plain import sha256_of
from skeletonllm.shards import storage
from skeletonllm.shards.manifest import (
    MANIFEST,
    Manifest,
    dataset_folder,
    find_dataset,
    read_manifest,
    touch_dataset,
    write_manifest,
)
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import SCHEMA_VERSION, clips_to_table
from skeletonllm.shards.storage import RemotePath, locate
from skeletonllm.shards.writer import describe_shard, shard_name, write_shard
from tests.makers import make_clip


@pytest.fixture
def options(bucket_options):
    return bucket_options


@pytest.fixture
def root(bucket):
    return bucket


def write_clips(root, count=5, fingerprint="f00d" * 16, per_shard=2):
    clips = [make_clip(f"c{n}", num_frames=3, seed=n) for n in range(count)]
    folder = dataset_folder(root, "clips", fingerprint)
    groups = [clips[start : start + per_shard] for start in range(0, count, per_shard)]
    paths = [folder / shard_name(index, len(groups)) for index in range(len(groups))]
    for path, group in zip(paths, groups, strict=True):
        write_shard(path, clips_to_table(group), {"clips": len(group)})
    entries = [describe_shard(path)[0] for path in paths]
    return clips, write_manifest(
        folder, Manifest("clips", "clips", SCHEMA_VERSION, "test", 1, {}, [], fingerprint, entries)
    )


def test_a_data_set_in_a_bucket_reads_like_a_local_one(root, tmp_path):
    clips, dataset = write_clips(root)
    _, local = write_clips(tmp_path)
    reader = ShardReader(dataset, cache=tmp_path / "cache")
    assert reader.manifest.shards == read_manifest(local.path).shards  # the same bytes
    assert [clip.clip_id for clip in reader.clips()] == [clip.clip_id for clip in clips]
    assert np.array_equal(reader.by_id("c3").positions, clips[3].positions)
    assert find_dataset(root, "clips", dataset.fingerprint) == dataset


def test_shards_are_fetched_once_and_mapped_from_the_cache(root, tmp_path, monkeypatch):
    _, dataset = write_clips(root)
    fetched = []
    chunks = RemotePath.chunks
    monkeypatch.setattr(RemotePath, "chunks", lambda path: fetched.append(path.name) or chunks(path))
    for _ in range(2):
        assert len(list(ShardReader(dataset, cache=tmp_path / "cache").clips())) == 5
    assert sorted(fetched) == [MANIFEST, MANIFEST, *(shard_name(index, 3) for index in range(3))]
    assert sorted(path.stem for path in (tmp_path / "cache").iterdir()) == sorted(
        shard.sha256 for shard in read_manifest(dataset.path).shards
    )


def test_a_damaged_copy_is_fetched_again(root, tmp_path):
    _, dataset = write_clips(root)
    list(ShardReader(dataset, cache=tmp_path).tables())
    for copy in tmp_path.glob("*.arrow"):
        copy.write_bytes(copy.read_bytes()[:-1] + b"?")
    assert len(list(ShardReader(dataset, cache=tmp_path).clips())) == 5
    assert all(sha256_of(copy) == copy.stem for copy in tmp_path.glob("*.arrow"))


def test_a_damaged_object_is_never_served_nor_kept(root, tmp_path):
    _, dataset = write_clips(root, per_shard=9)
    shard = locate(dataset.path) / shard_name(0, 1)
    shard.write_whole(shard.read_bytes()[:-1] + b"?")
    with pytest.raises(ShardError, match="its bytes are not those of the manifest"):
        ShardReader(dataset, cache=tmp_path / "cache").clip(0)
    assert not list((tmp_path / "cache").iterdir())


def test_no_manifest_no_data_set(root):
    _, dataset = write_clips(root)
    (locate(dataset.path) / MANIFEST).unlink()
    assert find_dataset(root, "clips", dataset.fingerprint) is None
    assert find_dataset(root, "clips") is None
    with pytest.raises(ShardError, match="no finished data set"):
        ShardReader(dataset)


def test_the_data_set_that_was_asked_for_last_is_found(root):
    first, second = (write_clips(root, 1, fingerprint)[1] for fingerprint in ("a" * 64, "b" * 64))
    assert find_dataset(root, "clips") == second
    touch_dataset(first)
    assert find_dataset(root, "clips") == first
    (root / "clips" / "latest").unlink()  # as after a copy by another tool: the newer manifest
    assert find_dataset(root, "clips") in (first, second)
    assert find_dataset(root, "nothing") is None


def test_keys_in_a_uri_open_the_store_and_are_never_shown_nor_passed_on(root, options, monkeypatch):
    _, dataset = write_clips(root)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setattr(storage, "_file_systems", {})
    place = locate(f"s3://AKIDTEST:hush@bucket/{root.key}?{options}")
    assert find_dataset(place, "clips") == dataset
    assert "hush" not in f"{place} {place!r} {dataset}"
    assert b"hush" not in pickle.dumps(place)
    with pytest.raises(ConfigError, match=r"s3://bucket\?nonsense=1: cannot be reached") as caught:
        locate("s3://AKIDTEST:hush@bucket/x?nonsense=1")
    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["s3://bucket/a b/c", "s3://bucket/a%20b/c?region=eu-west-1", "gs://bucket/x"])
def test_a_place_survives_its_text(text):
    place = locate(text)
    assert isinstance(place, RemotePath)
    assert locate(str(place)) == place
    assert locate(str(place / "d.json")) == place / "d.json"
    assert (place / "d.json").parent == place


def test_a_local_place_is_a_path(tmp_path):
    assert locate(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert locate(str(tmp_path)) == tmp_path
    with pytest.raises(ConfigError, match="has lost a slash"):
        locate(Path("s3://bucket/x"))
    with pytest.raises(ConfigError, match="ftp://host: no such store"):
        locate("ftp://host/x")


def test_a_store_that_is_not_there_is_an_error_that_says_so(root):
    nowhere = locate("s3://bucket/x?scheme=http&endpoint_override=127.0.0.1:9&region=us-east-1")
    with pytest.raises(ShardError, match="cannot be read"):
        read_manifest(nowhere)


def test_an_upload_that_fails_in_the_middle_leaves_no_shard(root, monkeypatch):
    monkeypatch.setattr(RemotePath, "stat", lambda path: storage.Stat(1, 0))  # as if the rest had not arrived
    with pytest.raises(ShardError, match=r"cannot be written \(1 of \d+ bytes arrived\)"):
        write_shard(root / "s.arrow", clips_to_table([make_clip()]))
    monkeypatch.undo()


# Goes on for ever, so that a kill at any time is a kill in the middle.
_UPLOAD = """
import sys
import numpy as np, pyarrow as pa
from skeletonllm.shards.storage import locate
from skeletonllm.shards.writer import write_shard
while True:
    write_shard(locate(sys.argv[1]) / "s.arrow", pa.table({"x": np.arange(3 << 20)}))
    print("whole", flush=True)
"""


def test_a_kill_in_the_middle_of_an_upload_leaves_no_part_of_a_shard(root, tmp_path):
    write_shard(tmp_path / "s.arrow", pa.table({"x": np.arange(3 << 20)}))
    for delay_s in (0.1, 0.3):
        writer = subprocess.Popen([sys.executable, "-c", _UPLOAD, str(root)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        assert writer.stdout.readline()
        (root / "s.arrow").unlink()
        time.sleep(delay_s)
        writer.kill()
        writer.communicate()
        if (root / "s.arrow").exists():
            assert (root / "s.arrow").read_bytes() == (tmp_path / "s.arrow").read_bytes()
