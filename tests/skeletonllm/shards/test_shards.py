import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import ShardError
from skeletonllm.plain import sha256_of
from skeletonllm.shards.manifest import Manifest, find_dataset, fingerprint_of, read_manifest, write_manifest
from skeletonllm.shards.reader import ShardReader, open_shard
from skeletonllm.shards.schema import SCHEMA_VERSION, clips_from_table, clips_to_table
from skeletonllm.shards.writer import describe_shard, shard_name, write_shard
from tests.makers import make_clip, random_topology


def same(left, right) -> bool:
    return (
        left.clip_id == right.clip_id
        and left.topology == right.topology
        and np.array_equal(left.positions, right.positions)
        and np.array_equal(left.confidence, right.confidence)
        and (left.rotations is None) == (right.rotations is None)
        and (left.rotations is None or np.array_equal(left.rotations, right.rotations))
        and (left.fps, left.action, left.captions, left.source)
        == (right.fps, right.action, right.captions, right.source)
    )


def write_dataset(root, clips, per_shard=3):
    groups = [clips[start : start + per_shard] for start in range(0, len(clips), per_shard)]
    folder = root / "clips" / "f00d"
    for index, group in enumerate(groups):
        write_shard(folder / shard_name(index, len(groups)), clips_to_table(group), {"clips": len(group)})
    entries = [describe_shard(folder / shard_name(i, len(groups)))[0] for i in range(len(groups))]
    return write_manifest(folder, Manifest("clips", "clips", SCHEMA_VERSION, "test", 1, {}, [], "f00d", entries))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(2, 40), st.integers(1, 3), st.integers(1, 9)), min_size=1, max_size=5))
def test_clips_of_any_topology_survive_a_shard(tmp_path_factory, shapes):
    path = tmp_path_factory.mktemp("shard") / "s.arrow"
    clips = [
        make_clip(f"c{i}", random_topology(joints, i), persons, frames, seed=i, captions=("a", "b"), fps=20.0 + i)
        for i, (joints, persons, frames) in enumerate(shapes)
    ]
    write_shard(path, clips_to_table(clips))
    assert all(same(a, b) for a, b in zip(clips, clips_from_table(open_shard(path)), strict=True))


def test_rotations_and_unknown_actions_survive(tmp_path):
    turned = make_clip(action=None, rotations=np.full((1, 12, 20, 4), 0.5, np.float32))
    clips = [turned, make_clip("c1")]
    write_shard(tmp_path / "s.arrow", clips_to_table(clips))
    assert all(same(a, b) for a, b in zip(clips, clips_from_table(open_shard(tmp_path / "s.arrow")), strict=True))


def test_the_same_clips_make_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_shard(tmp_path / name, clips_to_table([make_clip(), make_clip("c1", "coco_17")]), {"clips": 2})
    assert sha256_of(tmp_path / "a") == sha256_of(tmp_path / "b")


def test_clips_are_found_by_row_and_by_id(tmp_path):
    clips = [make_clip(f"c{i}", "coco_17" if i % 2 else "smpl_22", seed=i) for i in range(8)]
    reader = ShardReader(write_dataset(tmp_path, clips))
    assert len(reader) == 8
    assert all(same(clip, reader.clip(row)) for row, clip in enumerate(clips))
    assert same(reader.by_id("c5"), clips[5])
    assert [clip.clip_id for clip in reader.clips()] == [clip.clip_id for clip in clips]
    with pytest.raises(ShardError, match=r"no clip 'x' among 8; ids look like"):
        reader.by_id("x")


def test_positions_are_read_without_a_copy(tmp_path):
    reader = ShardReader(write_dataset(tmp_path, [make_clip()]))
    assert not reader.clip(0).positions.flags.owndata
    assert not reader.clip(0).positions.flags.writeable


def test_a_folder_without_a_manifest_is_no_data_set(tmp_path):
    dataset = write_dataset(tmp_path, [make_clip()])
    assert find_dataset(tmp_path, "clips", "f00d") == dataset
    (tmp_path / "clips" / "f00d" / "manifest.json").unlink()
    assert find_dataset(tmp_path, "clips") is None
    with pytest.raises(ShardError, match="no finished data set"):
        read_manifest(tmp_path / "clips" / "f00d")


def test_any_flipped_byte_is_noticed_before_a_clip_is_served(tmp_path):
    dataset = write_dataset(tmp_path, [make_clip(), make_clip("c1")])
    shard = tmp_path / "clips" / "f00d" / shard_name(0, 1)
    whole = shard.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 20):
        shard.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        with pytest.raises(ShardError, match="sha256"):
            ShardReader(dataset).clip(0)


def test_a_cut_shard_is_an_error_that_says_what_to_do(tmp_path):
    write_shard(tmp_path / "s.arrow", clips_to_table([make_clip()]))
    (tmp_path / "s.arrow").write_bytes((tmp_path / "s.arrow").read_bytes()[:-40])
    with pytest.raises(ShardError, match="not a whole shard"):
        open_shard(tmp_path / "s.arrow")


