import shutil

import pytest

from pipelines import ingest
from skeletonllm.errors import DataError
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.simulate import ACTIONS, write_sample_data


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample_data(folder, num_performers=1)
    return folder


@pytest.fixture
def recordings(sample, tmp_path):
    """A copy of one format's recordings, to be damaged."""
    shutil.copytree(sample / "nwucla", tmp_path / "recordings")
    return tmp_path / "recordings"


def some_file(recordings):
    return sorted(recordings.glob("*.json"))[0]


def test_recordings_of_five_formats_become_clips_with_labels_and_sources(sample, tmp_path):
    reader = ShardReader(ingest.run(sample, tmp_path))
    assert reader.manifest.num_rejected == 0
    assert set(reader.manifest.statistics["formats"]) == {"ntu", "nwucla", "pyskl", "humanml3d", "bvh"}
    assert set(reader.manifest.statistics["actions"]) == set(ACTIONS)
    clips = list(reader.clips())
    assert len({clip.clip_id for clip in clips}) == len(clips)
    assert all(clip.source.sha256 and clip.source.file and clip.source.subject for clip in clips)


def test_the_same_recordings_elsewhere_and_in_other_shards_give_the_same_clips(sample, tmp_path):
    shutil.copytree(sample, tmp_path / "elsewhere")
    here, there = (ingest.run(folder, tmp_path / "data") for folder in (sample, tmp_path / "elsewhere"))
    assert here == there
    small = ingest.run(sample, tmp_path / "data", ingest.IngestConfig(files_per_shard=7))
    assert small != here
    assert ShardReader(small).table().equals(ShardReader(here).table())


def test_a_damaged_file_is_recorded_with_its_reason_and_stops_nothing(recordings, tmp_path):
    file = some_file(recordings)
    file.write_bytes(file.read_bytes()[:500])
    reader = ShardReader(ingest.run(recordings, tmp_path / "data"))
    (rejected,) = reader.rejected()  # and its label is not named a second time
    assert rejected["file"] == file.name
    assert "expected" in rejected["reason"]
    assert str(tmp_path) not in rejected["reason"]
    assert len(reader) == len(list(recordings.glob("*.json"))) - 1


def test_a_label_without_a_clip_is_recorded(recordings, tmp_path):
    labels = recordings / "labels.csv"
    labels.write_text(labels.read_text() + "a99_s99_e00_v01,wave,P099,1,somebody waves\n")
    (rejected,) = ShardReader(ingest.run(recordings, tmp_path / "data")).rejected()
    assert (rejected["file"], rejected["place"]) == ("labels.csv", "a99_s99_e00_v01")
    assert "no recording of this clip" in rejected["reason"]


def test_a_changed_or_added_file_makes_another_data_set(recordings, tmp_path):
    before = ingest.run(recordings, tmp_path / "data")
    assert ingest.run(recordings, tmp_path / "data") == before
    file = some_file(recordings)
    shutil.copy(file, recordings / "a01_s01_e09_v01.json")
    assert ingest.run(recordings, tmp_path / "data") != before


def test_too_many_damaged_files_are_an_error_and_publish_nothing(recordings, tmp_path):
    for file in sorted(recordings.glob("*.json"))[:5]:
        file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DataError, match=r"5 of 14 inputs were rejected, at most 10% may be; for example: a01_"):
        ingest.run(recordings, tmp_path / "data")
    assert not list((tmp_path / "data").rglob("manifest.json"))


@pytest.mark.parametrize("make", [lambda folder: None, lambda folder: (folder / "notes.txt").write_text("hello")])
def test_a_folder_without_recordings_is_an_error_that_names_the_known_formats(tmp_path, make):
    folder = tmp_path / "recordings"
    folder.mkdir()
    make(folder)
    with pytest.raises(DataError, match="no recording in a known format below it; known are ntu, ntu_npy"):
        ingest.run(folder, tmp_path / "data")
    with pytest.raises(DataError, match="not a folder"):
        ingest.run(tmp_path / "none", tmp_path / "data")


def test_two_recordings_of_one_name_in_different_folders_are_two_clips(recordings, tmp_path):
    (recordings / "more").mkdir()
    shutil.copy(some_file(recordings), recordings / "more")
    ids = ShardReader(ingest.run(recordings, tmp_path / "data")).clip_ids()
    assert {some_file(recordings).stem, f"more/{some_file(recordings).stem}"} <= set(ids)


def test_one_bad_clip_of_a_file_costs_no_other_clip(sample, tmp_path):
    shutil.copytree(sample / "pyskl", tmp_path / "recordings")
    names = tmp_path / "recordings" / "actions.txt"
    names.write_text("".join(f"{action}\n" for action in ACTIONS[:-1]))
    (tmp_path / "recordings" / "labels.csv").unlink()
    reader = ShardReader(ingest.run(tmp_path / "recordings", tmp_path / "data"))
    (rejected,) = reader.rejected()
    assert len(reader) == len(ACTIONS) - 1
    assert rejected["place"].startswith("P001-")
    assert "actions.txt has 13 names" in rejected["reason"]


@pytest.mark.parametrize("files_per_shard", [1, 128])
def test_one_id_of_two_files_is_an_error_in_whatever_shards_they_are(sample, recordings, tmp_path, files_per_shard):
    twin = some_file(recordings).with_suffix(".bvh")
    shutil.copy(sorted((sample / "bvh").glob("*.bvh"))[0], twin)
    with pytest.raises(DataError, match=f"1 clip ids belong to several recordings, for example '{twin.stem}'"):
        ingest.run(recordings, tmp_path / "data", ingest.IngestConfig(files_per_shard=files_per_shard))


def test_a_work_folder_inside_the_recordings_is_refused(recordings):
    with pytest.raises(DataError, match="lies inside the recordings"):
        ingest.run(recordings, recordings / "skeletonllm-work" / "data")
