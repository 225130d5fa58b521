"""CSV, numpy and Parquet: a user's own numbers, and our own files read back exactly."""

import contextlib
import csv
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats import Declared, detect, find_recordings, plain_csv, plain_numpy, plain_parquet, read
from skeletonllm.skeleton.kinematics import body_size_m
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip, random_topology

WRITERS = {"csv": plain_csv.write, "npz": plain_numpy.write, "parquet": plain_parquet.write}


def performed(topology: str, action: str = "wave") -> Clip:
    """A simulated person with the joints of a topology; metres, +y up."""
    return sensors.convert(perform(action, 0, 0, 0, fps=30.0), TOPOLOGIES[topology])


@pytest.fixture(scope="module")
def kinect() -> Clip:
    return performed("kinect_v1_20")


def same(one: Clip, other: Clip) -> bool:
    turns = (one.rotations is None) == (other.rotations is None)
    if one.rotations is not None and other.rotations is not None:
        turns = np.array_equal(one.rotations, other.rotations)
    return (
        turns
        and np.array_equal(one.positions, other.positions)
        and np.array_equal(one.confidence, other.confidence)
        and (one.topology, one.fps, one.action, one.captions)
        == (other.topology, other.fps, other.action, other.captions)
    )


@pytest.mark.parametrize("suffix", WRITERS)
@settings(max_examples=25)
@given(
    joints=st.integers(5, 60),
    persons=st.integers(1, 3),
    frames=st.integers(1, 9),
    seed=st.integers(0, 10_000),
    fps=st.floats(0.5, 500, allow_nan=False),
    turned=st.booleans(),
)
def test_any_clip_is_read_back_exactly(tmp_path_factory, suffix, joints, persons, frames, seed, fps, turned):
    rng = np.random.default_rng(seed)
    clip = make_clip("c", random_topology(joints, seed), persons, frames, fps, seed, captions=('a, "b"\nü', "c"))
    seen = rng.random(clip.confidence.shape) > 0.2
    seen[:, 0, 0] = True
    confidence = np.where(seen, rng.random(seen.shape).clip(0.01), 0).astype(np.float32)
    rotations = None
    if turned:
        rotations = rng.normal(size=(*seen.shape, 4)).astype(np.float32)
    clip = replace(
        clip, positions=np.where(seen[..., None], clip.positions, 0), confidence=confidence, rotations=rotations
    )
    path = tmp_path_factory.mktemp("plain") / f"c.{suffix}"
    WRITERS[suffix](clip, path)
    (back,) = read(path)
    assert same(clip, back)
    assert (back.clip_id, back.source.subject, back.source.fps_from) == ("c", "P001", "file")


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("topology", ["coco_17", "kinect_v2_25", "smpl_22"])
def test_a_registered_topology_is_itself_again(tmp_path, suffix, topology):
    clip = make_clip("c", topology, action=None)
    WRITERS[suffix](clip, tmp_path / f"c.{suffix}")
    (back,) = read(tmp_path / f"c.{suffix}")
    assert back.topology is TOPOLOGIES[topology]
    assert same(clip, back)


def test_an_array_is_read_back_with_what_it_cannot_hold_declared(tmp_path, kinect):
    plain_numpy.write_npy(kinect, tmp_path / "a.npy")
    told = Declared(topology=kinect.topology, fps=30.0, unit="m", up="+y")
    (back,) = read(tmp_path / "a.npy", declared=told)
    assert np.array_equal(back.positions, kinect.positions)
    assert back.source.space == "m (declared), +y up (declared); joints declared"


LAYOUTS = [
    "{}_x,{}_y,{}_z",
    "{}.x,{}.y,{}.z",
    "{} X,{} Y,{} Z",
    "x_{},y_{},z_{}",
    "{}:x,{}:y,{}:z",
]


