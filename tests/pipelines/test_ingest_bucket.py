"""Ingest into an object store: the same data set, shard for shard, as in a local folder."""

from pathlib import Path

import pytest

from pipelines import ingest
from pipelines.ingest import IngestConfig
from skeletonllm.cli import main
from skeletonllm.shards.manifest import read_manifest
from skeletonllm.shards.reader import ShardReader
from tests.pipelines.recordings import ntu_name, write_cut, write_recordings

CONFIG = IngestConfig(files_per_shard=3, max_rejected=0.5)


@pytest.fixture
def recordings(tmp_path):
    write_recordings(tmp_path / "recordings", range(8))
    write_cut(tmp_path / "recordings" / ntu_name(500))
    return tmp_path / "recordings"


def test_a_bucket_holds_the_same_data_set_as_a_folder(recordings, bucket, tmp_path):
    remote = ingest.run(recordings, bucket, CONFIG)
    local = ingest.run(recordings, tmp_path / "data", CONFIG)
    assert remote.fingerprint == local.fingerprint
    assert read_manifest(remote.path).shards == read_manifest(local.path).shards
    assert read_manifest(remote.path).rejected == read_manifest(local.path).rejected
    here, there = ShardReader(local), ShardReader(remote)
    assert [clip.clip_id for clip in there.clips()] == [clip.clip_id for clip in here.clips()]
    assert there.rejected() == here.rejected()


def test_only_what_changed_is_made_again_in_a_bucket_too(recordings, bucket):
    first = ingest.run(recordings, bucket, CONFIG)
    assert ingest.run(recordings, bucket, CONFIG) == first
    write_recordings(recordings, [100], num_frames=4)
    plan = ingest.plan(recordings, bucket, CONFIG)
    assert [step.action for step in plan.steps] == ["keep", "keep", "keep", "new"]
    second = ingest.run(recordings, bucket, CONFIG)
    before, after = read_manifest(first.path), read_manifest(second.path)
    assert [shard.sha256 for shard in after.shards[:3]] == [shard.sha256 for shard in before.shards]
    assert len(ShardReader(second)) == 9


def test_the_command_takes_a_place_in_a_bucket(recordings, bucket, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["ingest", str(recordings), "--into", str(bucket), "--max-rejected", "0.5"]) == 0
    assert "8 clips, 1 files rejected, s3://bucket/" in capsys.readouterr().out
    assert not Path("skeletonllm-work").exists()
