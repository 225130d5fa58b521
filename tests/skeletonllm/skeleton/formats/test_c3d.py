"""C3D: files written by hand in every storage, joints from markers, names and a topology, and damage."""

import contextlib
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, c3d, detect, find_recordings, read
from skeletonllm.skeleton.kinematics import canonicalise
from skeletonllm.skeleton.topology import Topology

INTEL, DEC, MIPS = 84, 85, 86
# Somebody who stands, millimetres, +z up, facing -y, left at +x.
PLACES = """
    LFHD 80 -80 1700; RFHD -80 -80 1700; LBHD 80 80 1700; RBHD -80 80 1700; C7 0 80 1500; T10 0 100 1300;
    CLAV 0 -60 1450; STRN 0 -80 1300; LASI 120 -80 1000; RASI -120 -80 1000; LPSI 50 80 1020; RPSI -50 80 1020;
    LSHO 180 0 1450; LELB 250 0 1150; LWRA 250 -30 900; LWRB 250 30 900; LFIN 250 -20 820;
    RSHO -180 0 1450; RELB -250 0 1150; RWRA -250 -30 900; RWRB -250 30 900; RFIN -250 -20 820;
    LTHI 150 0 800; LKNE 150 0 520; LANK 130 0 90; LHEE 100 60 40; LTOE 100 -180 40;
    RTHI -150 0 800; RKNE -150 0 520; RANK -130 0 90; RHEE -100 60 40; RTOE -100 -180 40
"""
MARKERS = {name: tuple(map(float, place)) for name, *place in map(str.split, PLACES.split(";"))}


