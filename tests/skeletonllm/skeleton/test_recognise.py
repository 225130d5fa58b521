"""The topology by names and by geometry; on real recordings, whose topology is known, never a wrong one."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.skeleton.formats import Declared, read
from skeletonllm.skeleton.recognise import by_geometry, by_names, match_names, names_say_nothing, sure_one
from skeletonllm.skeleton.topologies import TOPOLOGIES

DATA = Path(__file__).parents[4] / "shared" / "data"
REAL = {
    "ntu_skeleton": ("*.skeleton", 1, "kinect_v2_25"),
    "nwucla": ("**/*.json", 150, "kinect_v1_20"),
    "msraction3d/Real3D": ("*.txt", 50, "msraction3d_20"),
    "florence3d/perclip": ("*.txt", 20, "florence_15"),
    "kard/realworld": ("*.txt", 50, "kard_15"),
    "h36m17_derived": ("*.npy", 1, "h36m_17"),
    "humanml3d/new_joints": ("*.npy", 1, "smpl_22"),
    "humanml3d/joints": ("*.npy", 1, "smplh_52"),
    "mp_pose33_derived": ("*.npy", 20, "mediapipe_33"),
}


def positions_of(path: Path, topology: str) -> np.ndarray:
    """Joints of the first person, in the file's own order and unit: `[1, frames, joints, 3]`."""
    joints = TOPOLOGIES[topology].num_joints
    if path.suffix == ".npy":
        array = np.load(path)
        places = array.reshape(len(array), joints, -1)[..., :3]
    elif path.suffix == ".txt":
        table = np.loadtxt(path)
        places = table[: len(table) // joints * joints, :3].reshape(-1, joints, 3)
    else:
        places = read(path)[0].positions[0]
    return np.where((places == 0).all(-1, keepdims=True), np.nan, places)[None]


@pytest.mark.parametrize("folder", REAL)
def test_the_bones_of_real_people_tell_their_topology(folder):
    pattern, step, topology = REAL[folder]
    files = sorted((DATA / folder).glob(pattern))[::step]
    if not files:
        pytest.skip(f"no recordings in {DATA / folder}")
    for path in files:
        positions = positions_of(path, topology)
        for part in (positions, positions[:, :5], positions[..., :2]):
            chosen = sure_one(by_geometry(part))
            assert chosen is None or chosen.topology.name == topology, path
        chosen = sure_one(by_geometry(positions))
        assert chosen is not None, path
        (_, reason) = chosen.reasons
        assert reason.startswith("its bones are 1.")


def test_real_arrays_are_read_without_any_option_but_the_rate():
    path = DATA / "h36m17_derived" / "S1_walking_1.npy"
    if not path.exists():
        pytest.skip(f"no {path}")
    (clip,) = read(path, "numpy", Declared(fps=50.0))
    assert (clip.topology.name, clip.num_frames) == ("h36m_17", 1738)
    assert clip.source.space.startswith("mm (by the body's size), +y up")


def test_noise_is_nobody():
    for topology in TOPOLOGIES.values():
        noise = np.random.default_rng(0).normal(size=(1, 60, topology.num_joints, 3))
        assert sure_one(by_geometry(noise)) is None
        assert sure_one(by_geometry(np.full_like(noise, np.nan))) is None
        assert sure_one(by_geometry(np.ones_like(noise))) is None


@pytest.mark.parametrize(
    "names",
    [
        ("{side}_{part}", "left", "right"),
        ("{part}_{side}", "L", "R"),
        ("{side}{part}", "L", "R"),
        ("{part}.{side}", "l", "r"),
        ("rig:{side}-{part}", "Left", "Right"),
    ],
)
def test_names_are_the_same_in_every_spelling(names):
    pattern, left, right = names
    topology = TOPOLOGIES["coco_17"]
    spelled = [
        pattern.format(side=left if side == "left" else right, part=part) if part else name
        for name in topology.joint_names
        for side, _, part in [name.partition("_")]
    ]
    assert match_names(spelled[::-1], topology) == tuple(range(17))[::-1]
    assert [found.topology.name for found in by_names(spelled)] == ["coco_17"]


def test_aliases_count_only_where_the_word_itself_is_not_there():
    assert match_names(["hips", "neck", "head"], TOPOLOGIES["coco_17"]) is None
    names = [name.replace("wrist", "hand").replace("ankle", "foot") for name in TOPOLOGIES["coco_17"].joint_names]
    assert match_names(names, TOPOLOGIES["coco_17"]) == tuple(range(17))
    assert match_names(TOPOLOGIES["kinect_v1_20"].joint_names, TOPOLOGIES["utdmhad_20"]) is not None


def test_numbers_are_no_names():
    assert names_say_nothing(["joint_0", "joint 1", "KP2", "3"])
    assert not names_say_nothing(["joint_0", "hips"])