def write_wide(clip: Clip, path, columns=LAYOUTS[0], delimiter=",", scale=1.0, time=None, decimal="."):
    names = [column for joint in clip.topology.joint_names for column in columns.replace("{}", joint).split(",")]
    with path.open("w", newline="") as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerow(([time[0]] if time else []) + names)
        for frame, places in enumerate(clip.positions[0].reshape(clip.num_frames, -1)):
            first = [time[1](frame)] if time else []
            rows.writerow([str(value).replace(".", decimal) for value in (*first, *(places * scale).tolist())])


@pytest.mark.parametrize("columns", LAYOUTS)
def test_wide_columns_are_known_by_their_names(tmp_path, kinect, columns):
    write_wide(kinect, tmp_path / "a.csv", columns, time=("time", lambda frame: frame / 30))
    (clip,) = read(tmp_path / "a.csv")
    assert clip.topology is kinect.topology
    assert (clip.fps, clip.source.fps_from) == (30.0, "file")
    np.testing.assert_allclose(clip.positions, kinect.positions, atol=1e-5)
    assert "joints known by their names" in clip.source.space


@pytest.mark.parametrize(("delimiter", "decimal"), [(",", "."), (";", "."), (";", ","), ("\t", ".")])
def test_cells_are_parted_as_in_any_country(tmp_path, kinect, delimiter, decimal):
    write_wide(kinect, tmp_path / "a.csv", delimiter=delimiter, decimal=decimal)
    (clip,) = read(tmp_path / "a.csv", declared=Declared(fps=30.0))
    np.testing.assert_allclose(clip.positions, kinect.positions, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "stamp"),
    [
        ("time", lambda frame: round(frame / 25, 3)),
        ("timestamp", lambda frame: 1_600_000_000 + frame / 25),
        ("timestamp_ms", lambda frame: frame * 40),
        ("timestamp", lambda frame: 5_000_000 + frame * 40_000),
        ("timestamp", lambda frame: frame * 400_000),
        ("t", lambda frame: frame * 40_000_000),
    ],
)
def test_the_rate_is_that_of_the_time_stamps(tmp_path, kinect, name, stamp):
    write_wide(kinect, tmp_path / "a.csv", time=(name, stamp))
    (clip,) = read(tmp_path / "a.csv")
    assert (clip.fps, clip.source.fps_from) == (25.0, "file")


def test_a_frame_column_says_no_rate_and_gaps_are_not_seen(tmp_path, kinect):
    write_wide(kinect, tmp_path / "a.csv", time=("frame", lambda frame: 10 + frame + (3 if frame > 4 else 0)))
    with pytest.raises(FormatError, match=r"no frame rate.*--fps"):
        read(tmp_path / "a.csv")
    (clip,) = read(tmp_path / "a.csv", declared=Declared(fps=30.0))
    assert clip.num_frames == kinect.num_frames + 3
    assert not clip.confidence[0, 5:8].any()
    assert (clip.confidence[0, 4] > 0).all()


def test_unit_and_up_are_found_by_the_body_and_said(tmp_path, kinect):
    turned = replace(
        kinect,
        positions=np.stack(  # z up
            (kinect.positions[..., 0], -kinect.positions[..., 2], kinect.positions[..., 1]), -1
        ),
    )
    write_wide(turned, tmp_path / "a.csv", scale=1000.0)
    (clip,) = read(tmp_path / "a.csv", declared=Declared(fps=30.0))
    np.testing.assert_allclose(clip.positions, kinect.positions, atol=1e-5)
    assert clip.source.space.startswith("mm (by the body's size), +z up (by the posture in 100% of the frames)")
    (told,) = read(tmp_path / "a.csv", declared=Declared(fps=30.0, unit="cm", up="-z"))
    assert body_size_m(told) == pytest.approx(10 * body_size_m(kinect), rel=1e-3)


