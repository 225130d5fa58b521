"""Sample data: five formats of the same performances agree; files are complete, equal and resumable."""

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.formats import bvh, find_recordings, humanml3d, ntu, nwucla, pyskl, read
from skeletonllm.skeleton.kinematics import canonicalise, point
from skeletonllm.skeleton.labels import load_labels
from skeletonllm.skeleton.simulate import ACTIONS, FORMATS_WRITTEN, TWO_PERSONS, perform, write_sample_data
from skeletonllm.skeleton.topologies import TOPOLOGIES

POINTS = [(part, side) for part in ("wrist", "elbow", "shoulder", "hip", "knee", "ankle") for side in ("left", "right")]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    assert write_sample_data(folder, num_performers=2, seed=5) > 100
    return folder


def in_five_formats(folder: Path, action: str, performer: int, view: sensors.View):
    clip = perform(action, performer, 0, 0, fps=30.0)
    ntu.write(sensors.before_camera(sensors.convert(clip, TOPOLOGIES["kinect_v2_25"]), view), folder / "a.skeleton")
    nwucla.write(sensors.before_camera(sensors.convert(clip, TOPOLOGIES["kinect_v1_20"]), view), folder / "a.json")
    humanml3d.write(sensors.convert(clip, TOPOLOGIES["smpl_22"]), folder / "a.npy")
    bvh.write(sensors.as_mocap(clip), folder / "a.bvh")
    flat = replace(sensors.photograph(clip, view))
    pyskl.write([replace(flat, positions=flat.positions * np.array((1, 1, 0), np.float32))], folder / "a.pkl", [0])
    back = {path.suffix: canonicalise(read(path)[0]) for path in find_recordings(folder)}
    return canonicalise(clip), back


@pytest.mark.parametrize("action", [action for action in ACTIONS if action not in TWO_PERSONS])
@pytest.mark.parametrize("performer", [0, 2])
def test_five_formats_give_one_movement_in_canonical_space(tmp_path, action, performer):
    # Seen from the side and from above: left and right, up and front must survive every format's axes.
    clip, back = in_five_formats(tmp_path, action, performer, sensors.View(yaw=0.6, height_m=1.5, shift_m=0.3))
    assert len(back) == 5
    for suffix, other in back.items():
        if suffix == ".pkl":
            continue
        for part, side in POINTS:
            here, there = point(clip, part, side), point(other, part, side)
            assert here is not None
            assert there is not None
            # Sizes are measured at each format's own neck, hence a few per cent: 5 cm at arm's length.
            apart_mm = 1000 * np.linalg.norm(here[0] - there[0], axis=-1).mean()
            assert apart_mm < 50, f"{suffix} {part} {side}: {apart_mm:.0f} mm"


@pytest.mark.parametrize("performer", [0, 2])
def test_a_frontal_picture_agrees_in_the_plane(tmp_path, performer):
    # From far away, so that perspective does not matter.
    clip, back = in_five_formats(tmp_path, "wave", performer, sensors.View(distance_m=30.0))
    for part, side in POINTS:
        here, there = point(clip, part, side), point(back[".pkl"], part, side)
        assert here is not None
        assert there is not None
        apart_mm = 1000 * np.linalg.norm((here - there)[0, :, :2], axis=-1).mean()
        assert apart_mm < 70, f"{part} {side}: {apart_mm:.0f} mm"


def test_every_recording_is_read_with_all_its_labels(sample):
    labels = load_labels(sample)
    ids, count = [], Counter()
    for path in find_recordings(sample):
        for found in read(path):
            clip = labels.apply(found, path)
            count[clip.source.format] += 1
            ids.append(f"{path.relative_to(sample).parent.as_posix()}/{clip.clip_id}")
            assert clip.action in ACTIONS
            assert clip.source.subject in ("P001", "P002")
            assert clip.captions
            assert clip.source.dataset == clip.source.format
    assert set(count) == set(FORMATS_WRITTEN)
    assert len(set(ids)) == len(ids)
    assert labels.unused(ids) == []
    assert labels.unused(ids[1:]) != []


def test_numbers_in_the_files_agree_with_the_table(sample):
    tables = [path for path in sample.glob("*/labels.csv") if (path.parent / "actions.txt").exists()]
    assert len(tables) == 3
    with_table = load_labels(sample)
    without = replace(with_table, tables={})
    for path in find_recordings(sample):
        if path.suffix != ".bvh" and path.suffix != ".npy":
            for clip in read(path):
                assert without.apply(clip, path).action == with_table.apply(clip, path).action


def test_sensors_miss_joints_and_two_persons_are_two_where_the_format_can(sample):
    labels = load_labels(sample)
    clips = [labels.apply(clip, path) for path in find_recordings(sample) for clip in read(path)]
    for format in ("ntu", "pyskl"):
        ours = [clip for clip in clips if clip.source.format == format]
        assert any((clip.confidence == 0).any() for clip in ours)
        assert any(((clip.confidence > 0) & (clip.confidence < 0.75)).any() for clip in ours)
        assert {clip.num_persons for clip in ours if clip.action in TWO_PERSONS} == {2}
    assert {clip.source.camera for clip in clips if clip.source.format == "ntu"} == {"1", "2", "3"}


def test_equal_arguments_give_equal_bytes(sample, tmp_path):
    calls = []
    write_sample_data(tmp_path, num_performers=2, seed=5, progress=lambda done, total: calls.append((done, total)))
    assert hashes(tmp_path) == hashes(sample)
    assert calls[-1][0] == calls[-1][1] > 0


def test_a_broken_run_goes_on_and_ends_the_same(sample, tmp_path):
    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done > total // 3:
            raise Killed

    with pytest.raises(Killed):
        write_sample_data(tmp_path, num_performers=2, seed=5, progress=kill)
    kept = next(path for path in find_recordings(tmp_path))
    before = kept.stat().st_mtime_ns
    (tmp_path / "ntu" / ".half.skeleton.part").write_text("left by a killed process")
    write_sample_data(tmp_path, num_performers=2, seed=5)
    assert kept.stat().st_mtime_ns == before, "what is there is not written again"
    (tmp_path / "ntu" / ".half.skeleton.part").unlink()
    assert hashes(tmp_path) == hashes(sample)


def test_other_settings_are_not_mixed_into_a_folder(sample):
    with pytest.raises(ConfigError, match="give another folder"):
        write_sample_data(sample, num_performers=2, seed=6)
    with pytest.raises(ConfigError, match="0 performers"):
        write_sample_data(sample, num_performers=0)
