"""Keraal's JSON files of three pose estimators."""

import json
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, read
from skeletonllm.skeleton.kinematics import body_size_m, canonicalise, point
from skeletonllm.skeleton.topologies import TOPOLOGIES

DATA = Path(__file__).parents[5] / "shared" / "data"


def frame(names, dims: int = 2) -> dict:
    places = np.column_stack(
        (np.linspace(0.3, 0.6, len(names)), np.linspace(0.2, 0.9, len(names)), np.full(len(names), 0.1))
    )
    return dict(zip(names, places[:, :dims].tolist(), strict=True))


def openpose_name(joint: str) -> str:
    side, _, part = joint.partition("_")
    return side[0] + part.title() if part else joint.title()


KINDS = {
    "coco_17": (list(map(str, range(17))), 2),
    "openpose_18": (list(map(openpose_name, TOPOLOGIES["openpose_18"].joint_names)), 2),
    "mediapipe_33": (list(map(str.capitalize, TOPOLOGIES["mediapipe_33"].joint_names)), 3),
}


def saved(folder, positions, name: str = "G3-OP-CTK-P2T1-Unknown-C-0"):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"positions": positions}, indent=3))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_each_estimator_has_its_topology_and_missing_joints_are_not_seen(tmp_path, kind):
    names, dims = KINDS[kind]
    short = frame(names, dims)
    del short[names[5]]
    path = saved(tmp_path, {"1.0": frame(names, dims), "2.0": short, "4.0": frame(names, dims)})
    assert detect(path).name == "keraal_json"
    (clip,) = read(path)
    assert (clip.topology.name, clip.action, clip.fps) == (kind, "hiding face", 30.0)
    assert (clip.source.subject, clip.source.camera, clip.source.repetition) == ("P2", "OP", "1")
    assert (clip.confidence[0] > 0).sum(1).tolist() == [len(names), len(names) - 1, 0, len(names)]
    assert clip.confidence[0, 1, 5] == 0
    assert clip.positions[0, 0, 0, 1] > clip.positions[0, 0, -1, 1]


@pytest.mark.parametrize(
    ("positions", "says"),
    [
        (3, r"key 'positions': found 3"),
        ({}, r"no frames"),
        ({"1": {}}, r"no joint of anybody"),
        ({"a": {}}, r"frame 'a'"),
        ({"1": 3}, r"frame '1': found 3"),
        ({"1": {}, "1.0": {}}, r"the same frame twice"),
        ({"1": {"Tail": [1, 2]}}, r"the joints \['tail'\]"),
        ({"1": {"Nose": [1, 2, 3, 4]}}, r"joint nose: found 4 numbers"),
        ({"1": {"Nose": "a"}}, r"joint 'Nose': found 'a'"),
        ({"1": {"Nose": [0.5, 0.5]}, "900000000": {}}, r"only 2 of them"),
    ],
)
def test_damage_is_one_clear_error(tmp_path, positions, says):
    with pytest.raises(FormatError, match=says):
        read(saved(tmp_path, positions), "keraal_json")


@pytest.mark.skipif(not (DATA / "keraal").is_dir(), reason=f"no recordings at {DATA}")
def test_the_real_files_are_what_the_manifest_says():
    entries = [
        e
        for e in json.loads((DATA / "MANIFEST.json").read_text())
        if e["dataset"] == "keraal" and e["file"].endswith(".json")
    ]
    assert len(entries) == 3
    hands = []
    for entry in entries:
        (clip,) = read(DATA / entry["file"])
        assert (clip.action, clip.topology.num_joints) == ("hiding face", entry["joints"])  # whose code is CTK
        assert clip.source.subject == entry["subject"]
        assert clip.num_frames in (196, 197)
        assert body_size_m(clip) == pytest.approx(1.4, rel=0.01)
        canonical = canonicalise(clip)
        left, right, wrist = (
            point(canonical, *p) for p in (("shoulder", "left"), ("shoulder", "right"), ("wrist", "left"))
        )
        assert left is not None
        assert right is not None
        assert wrist is not None
        assert np.median(left[0, :, 0] - right[0, :, 0]) > 0
        hands.append(wrist[0, :196, 1])
    # All three saw the same movement.
    assert np.corrcoef(np.stack([hand[:196] for hand in hands])).min() > 0.9
