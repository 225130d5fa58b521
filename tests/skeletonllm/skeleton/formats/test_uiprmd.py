"""UI-PRMD files: forward kinematics from offsets and angles."""

from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, files_of, find_recordings, read, uiprmd
from skeletonllm.skeleton.rotations import about, matrices
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.skeletonllm.skeleton.formats.texts import DATA, edited, write_rows

TOPOLOGY = TOPOLOGIES["uiprmd_22"]


def recording(folder: Path, angles: np.ndarray | None = None, name: str = "m01_s05_e02_positions.txt") -> Path:
    offsets = np.zeros((3, 22, 3))
    offsets[:, 0] = (1, 90, -200)
    offsets[:, 1:, 1] = 10
    write_rows(folder / name.replace("positions", "angles"), np.zeros((3, 66)) if angles is None else angles, ",")
    return write_rows(folder / name, offsets.reshape(3, -1), ",")


def test_offsets_add_up_along_the_parents(tmp_path):
    path = recording(tmp_path)
    assert detect(path).name == "uiprmd"
    (clip,) = read(path)
    np.testing.assert_allclose(clip.positions[0, 0, 0], (0.01, 0.9, -2), atol=1e-6)
    np.testing.assert_allclose(clip.positions[0, 0, TOPOLOGY.joint_names.index("head_tip")], (0.01, 1.4, -2), atol=1e-6)
    assert (clip.action, clip.fps) == ("deep squat", 30)
    assert (clip.source.subject, clip.source.repetition) == ("S05", "2")


def test_a_joint_turns_what_hangs_on_it_in_the_order_z_x_y(tmp_path):
    angles = np.zeros((3, 22, 3))
    angles[:, 0] = (30, 40, 50)
    angles[:, 1] = (0, 0, 90)
    (clip,) = read(recording(tmp_path, angles.reshape(3, -1)))
    x, y, z = (about(axis, np.radians([degrees]))[0] for axis, degrees in zip("xyz", (30.0, 40.0, 50.0), strict=True))
    turn = z @ x @ y
    spine, chest = clip.positions[0, 0, 1], clip.positions[0, 0, 2]
    np.testing.assert_allclose(spine - clip.positions[0, 0, 0], turn @ (0, 0.1, 0), atol=1e-6)
    np.testing.assert_allclose(chest - spine, turn @ (-0.1, 0, 0), atol=1e-6)
    assert clip.rotations is not None
    np.testing.assert_allclose(matrices(clip.rotations[0, 0, 0]), turn, atol=1e-6)


def test_angles_may_lie_in_their_own_folder(tmp_path):
    path = recording(tmp_path / "Positions", name="m02_s01_e10_positions_inc.txt")
    angles = tmp_path / "Angles" / "m02_s01_e10_angles_inc.txt"
    angles.parent.mkdir()
    (path.parent / angles.name).rename(angles)
    (clip,) = read(path)
    assert (clip.action, clip.source.repetition) == ("hurdle step", "10 incorrect")
    assert files_of(path) == [angles, path]
    assert find_recordings(tmp_path) == [path]


def test_without_angles_it_is_not_read(tmp_path):
    path = recording(tmp_path)
    (tmp_path / "m01_s05_e02_angles.txt").unlink()
    with pytest.raises(FormatError, match=r"found no angles beside it, expected \.\.\._angles\.txt; put the angles"):
        read(path)
    other = path.rename(tmp_path / "m01.txt")
    with pytest.raises(FormatError, match="found no angles beside it"):
        read(other, "uiprmd")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "angles.txt: found 2 rows, expected 3, as in m01_s05_e02_positions.txt"),
        ("1,2", "line 2: found 2 values, expected 66 numbers"),
        (",".join(["inf"] + ["0"] * 65), "row 2: found an angle that is not finite"),
    ],
)
def test_damaged_angles_are_named(tmp_path, line, says):
    path = recording(tmp_path)
    edited(tmp_path / "m01_s05_e02_angles.txt", 2, line)
    with pytest.raises(FormatError) as error:
        read(path)
    assert says in str(error.value)


def test_angles_are_no_recording(tmp_path):
    head = recording(tmp_path).read_bytes()
    assert not uiprmd.sniff(Path("m01_s01_e01_angles.txt"), head)
    assert not uiprmd.sniff(Path("m01_s01_e01_positions.txt"), b"1 " * 66)


@pytest.mark.skipif(not (DATA / "uiprmd").is_dir(), reason=f"no real recordings in {DATA}")
def test_the_feet_of_real_people_stand_and_hips_go_down_in_a_squat():
    (squat,) = read(DATA / "uiprmd" / "m01_s01_e01_positions.txt")
    names = squat.topology.joint_names
    for side in ("left", "right"):
        foot = squat.positions[0, :, names.index(f"{side}_foot")]
        assert foot.std(0).sum() < 0.08  # with another order of the angles 0.25 m and more
    assert np.ptp(squat.positions[0, :, 0, 1]) > 0.4