def test_image_coordinates_are_turned_and_sized_like_a_person(tmp_path):
    clip = performed("coco_17")
    pixels = clip.positions[0, :, :, :2] * (100, -100) + (640, 400)
    confidence = np.full((*pixels.shape[:2], 1), 0.5)
    np.save(tmp_path / "a.npy", np.concatenate((pixels, confidence), -1))
    (read_back,) = read(tmp_path / "a.npy", declared=Declared(TOPOLOGIES["coco_17"], 30.0))
    assert read_back.topology is TOPOLOGIES["coco_17"]
    assert (read_back.confidence == 0.5).all()
    assert read_back.positions[0, 0, 0, 1] > read_back.positions[0, 0, 15, 1]
    assert body_size_m(read_back) == pytest.approx(1.4, abs=0.01)
    assert read_back.source.space.startswith("px (scaled to the body's size), -y up")


def test_three_coordinates_of_a_2d_topology_are_three(tmp_path):
    clip = performed("coco_17")
    np.save(tmp_path / "a.npy", clip.positions[0])
    (back,) = read(tmp_path / "a.npy", declared=Declared(TOPOLOGIES["coco_17"], 30.0))
    assert back.topology.dims == 3
    np.testing.assert_allclose(back.positions, clip.positions, atol=1e-5)


def write_long(clip: Clip, path, header="frame,person,joint,x,y,z", clips=("",), order=1):
    rows = []
    for name in clips:
        for person in range(clip.num_persons):
            for frame in range(clip.num_frames):
                for joint, joint_name in enumerate(clip.topology.joint_names):
                    cells = (frame, f"p{person}", joint_name, *clip.positions[person, frame, joint].tolist())
                    rows.append((name, *cells) if name else cells)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header.split(","))
        writer.writerows(rows[::order])


def test_long_rows_may_come_in_any_order(tmp_path, kinect):
    two = replace(
        kinect,
        positions=np.concatenate((kinect.positions, kinect.positions + 1)),
        confidence=np.concatenate((kinect.confidence, kinect.confidence)),
    )
    write_long(two, tmp_path / "a.csv")
    (clip,) = read(tmp_path / "a.csv", declared=Declared(fps=30.0))
    np.testing.assert_allclose(clip.positions, two.positions, atol=1e-5)
    write_long(two, tmp_path / "b.csv", order=-1)
    (backwards,) = read(tmp_path / "b.csv", declared=Declared(fps=30.0))
    np.testing.assert_allclose(backwards.positions, two.positions[::-1], atol=1e-5)


def test_a_clip_column_parts_a_file_into_clips(tmp_path, kinect):
    write_long(kinect, tmp_path / "a.csv", "video,frame,person,joint,x,y,z", ("one", "two"))
    clips = read(tmp_path / "a.csv", declared=Declared(fps=30.0))
    assert [clip.clip_id for clip in clips] == ["one", "two"]
    assert {clip.num_frames for clip in clips} == {kinect.num_frames}


def test_names_of_other_tools_are_the_same_joints(tmp_path):
    clip = performed("smpl_22")
    other = [
        name.replace("left_", "L").replace("right_", "R") if name.startswith(("left", "right")) else name.upper()
        for name in clip.topology.joint_names
    ]
    order = list(range(22))[::-1]
    table = pa.table({f"{other[j]}.{axis}": clip.positions[0, :, j, a] for j in order for a, axis in enumerate("xyz")})
    pq.write_table(table, tmp_path / "a.parquet")
    (back,) = read(tmp_path / "a.parquet", declared=Declared(fps=20.0))
    assert back.topology is TOPOLOGIES["smpl_22"]
    np.testing.assert_allclose(back.positions, clip.positions, atol=1e-5)