@dataclass
class File:
    """A C3D file by its parts; `bytes()` writes it."""

    points: np.ndarray  # [frames, points, 3]
    labels: list[str]
    processor: int = INTEL
    scale: float = -0.1  # negative: floats
    unseen: list[tuple[int, int]] = field(default_factory=list)
    num_analog: int = 6
    rate: float = 100.0
    units: str = "mm"
    first: int = 1
    last: int | None = None
    more: dict[str, list[str] | list[float] | np.ndarray] = field(default_factory=dict)

    def words(self, values) -> bytes:
        return np.asarray(values).astype(">i2" if self.processor == MIPS else "<i2").tobytes()

    def floats(self, values) -> bytes:
        numbers = np.asarray(values, np.float32)
        if self.processor == DEC:
            swapped = (numbers * 4).astype("<f4").view("<u2").reshape(-1, 2)[:, ::-1]
            return np.ascontiguousarray(swapped).tobytes()
        return numbers.astype(">f4" if self.processor == MIPS else "<f4").tobytes()

    def parameter(self, group: int, name: str, value) -> bytes:
        if isinstance(value[0], str):
            length = max(map(len, value))
            content = bytes((0xFF, 2, length, len(value))) + b"".join(text.encode().ljust(length) for text in value)
        elif isinstance(value, np.ndarray):
            content = bytes((2, 1, len(value))) + self.words(value)
        else:
            content = bytes((4, 1, len(value))) + self.floats(value)
        step = struct.pack(">H" if self.processor == MIPS else "<H", len(content) + 3)
        return struct.pack("bb", len(name), group) + name.encode() + step + content + b"\0"

    def parameters(self) -> bytes:
        known = {
            "POINT:LABELS": self.labels[:255],
            "POINT:UNITS": [self.units],
            "POINT:RATE": [self.rate],
            "POINT:SCALE": [self.scale],
        }
        if len(self.labels) > 255:
            known["POINT:LABELS2"] = self.labels[255:]
        known |= self.more
        groups = list(dict.fromkeys(name.split(":")[0] for name in known))
        text = b""
        for number, group in enumerate(groups, 1):
            step = struct.pack(">H" if self.processor == MIPS else "<H", 3)
            text += struct.pack("bb", len(group), -number) + group.encode() + step + b"\0"
        for name, value in known.items():
            group, name = name.split(":")
            text += self.parameter(groups.index(group) + 1, name, value)
        text = bytes((1, 0x50, 0, self.processor)) + text + b"\0\0"
        return text.ljust(-(-len(text) // 512) * 512, b"\0")

    def bytes(self) -> bytes:
        parameters = self.parameters()
        frames, count, _ = self.points.shape
        last = self.first + frames - 1 if self.last is None else self.last
        header = bytes((2, 0x50)) + self.words([count, self.num_analog, self.first, last, 0])
        header += self.floats([self.scale]) + self.words([2 + len(parameters) // 512, 3]) + self.floats([self.rate])
        table = np.zeros((frames, 4 * count + self.num_analog))
        places = table[:, : 4 * count].reshape(frames, count, 4)
        places[..., :3] = self.points if self.scale < 0 else np.round(self.points / self.scale)
        places[..., 3] = 2
        for frame, point in self.unseen:
            places[frame, point, 3] = -1
        table[:, : 4 * count] = places.reshape(frames, -1)
        table[:, 4 * count :] = 77
        numbers = self.floats(table.ravel()) if self.scale < 0 else self.words(table.ravel())
        return header.ljust(512, b"\0") + parameters + numbers


def walker(frames=4, prefix="", markers=MARKERS):
    points = np.array(list(markers.values()), float)[None] + np.arange(frames)[:, None, None] * (0, -10, 0)
    return points, [prefix + name for name in markers]


def save(path, file):
    path.write_bytes(file.bytes())
    return path


def joint(clip, name, frame=0, person=0):
    return clip.positions[person, frame, clip.topology.joint_names.index(name)]


@pytest.mark.parametrize("processor", [INTEL, DEC, MIPS])
@pytest.mark.parametrize("scale", [-0.1, 0.1])
def test_joints_are_middles_of_markers_in_every_storage(tmp_path, processor, scale):
    path = save(tmp_path / "a.c3d", File(*walker(), processor=processor, scale=scale))
    assert detect(path).name == "c3d"
    assert find_recordings(tmp_path) == [path]
    (clip,) = read(path)
    assert (clip.num_persons, clip.num_frames, clip.fps) == (1, 4, 100)
    assert clip.source.space == "mm (by the file), +z up"
    assert clip.source.fps_from == "file"
    assert clip.confidence.min() == 1
    np.testing.assert_allclose(joint(clip, "pelvis"), (0, 1.01, 0), atol=1e-4)
    np.testing.assert_allclose(joint(clip, "head", 2), (0, 1.7, 0.02), atol=1e-4)
    np.testing.assert_allclose(joint(clip, "left_hip"), (0.085, 1.01, 0), atol=1e-4)
    np.testing.assert_allclose(joint(clip, "right_wrist"), (-0.25, 0.9, 0), atol=1e-4)
    np.testing.assert_allclose(joint(clip, "left_toe"), (0.1, 0.04, 0.18), atol=1e-4)
    ready = canonicalise(clip)
    assert joint(ready, "left_shoulder")[0] > joint(ready, "right_shoulder")[0]
    assert joint(ready, "left_toe")[2] > joint(ready, "left_heel")[2]


def test_joints_hang_on_the_next_part_towards_the_pelvis(tmp_path):
    (clip,) = read(save(tmp_path / "a.c3d", File(*walker())))
    names, parents = clip.topology.joint_names, clip.topology.parents
    above = {name: names[parent] for name, parent in zip(names, parents, strict=True) if parent != -1}
    assert above["left_toe"] == above["left_heel"] == "left_ankle"
    assert (above["right_hip"], above["right_shoulder"], above["neck"]) == ("pelvis", "chest", "chest")
    assert "pelvis" not in above


def test_a_joint_is_seen_only_with_all_of_its_markers(tmp_path):
    labels = list(MARKERS)
    file = File(*walker(), unseen=[(1, labels.index("LWRB")), (2, labels.index("LKNE")), (3, labels.index("LTHI"))])
    (clip,) = read(save(tmp_path / "a.c3d", file))
    gone = [(int(f), clip.topology.joint_names[j]) for f, j in np.argwhere(clip.confidence[0] == 0)]
    assert gone == [(1, "left_wrist"), (2, "left_knee")]


def test_prefixes_are_persons_and_one_may_lack_joints(tmp_path):
    anna, labels = walker(prefix="Anna:")
    legs = {name: place for name, place in MARKERS.items() if name[1:] in ("ASI", "PSI", "KNE", "ANK", "TOE")}
    berta, more = walker(prefix="Berta:", markers=legs)
    file = File(np.concatenate((anna, berta + np.array((1000, 0, 0))), 1), [*labels, *more])
    (clip,) = read(save(tmp_path / "a.c3d", file))
    assert clip.num_persons == 2
    assert clip.source.subject == "Anna+Berta"
    np.testing.assert_allclose(joint(clip, "left_knee", person=1), (1.15, 0.52, 0), atol=1e-4)
    assert clip.confidence[1, 0, clip.topology.joint_names.index("head")] == 0


def test_medial_markers_and_joint_centres_are_preferred(tmp_path):
    markers = {**MARKERS, "LKNM": (50, 0, 520), "RKJC": (-90, 10, 515), "*7": (0, 0, 0)}
    (clip,) = read(save(tmp_path / "a.c3d", File(*walker(markers=markers))))
    np.testing.assert_allclose(joint(clip, "left_knee"), (0.1, 0.52, 0), atol=1e-4)
    np.testing.assert_allclose(joint(clip, "right_knee"), (-0.09, 0.515, -0.01), atol=1e-4)


NAMES = {"Hips": (0, 1.0, 0), "Head": (0, 1.7, 0)}
NAMES |= {f"{side}Arm": (x, 1.4, 0) for side, x in (("Left", 0.2), ("Right", -0.2))}
NAMES |= {f"{side}Leg": (x, 0.5, 0) for side, x in (("Left", 0.1), ("Right", -0.1))}
NAMES |= {f"{side}Foot": (x, 0.1, 0.1) for side, x in (("Left", 0.1), ("Right", -0.1))}


def test_labels_that_are_names_of_joints_are_joints(tmp_path):
    markers = {**NAMES, "LHipAngles": (10, 20, 30)}
    file = File(*walker(2, markers=markers), units="m", more={"POINT:ANGLES": ["LHipAngles"]})
    (clip,) = read(save(tmp_path / "a.c3d", file))
    assert clip.topology.joint_names == tuple(NAMES)
    names, parents = clip.topology.joint_names, clip.topology.parents
    assert names[parents[names.index("LeftFoot")]] == "LeftLeg"
    assert names[parents[names.index("LeftArm")]] == "Hips"
    assert clip.source.space == "m (by the file), +y up"


def test_a_declared_topology_takes_labels_as_its_joints(tmp_path):
    topology = Topology("mine", ("RTOE", "LTOE", "C7"), (2, 2, -1), ("foot", "foot", "neck"), ((1, 0),))
    path = save(tmp_path / "a.c3d", File(*walker(prefix="x:")))
    (clip,) = read(path, declared=Declared(topology=topology, unit="cm", up="+z"))
    assert clip.topology is topology
    np.testing.assert_allclose(clip.positions[0, 0], [(-1, 0.4, 1.8), (1, 0.4, 1.8), (0, 15, -0.8)], atol=1e-4)
    assert clip.source.space == "cm (declared), +z up"
    other = Topology("other", ("C7", "NOSE"), (-1, 0), ("neck", "face"))
    with pytest.raises(FormatError, match=r"no C7, NOSE among the labels x:LFHD.*name its joints as the labels are"):
        read(path, declared=Declared(topology=other))


def test_labels_that_say_nothing_are_listed(tmp_path):
    path = save(tmp_path / "a.c3d", File(np.ones((2, 3, 3)), ["M1", "M2", "*3"]))
    with pytest.raises(FormatError, match=r"found the labels M1, M2, expected Plug-in-Gait.*--topology"):
        read(path)


def test_more_labels_than_one_parameter_holds_are_read(tmp_path):
    points, labels = walker(2)
    file = File(np.concatenate((np.zeros((2, 255, 3)), points), 1), [*(f"*{i}" for i in range(255)), *labels])
    (clip,) = read(save(tmp_path / "a.c3d", file))
    np.testing.assert_allclose(joint(clip, "head"), (0, 1.7, 0), atol=1e-4)


LEGS = {name: MARKERS[name] for name in ("LASI", "RASI", "LPSI", "RPSI", "LKNE", "RKNE", "LANK", "RANK")}


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (1, {"TRIAL:ACTUAL_START_FIELD": np.array([1, 0]), "TRIAL:ACTUAL_END_FIELD": np.array([70_000 - 65_536, 1])}),
        (9, {"TRIAL:ACTUAL_START_FIELD": np.array([9, 0]), "TRIAL:ACTUAL_END_FIELD": np.array([70_008 - 65_536, 1])}),
        (1, {"POINT:LONG_FRAMES": [70_000.0]}),
        (1, {"POINT:FRAMES": [70_000.0]}),
    ],
)
def test_more_than_65535_frames_are_counted_where_files_say_so(tmp_path, first, more):
    points, labels = walker(1, markers=LEGS)
    said = {"POINT:FRAMES": np.array([65_535]), **more}
    file = File(np.repeat(points, 70_000, 0), labels, scale=0.1, num_analog=0, first=first, last=65_535, more=said)
    (clip,) = read(save(tmp_path / "a.c3d", file))
    assert clip.num_frames == 70_000


def test_without_a_rate_it_must_be_said(tmp_path):
    path = save(tmp_path / "a.c3d", File(*walker(), rate=0.0))
    with pytest.raises(FormatError, match=r"POINT:RATE.*--fps"):
        read(path)
    (clip,) = read(path, declared=Declared(fps=50.0))
    assert (clip.fps, clip.source.fps_from) == (50, "declared")


@pytest.mark.parametrize(
    ("units", "scale", "space"), [("", 1.0, "mm (by the body's size)"), ("meters", 0.001, "m (by the file)")]
)
def test_the_unit_is_the_files_or_found_from_the_body(tmp_path, units, scale, space):
    points, labels = walker()
    (clip,) = read(save(tmp_path / "a.c3d", File(points * scale, labels, units=units or " ")))
    assert clip.source.space == f"{space}, +z up"
    np.testing.assert_allclose(joint(clip, "head"), (0, 1.7, 0), atol=1e-4)


def test_where_bodies_do_not_say_what_is_up_the_screen_does(tmp_path):
    points, labels = walker(2)
    points[1] = points[1][:, (2, 0, 1)]
    file = File(points, labels)
    with pytest.raises(FormatError, match=r"in 50% of the frames.*--up"):
        read(save(tmp_path / "a.c3d", file))
    file.more = {"POINT:Y_SCREEN": ["+Z"]}
    (clip,) = read(save(tmp_path / "a.c3d", file))
    assert clip.source.space.endswith("+z up")


GOOD = File(*walker()).bytes()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "an empty file"),
        (b"\2\x50", "a block number and the mark"),
        (b"\2\x51" + GOOD[2:], "the mark 0x50"),
        (b"\xff" + GOOD[1:], "a block number"),
        (GOOD[:515] + b"\x01" + GOOD[516:], "processor 1, expected 84"),
        (GOOD[:-1], "the end of the file, expected"),
        (GOOD[:600], "the end of the file|type|bytes"),
        (GOOD[:2] + b"\0\0" + GOOD[4:], "found 0 points"),
        (GOOD[:6] + b"\5\0\1\0" + GOOD[10:], "-3 frames"),
        (GOOD[:16] + b"\0\0" + GOOD[18:], "from block 0"),
        (File(*walker(), scale=1e9).bytes(), "scale"),
        (File(np.full((2, 32, 3), np.nan), list(MARKERS)).bytes(), "heads above feet along .y in 0%"),
        (File(walker()[0] * 1e7, list(MARKERS)).bytes(), "from the origin|in 0%"),
        (File(*walker(), more={"POINT:FRAMES": [1e30]}).bytes(), "the end of the file"),
    ],
)
def test_damage_is_named(tmp_path, content, says):
    (tmp_path / "a.c3d").write_bytes(content)
    with pytest.raises(FormatError, match=says):
        read(tmp_path / "a.c3d", "c3d")


@settings(max_examples=120)
@given(at=st.integers(0, 100_000), byte=st.integers(0, 255), cut=st.booleans(), early=st.booleans())
def test_whatever_byte_is_flipped_there_is_a_clip_or_one_error(tmp_path_factory, at, byte, cut, early):
    path = tmp_path_factory.mktemp("c3d") / "a.c3d"
    data = bytearray(GOOD)
    place = at % (1200 if early else len(data))
    data[place] = byte
    path.write_bytes(bytes(data[:place]) if cut else bytes(data))
    c3d.sniff(path, path.read_bytes()[:4096])
    with contextlib.suppress(FormatError):
        read(path, "c3d")
