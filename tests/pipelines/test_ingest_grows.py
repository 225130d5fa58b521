"""A data set that grows, shrinks and changes with its recordings, shard by shard."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import ingest
from pipelines.ingest import IngestConfig
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.shards.manifest import DatasetRef, read_manifest
from skeletonllm.shards.reader import ShardReader
from tests.pipelines.recordings import ntu_name, write_cut, write_nobody, write_recordings

SMALL = IngestConfig(files_per_shard=4, max_rejected=0.5)


@pytest.fixture
def recordings(tmp_path) -> Path:
    """Twelve recordings in two folders: three shards."""
    folder = tmp_path / "recordings"
    write_recordings(folder / "a", range(6))
    write_recordings(folder / "b", range(100, 106))
    return folder


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "data"


def again(recordings: Path, root: Path, **options) -> DatasetRef:
    return ingest.run(recordings, root, SMALL, **options)


def hashes(data_set: DatasetRef) -> list[str]:
    return [shard.sha256 for shard in read_manifest(Path(data_set.path)).shards]


def inodes(data_set: DatasetRef) -> list[int]:
    folder = Path(data_set.path)
    return [(folder / shard.file).stat().st_ino for shard in read_manifest(folder).shards]


def files(data_set: DatasetRef) -> list[set[str]]:
    reader = ShardReader(data_set)
    return [set(table["source_file"].to_pylist()) for table in reader.tables()]


def steps(recordings: Path, root: Path, **options) -> list[tuple[str, int, str]]:
    return [(step.action, step.recordings, step.why) for step in ingest.plan(recordings, root, SMALL, **options).steps]


def test_a_changed_file_makes_exactly_its_shard_anew(recordings, root):
    before = again(recordings, root)
    write_recordings(recordings / "a", [5], num_frames=5)
    after = again(recordings, root)
    assert files(after) == files(before)
    assert [a == b for a, b in zip(hashes(before), hashes(after), strict=True)] == [True, False, True]
    assert [a == b for a, b in zip(inodes(before), inodes(after), strict=True)] == [True, False, True]


def test_added_files_go_to_new_shards_and_all_others_are_kept(recordings, root):
    before = again(recordings, root)
    write_recordings(recordings / "a", range(50, 55))
    after = again(recordings, root)
    assert inodes(after)[:3] == inodes(before)
    assert [len(some) for some in files(after)] == [4, 4, 4, 4, 1]
    assert again(recordings, root) == after
    for path in (recordings / "a" / ntu_name(number) for number in range(50, 55)):
        path.unlink()
    assert again(recordings, root) == before


def test_a_removed_file_makes_only_its_shard_anew_and_an_empty_one_is_dropped(recordings, root):
    before = again(recordings, root)
    (recordings / "a" / ntu_name(0)).unlink()
    smaller = again(recordings, root)
    assert [len(some) for some in files(smaller)] == [3, 4, 4]
    assert inodes(smaller)[1:] == inodes(before)[1:]
    for number in range(1, 4):
        (recordings / "a" / ntu_name(number)).unlink()
    assert hashes(again(recordings, root)) == hashes(before)[1:]


def test_a_file_that_is_only_touched_or_copied_elsewhere_changes_nothing(recordings, root):
    before = again(recordings, root)
    os.utime(recordings / "a" / ntu_name(0))
    assert again(recordings, root) == before
    assert [action for action, _, _ in steps(recordings, root)] == ["keep"] * 3


def test_labels_make_anew_the_shards_of_the_folders_below_them(recordings, root):
    before = again(recordings, root)
    (recordings / "b" / "labels.csv").write_text(f"clip_id,action\n{Path(ntu_name(104)).stem},juggle\n")
    assert steps(recordings, root) == [
        ("keep", 4, "nothing that it is made from has changed"),
        ("rebuild", 4, "b/labels.csv added"),
        ("rebuild", 4, "b/labels.csv added"),
    ]
    after = again(recordings, root)
    assert inodes(after)[0] == inodes(before)[0]
    assert ShardReader(after).by_id(f"b/{Path(ntu_name(104)).stem}").action == "juggle"


def test_a_new_sibling_folder_that_turns_names_into_actions_is_noticed(tmp_path, root):
    folder = tmp_path / "classes"
    for path in write_recordings(folder / "wave", [0, 1]):
        path.rename(path.with_name(f"w{path.stem[-14:-12]}.skeleton"))
    alone = again(folder, root)
    assert {clip.action for clip in ShardReader(alone).clips()} == {None}
    for path in write_recordings(folder / "jump", [2]):
        path.rename(path.with_name("j.skeleton"))
    assert {clip.action for clip in ShardReader(again(folder, root)).clips()} == {"wave", "jump"}


def test_a_data_set_grown_in_steps_has_the_clips_of_one_made_at_once_and_fresh_makes_that(recordings, root, tmp_path):
    again(recordings, root)
    write_recordings(recordings / "a", range(50, 53))
    grown, fresh, elsewhere = (
        again(recordings, root),
        again(recordings, root, fresh=True),
        again(recordings, tmp_path / "other"),
    )
    assert (fresh.fingerprint, hashes(fresh)) == (elsewhere.fingerprint, hashes(elsewhere))
    assert grown.fingerprint != fresh.fingerprint
    ids = [sorted(ShardReader(one).clip_ids()) for one in (grown, fresh)]
    assert ids[0] == ids[1]


def test_another_name_or_another_config_starts_anew(recordings, root):
    again(recordings, root)
    write_recordings(recordings / "a", range(50, 52))
    assert {action for action, _, _ in steps(recordings, root, name="other")} == {"new"}
    plan = ingest.plan(recordings, root, replace(SMALL, fps=25.0))
    assert {step.action for step in plan.steps} == {"new"}
    assert plan.goes_on_from is None


def test_rejected_files_stay_with_their_kept_shard(recordings, root):
    write_nobody(recordings / "a" / ntu_name(7, action=2))
    write_cut(recordings / "b" / ntu_name(8, action=3))
    before = again(recordings, root)
    write_recordings(recordings / "c", [200])
    after = again(recordings, root)
    rejected = [sorted((row["kind"], row["file"]) for row in ShardReader(one).rejected()) for one in (before, after)]
    assert rejected[0] == rejected[1] == [("damaged", f"b/{ntu_name(8, 3)}"), ("no body", f"a/{ntu_name(7, 2)}")]


def test_a_refused_run_keeps_its_shards_for_a_higher_limit_and_for_mended_files(recordings, root):
    cut = write_cut(recordings / "b" / ntu_name(8, action=3))
    with pytest.raises(DataError, match="1 of 13 inputs were rejected, at most 0%"):
        ingest.run(recordings, root, replace(SMALL, max_rejected=0.0))
    assert {action for action, _, _ in steps(recordings, root)} == {"keep"}
    cut.unlink()
    assert [action for action, _, _ in steps(recordings, root)].count("rebuild") == 1


def test_a_damaged_shard_is_never_taken_over(recordings, root, caplog):
    before = again(recordings, root)
    shard = Path(before.path) / read_manifest(Path(before.path)).shards[0].file
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    write_recordings(recordings / "c", [200])
    assert hashes(again(recordings, root))[0] == hashes(before)[0]
    assert "the shard is made again" in caplog.text


def test_a_killed_build_is_gone_on_from_also_when_a_file_was_added_meanwhile(recordings, root, monkeypatch):
    done = ingest.process_shard

    def dies_at_the_third(work):
        if {recording.path[0] for recording in work.recordings} == {"b"}:
            raise KeyboardInterrupt
        return done(work)

    monkeypatch.setattr(ingest, "process_shard", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        again(recordings, root)
    monkeypatch.setattr(ingest, "process_shard", done)
    write_recordings(recordings / "a", [50])
    assert [action for action, _, _ in steps(recordings, root)] == ["keep", "keep", "rebuild", "new"]


def test_a_plan_writes_nothing_and_says_why(recordings, root):
    plan = ingest.plan(recordings, root, SMALL)
    assert [step.action for step in plan.steps] == ["new"] * 3
    assert not root.exists()
    first = again(recordings, root)
    assert plan.folder == first.path
    before = sorted(path for path in root.rglob("*"))
    (recordings / "a" / ntu_name(0)).unlink()
    write_recordings(recordings / "b", [105], num_frames=9)
    write_recordings(recordings / "c", [300])
    assert steps(recordings, root) == [
        ("rebuild", 3, f"a/{ntu_name(0)} removed"),
        ("keep", 4, "nothing that it is made from has changed"),
        ("rebuild", 4, f"b/{ntu_name(105)} changed"),
        ("new", 1, "new recordings"),
    ]
    assert sorted(path for path in root.rglob("*")) == before
    plan = ingest.plan(recordings, root, SMALL)
    assert (plan.goes_on_from, plan.is_done) == (first.path, False)
    again(recordings, root)
    assert ingest.plan(recordings, root, SMALL).is_done


def test_what_is_declared_reaches_the_clips_and_the_fingerprint(recordings, root):
    plain, slow = again(recordings, root), ingest.run(recordings, root, replace(SMALL, fps=25.0))
    assert plain.fingerprint != slow.fingerprint
    assert {(clip.fps, clip.source.fps_from) for clip in ShardReader(slow).clips()} == {(25.0, "declared")}
    with pytest.raises(ConfigError, match="ntu files say their topology themselves; leave --topology out"):
        ingest.run(recordings, root, replace(SMALL, topology="coco_17"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "ntuu"}, "format 'ntuu' is unknown; known are"),
        ({"topology": "coco"}, "topology 'coco' is unknown; known are"),
        ({"unit": "parsec"}, "unit 'parsec' is unknown"),
        ({"up": "north"}, "up axis 'north' is unknown"),
        ({"fps": 0.0}, "fps is 0, must be more than 0"),
        ({"files_per_shard": 0}, "must be at least 1"),
        ({"max_rejected": 1.5}, "must be a share from 0 to 1"),
    ],
)
def test_an_option_that_cannot_be_is_an_error_before_anything_is_read(change, said):
    with pytest.raises(ConfigError, match=said):
        IngestConfig(**change)


def test_only_recordings_of_the_format_that_is_named_are_read(recordings, root):
    (recordings / "more.bvh").write_text("HIERARCHY")
    named = ingest.run(recordings, root, replace(SMALL, format="ntu"))
    assert read_manifest(Path(named.path)).num_rejected == 0
    with pytest.raises(DataError, match="no recording of format nwucla below it"):
        ingest.run(recordings, root, replace(SMALL, format="nwucla"))


def test_a_file_that_changes_while_it_is_read_ends_the_run_and_makes_no_shard(recordings, root, monkeypatch):
    done = ingest.process_shard

    def meddled(work):
        write_recordings(recordings / "a", [0], num_frames=6)
        return done(work)

    monkeypatch.setattr(ingest, "process_shard", meddled)
    with pytest.raises(DataError, match=r"S001C001P001R001A001\.skeleton: changed while it was being ingested"):
        again(recordings, root)
    assert not list(root.rglob("shard-*"))


def test_a_file_name_that_is_no_text_is_told(recordings, root):
    path = recordings / "a" / ntu_name(0)
    os.rename(os.fsencode(path), os.fsencode(recordings) + b"/\xff.skeleton")
    with pytest.raises(DataError, match=r"xff\.skeleton.*no text \(UTF-8\); rename it"):
        again(recordings, root)


def test_the_plan_and_the_table_of_rejected_files_on_the_command_line(recordings, tmp_path, capsys):
    from skeletonllm.cli import main

    write_cut(recordings / "b" / "[red]S001C001P001R001A003.skeleton")
    arguments = ["ingest", str(recordings), "--workdir", str(tmp_path / "work"), "--max-rejected", "0.5"]
    assert main([*arguments, "--plan"]) == 0
    assert "recordings to read: 13" in capsys.readouterr().out
    assert not (tmp_path / "work").exists()
    assert main([*arguments, "--plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"][0]["action"] == "new"
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "12 clips, 1 files rejected" in printed
    assert "[red]S001C001P001R001A003" in printed
    assert main([*arguments, "--plan"]) == 0
    assert "Nothing to do" in capsys.readouterr().out