@pytest.mark.parametrize("topology", ["kinect_v2_25", "kinect_v1_20", "smpl_22"])
@pytest.mark.parametrize("shape", ["[T,J,3]", "[M,T,J,3]", "[T,J*3]", "[T,J,4]", "frame + [J*3]"])
def test_bare_arrays_are_recognised_by_their_bones(tmp_path, topology, shape):
    clip = performed(topology)
    places = clip.positions[0] * 100
    array = {
        "[T,J,3]": places,
        "[M,T,J,3]": places[None],
        "[T,J*3]": places.reshape(len(places), -1),
        "[T,J,4]": np.concatenate((places, np.ones((*places.shape[:2], 1))), -1),
        "frame + [J*3]": np.concatenate((np.arange(len(places))[:, None], places.reshape(len(places), -1)), 1),
    }[shape]
    np.save(tmp_path / "a.npy", array)
    if array.ndim == 2:
        np.savetxt(tmp_path / "b.csv", array, delimiter=",")
        np.savetxt(tmp_path / "c.txt", array)
    for path in tmp_path.iterdir():
        (back,) = read(path, "csv" if path.suffix != ".npy" else "numpy", Declared(fps=30.0))
        assert back.topology is TOPOLOGIES[topology]
        np.testing.assert_allclose(back.positions, clip.positions, atol=1e-4)
        assert "joints known by the lengths of their bones" in back.source.space


def test_an_archive_says_rate_names_and_class(tmp_path, kinect):
    names = np.array(kinect.topology.joint_names)
    np.savez(tmp_path / "a.npz", keypoints=kinect.positions[0, :, ::-1], joint_names=names[::-1], fps=15, label="wave")
    (clip,) = read(tmp_path / "a.npz")
    np.testing.assert_allclose(clip.positions, kinect.positions, atol=1e-5)
    assert (clip.fps, clip.action, clip.topology.name) == (15.0, "wave", "kinect_v1_20")
    np.savez(tmp_path / "b.npz", poses3d=kinect.positions, scores=kinect.confidence / 2, fps=15, label=np.array([4]))
    (clip,) = read(tmp_path / "b.npz")
    assert (clip.action, clip.confidence.max()) == ("label 4", 0.5)


def test_an_archive_with_parents_has_a_topology_of_its_own(tmp_path, kinect):
    names = ("hips", "chest", "head", "left_hand", "right_hand")
    places = kinect.positions[:, :, (0, 2, 3, 7, 11)]
    np.savez(tmp_path / "a.npz", xyz=places, joint_names=names, parents=[-1, 0, 1, 1, 1], fps=30.0)
    (clip,) = read(tmp_path / "a.npz")
    assert clip.topology.joint_names == names
    assert clip.topology.sides == ("center", "center", "center", "left", "right")


def test_parquet_lists_are_joints_or_frames(tmp_path, kinect):
    places = kinect.positions[0]
    names = kinect.topology.joint_names
    wide = pa.table(
        {name: pa.FixedSizeListArray.from_arrays(pa.array(places[:, j].ravel()), 3) for j, name in enumerate(names)}
    )
    pq.write_table(wide, tmp_path / "a.parquet")
    pq.write_table(pa.table({"positions": [frame.ravel().tolist() for frame in places]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"keypoints": [frame.tolist() for frame in places]}), tmp_path / "c.parquet")
    for path in sorted(tmp_path.iterdir()):
        (clip,) = read(path, declared=Declared(fps=30.0))
        assert clip.topology is kinect.topology
        np.testing.assert_allclose(clip.positions, kinect.positions, atol=1e-5)


def test_recordings_toml_makes_any_numbers_joints(tmp_path):
    own = make_clip("a", "kinect_v1_20").positions[0, :, :7] * 30
    (tmp_path / "recordings.toml").write_text(
        'joints = ["hips", "chest", "head", "left_hand", "right_hand", "left_foot", "right_foot"]\n'
        'parents = ["", "hips", "chest", "chest", "chest", "hips", "hips"]\nfps = 25\nunit = "cm"\nup = "+y"\n'
        'dataset = "lab"\n'
    )
    np.savetxt(tmp_path / "a.csv", own.reshape(len(own), -1), delimiter=",")
    np.save(tmp_path / "b.npy", own.reshape(len(own), -1))
    np.save(tmp_path / "c.npy", own)
    assert [path.name for path in find_recordings(tmp_path)] == ["a.csv", "b.npy", "c.npy"]
    for clip in read(tmp_path):
        assert (clip.topology.name, clip.fps, clip.source.dataset) == ("own_7", 25.0, "lab")
        np.testing.assert_allclose(clip.positions[0], own / 100, atol=1e-5)


