"""Real recordings of the Kinect's text formats: as many, and as labelled, as MANIFEST.json says; people, not mirrored."""

import functools
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, detect, find_recordings, read
from skeletonllm.skeleton.formats.keraal import EXERCISES
from skeletonllm.skeleton.formats.pkummd import ACTIONS as PKU_ACTIONS
from skeletonllm.skeleton.formats.uiprmd import ACTIONS as UI_ACTIONS
from skeletonllm.skeleton.formats.utkinect import ACTIONS as UT_ACTIONS
from skeletonllm.skeleton.kinematics import body_size_m, canonicalise, point
from tests.skeletonllm.skeleton.formats.texts import DATA, manifest

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings in {DATA}")

# Format, and what MANIFEST.json calls its recordings.
DATASETS = {
    "msraction3d": ("msraction3d", ("msraction3d.real3d.txt", "msraction3d.screen.txt")),
    "florence3d": ("florence3d", ("florence.perclip.txt", "florence.original-layout.txt")),
    "utkinect": ("utkinect", ("utkinect.joints.txt",)),
    "kard": ("kard", ("kard.realworld.txt", "kard.screen.txt")),
    "cad60": ("cad60", ("cad60.txt",)),
    "msrc12": ("msrc12", ("msrc12.csv",)),
    "pkummd_derived": ("pkummd", ("pkummd.skeleton.txt",)),
    "uiprmd": ("uiprmd", ("uiprmd.positions.txt",)),
    "keraal": ("keraal", ("keraal.kinect25x7.txt", "keraal.vicon17x7.txt")),
}
SAMPLE = 60
EMPTY = "a13_s09_e02_skeleton3D.txt"  # 38 frames of zeros
SIXTY = Declared(fps=60.0)


def entries(dataset: str) -> list[dict]:
    if not (DATA / dataset).is_dir():
        pytest.skip(f"no {DATA / dataset}")
    return manifest(dataset, DATASETS[dataset][1])