def test_a_shard_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ShardError, match="cannot be written"):
        write_shard(tmp_path / "file" / "s.arrow", pa.table({"a": [1]}))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_fingerprint_changes_with_each_of_its_parts():
    parts = [("ingest", 1, {"a": 1}, ["x"]), ("mine", 1, {"a": 1}, ["x"]), ("ingest", 2, {"a": 1}, ["x"])]
    parts += [("ingest", 1, {"a": 2}, ["x"]), ("ingest", 1, {"a": 1}, ["y"])]
    assert len({fingerprint_of(*part) for part in parts}) == len(parts)


def test_a_shard_of_another_version_is_an_error_that_says_what_differs(tmp_path):
    folder = tmp_path / "clips" / "f00d"
    whole = clips_to_table([make_clip()])
    for table, version, message in (
        (
            whole.drop_columns(["source_space"]),
            1,
            r"an older version \(1, this .* source_space \(string, never null\); run the",
        ),
        (whole.append_column("new", pa.array([1])), 99, r"a newer version .*: not new \(int64\); update"),
        (
            whole.set_column(8, "fps", pa.array([30], pa.int32())),
            SCHEMA_VERSION,
            r"another version .*: fps \(double, never null\); not fps \(int32\)",
        ),
        (whole.select(whole.column_names[::-1]), SCHEMA_VERSION, r"only their order"),
    ):
        write_shard(folder / "s.arrow", table)
        entries = [describe_shard(folder / "s.arrow")[0]]
        dataset = write_manifest(folder, Manifest("clips", "clips", version, "test", 1, {}, [], "f00d", entries))
        with pytest.raises(ShardError, match=message):
            ShardReader(dataset).clip(0)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("fps", 0.0, "row 1: fps must be positive"),
        ("num_persons", 0, "row 1: at least one person"),
        ("num_frames", 2**31 - 1, "row 1: positions must be persons x frames x joints x 3"),
        ("num_joints", 3, "row 1: its topology must be in the shard"),
        ("topology", "none#0", "row 1: its topology must be in the shard"),
        ("confidence", [1.0], "row 1: confidence must be"),
        ("rotations", [1.0], "row 1: rotations must be"),
        ("positions", [float("nan")] * 720, "a position is not finite"),
    ],
)
def test_a_row_that_cannot_be_a_clip_is_found_when_the_shard_is_opened(tmp_path, column, value, message):
    table = clips_to_table([make_clip("c0"), make_clip("c1")])
    values = [table.column(column)[0].as_py(), value]
    place = table.column_names.index(column)
    field = table.schema.field(column)
    write_shard(tmp_path / "s.arrow", table.set_column(place, field, pa.array(values, field.type)))
    with pytest.raises(ShardError, match=message):
        list(clips_from_table(open_shard(tmp_path / "s.arrow")))


def test_a_part_of_a_table_gives_its_own_clips(tmp_path):
    turned = np.full((1, 12, 20, 4), 0.5, np.float32)
    clips = [
        make_clip(
            f"c{n}", seed=n, captions=("é",) * n, action=None if n == 2 else "wave", rotations=turned if n % 2 else None
        )
        for n in range(5)
    ]
    part = clips_to_table(clips).combine_chunks().slice(1, 3)
    assert all(same(a, b) for a, b in zip(clips[1:4], clips_from_table(part), strict=True))


def test_a_data_set_without_rows_has_no_clips(tmp_path):
    reader = ShardReader(write_dataset(tmp_path, [], per_shard=1))
    assert list(reader.clips()) == []
    (tmp_path / "empty").mkdir()
    write_shard(tmp_path / "s.arrow", clips_to_table([]))
    assert list(clips_from_table(open_shard(tmp_path / "s.arrow"))) == []


def test_a_row_that_is_not_there_is_an_index_error(tmp_path):
    reader = ShardReader(write_dataset(tmp_path, [make_clip()]))
    for row in (-1, 1):
        with pytest.raises(IndexError, match=f"row {row} of 1"):
            reader.clip(row)


def test_ids_that_share_a_hash_are_told_apart(tmp_path, monkeypatch):
    reader = ShardReader(write_dataset(tmp_path, [make_clip(f"c{n}") for n in range(7)]))
    monkeypatch.setattr("skeletonllm.shards.reader.hash", len, raising=False)
    assert [reader.row_of(f"c{n}") for n in range(7)] == list(range(7))
    with pytest.raises(ShardError, match="no clip 'd0'"):
        reader.by_id("d0")


@pytest.mark.parametrize("text", ["", "{}", "[]", '"x"', "{", '{"sha256": ""}', "[" * 100_000])
def test_a_manifest_that_is_none_is_an_error_that_says_what_to_do(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ShardError, match=r"run (its|the) pipeline again"):
        read_manifest(tmp_path)


def test_a_manifest_of_another_version_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("skeletonllm.shards.manifest.to_plain", lambda _: {"name": "clips", "invented": 1})
    write_manifest(tmp_path, Manifest("clips", "clips", 1, "test", 1, {}, [], "f00d", []))
    with pytest.raises(ShardError, match="written by another version of SkeletonLLM"):
        read_manifest(tmp_path)