SIDE_FILES = {
    "labels.csv": "clip_id,action,subject\na,wave,P001\n",
    "confusion.csv": "," + ",".join("abcdefghijk") + "\n" + "\n".join("a" + ",1" * 11 for _ in range(11)),
    "features.csv": "\n".join(",".join(map(str, row)) for row in np.random.default_rng(0).normal(size=(40, 60))),
    "metrics.csv": "step,loss,accuracy\n0,1.0,0.5\n",
    "readme.txt": "Some words about the data.\n",
    "split.txt": "1 2 3 4\n",
    "boxes.csv": "frame,x,y,w,h\n0,1,2,3,4\n",
}
ARRAYS = {
    "Mean.npy": np.zeros(263, np.float32),
    "features.npy": np.random.default_rng(0).normal(size=(50, 512)).astype(np.float32),
    "embedding.npy": np.random.default_rng(0).normal(size=(40, 66)),
    "noise.npy": np.random.default_rng(0).normal(size=(40, 17, 3)),
    "picture.npy": np.zeros((64, 64, 3), np.uint8),
    "labels.npy": np.arange(100),
    "zeros.npy": np.zeros((40, 25, 3)),
}


def test_other_tables_and_arrays_are_no_recordings(tmp_path):
    for name, text in SIDE_FILES.items():
        (tmp_path / name).write_text(text)
    for name, array in ARRAYS.items():
        np.save(tmp_path / name, array)
    np.savez(tmp_path / "weights.npz", weight=np.zeros((25, 3)), bias=np.zeros(3))
    pq.write_table(pa.table({"clip_id": ["a"], "action": ["wave"]}), tmp_path / "labels.parquet")
    assert find_recordings(tmp_path) == []


def test_what_cannot_be_told_apart_is_asked_for_with_reasons(tmp_path):
    np.save(tmp_path / "a.npy", make_clip("a", "kinect_v2_25").positions[0])
    with pytest.raises(FormatError) as error:
        read(tmp_path / "a.npy", "numpy", Declared(fps=30.0))
    for said in ("kinect_v2_25: it has 25 joints, its bones are", "openpose_25", "--topology"):
        assert said in str(error.value)
    np.save(tmp_path / "b.npy", make_clip("b", random_topology(19)).positions[0])
    with pytest.raises(FormatError, match=r"19 joints without names.*a known number of joints.*--topology"):
        read(tmp_path / "b.npy", "numpy", Declared(fps=30.0))


