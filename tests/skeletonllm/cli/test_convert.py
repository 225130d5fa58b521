"""`skeletonllm convert`: any recording in, any format out, losses on the screen, no file that is half written."""

import numpy as np
import pytest

from skeletonllm.cli import main
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.formats import Declared, bvh, ntu, nwucla, plain_csv, read
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("in") / "S001C001P001R001A001.skeleton"
    ntu.write(sensors.convert(perform("kick", 0, 0, 0, fps=30.0), TOPOLOGIES["kinect_v2_25"]), path)
    return path


@pytest.mark.parametrize("suffix", ["bvh", "csv", "npz", "parquet", "skeleton"])
def test_a_recording_is_the_same_in_every_format_that_holds_it(recording, tmp_path, suffix, capsys):
    output = tmp_path / f"out.{suffix}"
    assert main(["convert", str(recording), "-o", str(output)]) == 0
    assert f"out.{suffix}: S001C001P001R001A001, kinect_v2_25, 1 person(s)" in capsys.readouterr().out
    (before,), (after,) = read(recording), read(output, declared=Declared(unit="cm") if suffix == "bvh" else Declared())
    order = [after.topology.joint_names.index(name) for name in before.topology.joint_names]
    away_mm = 1000 * np.abs(after.positions[:, :, order] - before.positions).max()
    print(f"{suffix}: {away_mm:.4f} mm")
    assert away_mm < 0.5
    assert after.fps == pytest.approx(before.fps, abs=1e-3)


def test_an_array_is_read_back_with_the_options_that_are_printed(recording, tmp_path, capsys):
    output = tmp_path / "out.npy"
    assert main(["convert", str(recording), "-o", str(output)]) == 0
    assert "--topology kinect_v2_25 --fps 30 --unit m" in capsys.readouterr().out
    again = ["convert", str(output), "-o", str(tmp_path / "b.csv"), "--topology", "kinect_v2_25", "--fps", "30"]
    assert main([*again, "--unit", "m"]) == 0
    (before,), (after,) = read(recording), read(tmp_path / "b.csv")
    assert np.array_equal(before.positions, after.positions)


def test_formats_of_data_sets_get_their_topology_and_the_losses_are_printed(recording, tmp_path, capsys):
    assert main(["convert", str(recording), "-o", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    assert "kinect_v2_25 to kinect_v1_20: 20 of 20 joints kept" in said
    assert "thumb_left" in said
    assert "lost" in said
    (clip,) = read(tmp_path / "a.json")
    assert clip.topology is TOPOLOGIES["kinect_v1_20"]
    assert main(["convert", str(recording), "-o", str(tmp_path / "a.pkl")]) == 0
    said = capsys.readouterr().out
    assert "not seen" in said
    assert "depth (z)" in said
    (flat,) = read(tmp_path / "a.pkl")
    assert flat.topology is TOPOLOGIES["coco_17"]


def test_the_topology_of_the_output_may_be_one_s_own(recording, tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text('name = "mine"\njoints = ["hips", "head", "left_hand"]\nparents = ["", "hips", "hips"]\n')
    assert main(["convert", str(recording), "-o", str(tmp_path / "a.npz"), "--to", str(own)]) == 0
    (clip,) = read(tmp_path / "a.npz")
    assert clip.topology.joint_names == ("hips", "head", "left_hand")


def test_people_and_confidence_that_bvh_cannot_hold_are_told(tmp_path, capsys):
    clip = make_clip("a", "kinect_v1_20", num_persons=2)
    clip.confidence[:, 2:4, 5] = 0
    clip.positions[:, 2:4, 5] = 0
    plain_csv.write(clip, tmp_path / "a.csv")
    assert main(["convert", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.bvh")]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 persons; only the first is written" in said
    assert "1% of the joints were not seen" in said
    assert "the action (wave)" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-o", "a.doc"], "cannot write '.doc'; use .bvh"),
        (["-o", "there.csv"], "there.csv: is there already; give another name, or --overwrite"),
        (["-o", "a.csv", "--index", "3"], "--index is 3, but"),
        (["-o", "a.csv", "--to", "smpl"], "topology 'smpl' is unknown"),
        (["-o", "a.skeleton", "--to", "smpl_22"], "files of this format have topology kinect_v2_25, not smpl_22"),
        (["-o", "a.csv", "--unit", "mm"], "ntu files say their unit themselves; leave --unit out"),
        (["-o", "a.csv", "--up", "z"], "up axis 'z' is unknown"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_written(recording, tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.csv").write_text("mine")
    assert main(["convert", str(recording), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there.csv"]
    assert (tmp_path / "there.csv").read_text() == "mine"


def test_overwrite_replaces_and_a_failure_leaves_what_was_there(recording, tmp_path, monkeypatch):
    output = tmp_path / "a.json"
    output.write_text("old")

    def fails(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(nwucla, "write", fails)
    assert main(["convert", str(recording), "-o", str(output), "--overwrite"]) == 2
    assert output.read_text() == "old"
    monkeypatch.undo()
    assert main(["convert", str(recording), "-o", str(output), "--overwrite"]) == 0
    assert output.read_text() != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_your_own_data_in_five_minutes(tmp_path, capsys):
    """As the README says it: numbers in a CSV file, ten lines of TOML, a picture of it as a BVH file."""
    clip = sensors.convert(perform("wave", 0, 0, 0, fps=30.0), TOPOLOGIES["smpl_22"])
    np.savetxt(tmp_path / "walk.csv", clip.positions[0].reshape(clip.num_frames, -1) * 100, delimiter=",")
    assert main(["convert", str(tmp_path / "walk.csv"), "-o", str(tmp_path / "walk.bvh")]) == 2
    assert "--fps" in capsys.readouterr().err
    (tmp_path / "recordings.toml").write_text('topology = "smpl_22"\nfps = 30\n')
    assert main(["convert", str(tmp_path / "walk.csv"), "-o", str(tmp_path / "walk.bvh")]) == 0
    (back,) = read(tmp_path / "walk.bvh")
    assert bvh.FORMAT.name == back.source.format