def some(dataset: str) -> list[dict]:
    every = [entry for entry in entries(dataset) if not entry["file"].endswith(EMPTY)]
    return every[:: max(1, len(every) // SAMPLE)]


@functools.cache
def clips_of(file: str) -> list[Clip]:
    return read(DATA / file, declared=SIXTY if "Vicon" in file else Declared())


@pytest.mark.parametrize("dataset", DATASETS)
def test_all_recordings_are_found_and_nothing_else(dataset):
    expected = sorted(DATA / entry["file"] for entry in entries(dataset))
    found = [path for path in find_recordings(DATA / dataset) if path.suffix != ".json"]
    assert found == expected
    assert {detect(path).name for path in found} == {DATASETS[dataset][0]}


@pytest.mark.parametrize("dataset", DATASETS)
def test_frames_joints_and_subjects_are_those_of_the_manifest(dataset):
    for entry in some(dataset):
        clips = clips_of(entry["file"])
        if entry.get("joints"):
            assert {clip.topology.num_joints for clip in clips} == {entry["joints"]}
        if entry.get("n_frames") and dataset not in ("utkinect", "pkummd_derived"):
            assert [clip.num_frames for clip in clips] == [entry["n_frames"]]
        if entry["subject"] and dataset != "cad60":  # CAD-60's folder or labels say it, and are not there
            assert {clip.source.subject.lower() for clip in clips} == {entry["subject"].lower()}
        if entry.get("fps") and dataset != "utkinect":  # whose rows are not evenly spaced
            assert {clip.fps for clip in clips} == {entry["fps"]}


@pytest.mark.parametrize("dataset", ["msraction3d", "florence3d", "kard", "uiprmd", "keraal"])
def test_actions_are_those_of_the_manifest(dataset):
    names = EXERCISES | {f"m{number:02d}": name for number, name in enumerate(UI_ACTIONS, 1)}
    for entry in some(dataset):
        if entry["label"]:
            assert [clip.action for clip in clips_of(entry["file"])] == [names.get(entry["label"], entry["label"])]
    numbers = {entry["label"] for entry in entries(dataset) if entry["label"]}
    assert len(numbers) == {"msraction3d": 20, "florence3d": 9, "kard": 18, "uiprmd": 6, "keraal": 1}[dataset]


def test_the_one_recording_of_nobody_is_refused():
    path = DATA / "msraction3d" / "Real3D" / EMPTY
    if not path.exists():
        pytest.skip(f"no {path}")
    with pytest.raises(FormatError, match="found no joint of anybody that was seen"):
        read(path)


def test_the_whole_set_of_florence_is_its_clips():
    many = {clip.clip_id: clip for clip in clips_of("florence3d/Florence_dataset_WorldCoordinates.txt")}
    files = [entry for entry in entries("florence3d") if entry["format"] == "florence.perclip.txt"]
    assert len(many) == len(files) == 173
    assert sum(clip.num_frames for clip in many.values()) == sum(entry["n_frames"] for entry in files)
    for entry in files[::10]:
        (one,) = clips_of(entry["file"])
        other = many[Path(entry["file"]).stem]
        assert (one.action, one.source) == (other.action, other.source)
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-5)


def test_the_segments_of_utkinect_are_those_of_the_manifest():
    total = 0
    for entry in entries("utkinect"):
        clips = clips_of(entry["file"])
        stem = Path(entry["file"]).stem.removeprefix("joints_")
        index = np.loadtxt(DATA / entry["file"], usecols=0)
        assert len(index) == entry["n_frames"]
        segments = [segment for segment in entry["segments"] if isinstance(segment[1], int)]
        assert [clip.clip_id for clip in clips] == [f"{stem}_{name}" for name, *_ in segments]
        assert [clip.action for clip in clips] == [UT_ACTIONS[name] for name, *_ in segments]
        for clip, (_, first, last) in zip(clips, segments, strict=True):
            assert clip.num_frames == len(np.unique(index[(index >= first) & (index <= last)]))
            assert 5 <= clip.fps <= 30
        total += len(clips)
    assert total == 159  # 16 recordings of 10 actions; one range is NaN


def test_people_of_utkinect_walk_at_the_speed_of_people():
    speeds = []
    for entry in entries("utkinect"):
        walk = clips_of(entry["file"])[0]
        way = np.linalg.norm(np.diff(walk.positions[0, :, 0][:, [0, 2]], axis=0), axis=1).sum()
        speeds.append(way / walk.duration_s)
    assert 0.6 < np.median(speeds) < 1.4


def test_the_segments_of_pku_mmd_are_those_of_the_manifest():
    for entry in entries("pkummd_derived"):
        clips = clips_of(entry["file"])
        segments = entry["segments"]
        assert [clip.action for clip in clips] == [PKU_ACTIONS[action - 1] for action, *_ in segments]
        assert [clip.num_frames for clip in clips] == [last - first + 1 for _, first, last, _ in segments]


@pytest.mark.parametrize("dataset", DATASETS)
def test_people_are_upright_of_human_size_and_not_mirrored(dataset):
    ahead = []
    for entry in some(dataset):
        if "Vicon" in entry["file"]:
            continue  # targets, not joints; they have their own test
        for clip in clips_of(entry["file"])[:10]:
            head, pelvis, ankle = (point(clip, "head"), point(clip, "pelvis"), point(clip, "ankle", "left"))
            heights = [float(np.median(path[0, :, 1])) for path in (head, pelvis, ankle) if path is not None]
            assert len(heights) == 3
            assert heights[0] > heights[1] > heights[2]
            assert 0.9 < body_size_m(clip) < 1.8
            body = canonicalise(clip)
            start = max(1, body.num_frames // 5)
            left, right = point(body, "shoulder", "left"), point(body, "shoulder", "right")
            assert left is not None
            assert right is not None
            assert (left - right)[0, :start, 0].mean() > 0
            ahead += [front_of(body, side, start) for side in ("left", "right")]
    assert np.median(ahead) > 0.02


def front_of(body: Clip, side: str, start: int) -> float:
    """How far the toes are ahead of the ankle, or the knee of the line from hip to foot: a swapped body shows neither."""
    hip, knee, ankle, toes = (body.topology.find(part, side) for part in ("hip", "knee", "ankle", "foot"))
    assert hip is not None
    assert knee is not None
    assert ankle is not None
    depth = body.positions[0, :, :, 2]
    if toes is not None and toes != ankle:
        return float((depth[:start, toes] - depth[:start, ankle]).mean())
    return float((2 * depth[:, knee] - depth[:, hip] - depth[:, ankle]).max())


@pytest.mark.parametrize(
    ("dataset", "actions", "part"),
    [
        ("msraction3d", ("high arm wave", "horizontal arm wave", "forward punch", "draw x"), "hand"),
        ("kard", ("Horizontal arm wave", "High arm wave", "Draw X", "Draw Tick"), "hand"),
        ("kard", ("Forward Kick", "Side Kick"), "foot"),
    ],
)
def test_what_is_done_with_the_right_is_done_with_the_right(dataset, actions, part):
    """Of a hundred people who wave or kick, nearly all take the right."""
    rights = []
    for entry in entries(dataset):
        if entry["label"] in actions:
            (clip,) = clips_of(entry["file"])
            trunk = point(clip, "pelvis")
            left, right = point(clip, part, "left"), point(clip, part, "right")
            assert trunk is not None
            assert left is not None
            assert right is not None
            rights.append((right - trunk).std(1).sum() > (left - trunk).std(1).sum())
    assert len(rights) > 20
    assert np.mean(rights) > 0.9