def test_joints_that_nobody_knows_are_told_with_the_nearest_topologies(tmp_path, kinect):
    write_wide(kinect, tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_text().replace("head_", "antenna_")
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(
        FormatError, match=r"near are .*kinect_v1_20 \(not found: head; 1 joints more\).*recordings.toml"
    ):
        read(tmp_path / "a.csv", declared=Declared(fps=30.0))


def long_text(**changes) -> str:
    rows = [["frame", "joint", "x", "y", "z"]] + [
        [str(frame), joint, "0.1", str(number), "1"]
        for frame in range(2)
        for number, joint in enumerate(TOPOLOGIES["florence_15"].joint_names, 1)
    ]
    for place, value in changes.items():
        row, column = map(int, place[1:].split("_"))
        rows[row][column] = value
    return "\n".join(",".join(row) for row in rows) + "\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (long_text(r3_2="abc"), r"abc.*expected as many cells"),
        (long_text(r3_0=""), r"a row without frame or time"),
        (long_text(r3_0="1e300"), r"frames 0 to 1e\+300|frame"),
        (long_text(r2_1="head"), r"row 2: found a frame twice"),
        (long_text(r0_0="x"), r"column 'x' twice"),
        (long_text(r0_0="foo"), r"no frame column"),
        (long_text(r3_2="1e200"), r"a coordinate beyond 1e\+09"),
        (long_text()[:-9] + "\n", r"as many cells"),
        ("frame,joint,x,y,z\n", r"no row|Empty CSV"),
        ('# {"skeletonllm": 3}\n' + long_text(), r"line 1: .*description"),
    ],
)
def test_damage_of_a_table_is_named(tmp_path, text, says):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(FormatError, match=says):
        read(tmp_path / "a.csv", "csv", Declared(fps=30.0))


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"positions": np.ones((4, 20, 7))}, r"shape \(4, 20, 7\)"),
        ({"positions": np.ones((40, 2, 20, 3))}, r"at most 20 persons; transpose it"),
        ({"positions": np.full((4, 20, 4), 7.0)}, r"a fourth value that is not between 0 and 1"),
        ({"positions": np.ones((4, 20, 3)), "scores": np.ones((3, 20))}, r"array scores: found shape \(3, 20\)"),
        ({"positions": np.ones((4, 20, 3)), "fps": [1, 2]}, r"array fps: found \[1, 2\]"),
        ({"positions": np.ones((4, 2, 3)), "joint_names": ["hips", "hips"]}, r"joints"),
        ({"positions": np.ones((4, 2, 3)), "joint_names": ["hips", "head"], "parents": [0.5, 1]}, "array parents"),
        ({"positions": np.ones((4, 2, 3)), "skeletonllm": "{"}, "array skeletonllm"),
        ({"weights": np.ones(4)}, r"arrays \['weights'\], expected one of positions"),
        ({"positions": np.array(["a"])}, r"expected one of positions"),
    ],
)
def test_damage_of_an_archive_is_named(tmp_path, arrays, says):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(FormatError, match=says):
        read(tmp_path / "a.npz", "numpy", Declared(fps=30.0))


@pytest.mark.parametrize("suffix", [*WRITERS, "npy"])
@settings(max_examples=60)
@given(seed=st.integers(0, 100_000))
def test_a_changed_file_is_one_format_error_or_a_clip(tmp_path_factory, suffix, seed):
    rng = np.random.default_rng(seed)
    clip = make_clip("c", "florence_15", num_frames=4)
    path = tmp_path_factory.mktemp("hostile") / f"c.{suffix}"
    (plain_numpy.write_npy if suffix == "npy" else WRITERS[suffix])(clip, path)
    data = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(data)))
        kind = rng.integers(4)
        if kind == 0:
            data[at] = int(rng.integers(256))
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 40))]
        elif kind == 2:
            data[at:at] = data[at : at + 20]
        else:
            data[at : at + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(bytes(data))
    with contextlib.suppress(FormatError):
        detect(path)
    try:
        clips = read(path, "numpy" if suffix in ("npy", "npz") else suffix, Declared(fps=30.0))
    except FormatError:
        return
    assert all(isinstance(clip, Clip) for clip in clips)


def test_a_description_is_checked_like_anything_from_outside(tmp_path):
    plain_csv.write(make_clip("c", "florence_15"), tmp_path / "a.csv")
    line, _, rest = (tmp_path / "a.csv").read_text().partition("\n")
    said = json.loads(line.lstrip("# "))
    for key, value in {
        "fps": 0,
        "unit": "furlong",
        "up": "+z",
        "action": 3,
        "captions": [1],
        "topology": {},
        "subject": "\ud800",
    }.items():
        changed = {"skeletonllm": {**said["skeletonllm"], key: value}}
        (tmp_path / "b.csv").write_text(f"# {json.dumps(changed)}\n{rest}")
        with pytest.raises(FormatError, match="line 1"):
            read(tmp_path / "b.csv")


def test_where_a_clip_is_from_is_kept(tmp_path):
    source = Source(dataset="made", subject="P7", camera="2", setup="3", repetition="4")
    plain_parquet.write(make_clip("c", "florence_15", source=source), tmp_path / "a.parquet")
    (clip,) = read(tmp_path / "a.parquet")
    assert (clip.source.dataset, clip.source.subject, clip.source.repetition) == ("made", "P7", "4")
