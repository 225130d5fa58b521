"""Every folder of real recordings, where they are at hand: what is read equals what their manifest says."""

import json
import re
from collections import defaultdict
from pathlib import Path

import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, find_recordings, formats, read
from skeletonllm.skeleton.labels import load_labels

DATA = Path(__file__).parents[4] / "shared" / "data"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")]

# What is no recording of its own: labels, captions, statistics, angles that belong to positions.
SIDE_FILES = {
    *("text", "hml3d.text", "hml3d.stats.npy", "kinetics.label.json", "pkummd.label.txt", "utkinect.labels.txt"),
    "uiprmd.angles.txt",
}
TWINS = {"humanml3d/new_joint_vecs/000000.npy"}  # the same movement lies there as joints
REFUSED = {
    "msraction3d/Real3D/a13_s09_e02_skeleton3D.txt": "no joint of anybody",
    "ntu_derived/S099C001P902R001A001.skeleton": "12 frames without any body",
    "pyskl_k400_index/sample.pkl": "table of contents",
}
# The rate is in none of these files; the manifest knows it from elsewhere.
RATES = {"h36m17_derived": 25.0, "mp_pose33_derived": 30.0, "keraal": 30.0}
# Folders whose labels the manifest took from file names that no data set documents, or names in another way.
OTHER_LABELS = {
    *("aalto_bvh", "amass", "cad60", "games105_bvh", "humanml3d", "keraal", "msrc12", "pybvh_bvh", "pyskl_derived"),
    *("uiprmd", "xia_bvh", "jhmdb"),
}


def entries_by_folder() -> dict[str, list[dict]]:
    entries: dict[str, list[dict]] = defaultdict(list)
    if DATA.is_dir():
        for entry in json.loads((DATA / "MANIFEST.json").read_text()):
            if entry["format"] not in SIDE_FILES and entry["file"] not in TWINS:
                entries[entry["dataset"]].append(entry)
    return entries


ENTRIES = entries_by_folder()


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def subject(text: str) -> str:
    """`s02`, `S2` and `P002` are the same person's number."""
    return re.sub(r"^[a-zA-Z]+0*", "", text)


@pytest.mark.parametrize("folder", sorted(ENTRIES))
def test_a_folder_holds_what_its_manifest_says(folder):
    entries = {entry["file"]: entry for entry in ENTRIES[folder]}
    recordings = {path.relative_to(DATA).as_posix(): path for path in find_recordings(DATA / folder)}
    assert set(recordings) == set(entries)
    labels = load_labels(DATA / folder)
    declared = Declared(fps=RATES.get(folder))
    for name in recordings.keys() & REFUSED.keys():
        with pytest.raises(FormatError, match=REFUSED[name]):
            read(recordings.pop(name), declared=declared)
    read_of = {
        name: [labels.apply(clip, path) for clip in read(path, declared=declared)] for name, path in recordings.items()
    }
    for name, clips in read_of.items():
        compare(name, entries[name], clips)
    if folder not in OTHER_LABELS:
        compare_sets(entries, read_of)


def compare(name: str, entry: dict, clips: list[Clip]) -> None:
    """One recording with its line of the manifest."""
    for clip in clips:
        assert clip.source.format in formats()
        if entry.get("joints") and entry["format"] != "smplh52.joints.npy":  # of which the 22 of the body are kept
            assert clip.topology.num_joints == entry["joints"], name
        if entry.get("fps") and entry["dataset"] != "utkinect":  # whose frames are counted in another rate
            assert clip.fps == pytest.approx(entry["fps"], rel=0.001), name
    if entry.get("segments"):
        # One label of UTKinect has no range of frames.
        assert len(clips) == sum(None not in segment for segment in entry["segments"]), name
    elif entry.get("n_frames"):
        assert [clip.num_frames for clip in clips] == [entry["n_frames"]], name


def compare_sets(entries: dict[str, dict], read_of: dict[str, list[Clip]]) -> None:
    """Classes and subjects, one by one and as sets."""
    for name, clips in read_of.items():
        entry = entries[name]
        if len(clips) == 1 and entry.get("label"):
            assert plain(clips[0].action or "") == plain(entry["label"]), name
        if entry.get("subject"):
            assert {subject(clip.source.subject) for clip in clips} == {subject(entry["subject"])}, name


def test_the_shared_manifest_is_of_recordings_that_we_know():
    assert len(ENTRIES) >= 28
    assert sum(map(len, ENTRIES.values())) > 3200
