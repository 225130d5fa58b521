"""Keraal files: the Kinect's and the Vicon's."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, detect, keraal, read
from skeletonllm.skeleton.rotations import about, matrices, quaternions
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.skeletonllm.skeleton.formats.texts import DATA, edited, standing, write_rows

TURN = about("z", np.array([0.3]))[0]
SIXTY = Declared(fps=60.0)


def xyzw(turn: np.ndarray) -> np.ndarray:
    return quaternions(turn)[[1, 2, 3, 0]]


def kinect(folder: Path, name: str = "G3-Kinect-CTK-P1T2-Unknown-C-0.txt") -> Path:
    turns = np.zeros((3, 25, 4))
    turns[:, 5] = xyzw(TURN)  # of the bone that ends in the left elbow
    return write_rows(folder / name, np.concatenate((standing("kinect_v2_25"), turns), -1).reshape(3, -1))


def vicon(folder: Path) -> Path:
    y_up = standing("keraal_vicon_17")
    z_up = np.stack((y_up[..., 0], -y_up[..., 2], y_up[..., 1]), -1) * 1000
    rows = np.concatenate((z_up, np.tile(xyzw(TURN), (3, 17, 1))), -1)
    return write_rows(folder / "G3-Vicon-CTK-P1T1-Unknown-C-0.txt", rows.reshape(3, -1))


def test_kinect_keeps_its_frame_and_a_bone_turns_the_joint_where_it_begins(tmp_path):
    path = kinect(tmp_path)
    assert detect(path).name == "keraal"
    (clip,) = read(path)
    np.testing.assert_allclose(clip.positions[0], standing("kinect_v2_25"), atol=1e-5)
    assert clip.rotations is not None
    shoulder = clip.topology.joint_names.index("shoulder_left")
    np.testing.assert_allclose(matrices(clip.rotations[0, 0, shoulder]), TURN, atol=1e-6)
    assert np.count_nonzero(np.linalg.norm(clip.rotations[0, 0], axis=-1)) == 1
    assert (clip.fps, clip.source.fps_from) == (30, "format")


def test_vicon_is_turned_upright_with_its_rotations(tmp_path):
    path = vicon(tmp_path)
    assert detect(path).name == "keraal"
    (clip,) = read(path, declared=SIXTY)
    np.testing.assert_allclose(clip.positions[0], standing("keraal_vicon_17"), atol=1e-5)
    assert clip.rotations is not None
    # A turn about the room's z is one about y.
    upright = np.array(((1.0, 0, 0), (0, 0, 1), (0, -1, 0)))
    np.testing.assert_allclose(matrices(clip.rotations[0, 0, 0]), upright @ TURN, atol=1e-6)
    assert (clip.fps, clip.source.fps_from, clip.source.space) == (60, "declared", "mm, +z up")


def test_the_rate_of_vicon_must_be_declared(tmp_path):
    with pytest.raises(FormatError, match="found no frame rate, expected one that is declared; say it with --fps"):
        read(vicon(tmp_path))


@pytest.mark.parametrize(
    ("name", "subject", "repetition", "setup", "action"),
    [
        ("G3-Kinect-CTK-P1T2-Unknown-C-0.txt", "P1", "T2", "3", "hiding face"),
        ("G1A-Kinect-RTK-P12-7.txt", "G1AP12", "7", "1A", "torso rotation"),
        ("G2B_kinect_ELK_S3_11.txt", "G2BS3", "11", "2B", "flank stretch"),
        ("mine.txt", "", "", "", None),
    ],
)
def test_the_name_says_exercise_person_and_recording(tmp_path, name, subject, repetition, setup, action):
    (clip,) = read(kinect(tmp_path, name))
    assert (clip.source.subject, clip.source.repetition, clip.source.setup) == (subject, repetition, setup)
    assert clip.source.camera.lower() == ("kinect" if action else "")
    assert clip.action == action


def test_damage_is_named_by_its_line(tmp_path):
    with pytest.raises(FormatError, match="line 3: found 2 values, expected 175 numbers"):
        read(edited(kinect(tmp_path), 3, "1 2"))
    with pytest.raises(FormatError, match="line 3: found 2 values, expected 119 numbers"):
        read(edited(vicon(tmp_path), 3, "1 2"), declared=SIXTY)


def test_numbers_without_quaternions_are_not_of_this_format():
    assert not keraal.sniff(Path("a.txt"), b"0.7 " * 175 + b"\n")
    assert not keraal.sniff(Path("a.txt"), b"nan " * 119 + b"\n")
    assert not keraal.sniff(Path("a.txt"), b"0 " * 118 + b"\n")


@pytest.mark.skipif(not (DATA / "keraal").is_dir(), reason=f"no real recordings in {DATA}")
def test_the_targets_of_a_real_person_are_upright_and_not_mirrored():
    (clip,) = read(DATA / "keraal" / "G3-Vicon-CTK-P1T1-Unknown-C-0.txt", declared=SIXTY)
    assert clip.topology is TOPOLOGIES["keraal_vicon_17"]
    names = clip.topology.joint_names
    place = {name: np.median(clip.positions[0, :, joint], axis=0) for joint, name in enumerate(names)}
    assert place["head"][1] > place["chest"][1] > place["hips"][1] > place["left_tibia"][1] > place["left_foot"][1] > 0
    # They sit: knees and feet are ahead, and their left is at the left of that.
    ahead = place["left_foot"] + place["right_foot"] - 2 * place["hips"]
    left = np.cross((0, 1, 0), ahead)
    for part in ("shoulder", "hand", "thigh", "foot"):
        assert left @ (place[f"left_{part}"] - place[f"right_{part}"]) > 0
