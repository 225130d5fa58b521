"""NTU files: what is written is read back; damage is named by line; bodies become persons."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, ntu, read
from tests.makers import make_clip


def kinect_clip(num_persons: int = 1, num_frames: int = 6, seed: int = 0, **changes):
    clip = make_clip("a", "kinect_v2_25", num_persons, num_frames, seed=seed)
    upright = clip.positions * np.array((0.3, 1, 1), np.float32)  # wider than high would be no person
    return replace(clip, **{"positions": upright, **changes})


def written(folder: Path, name: str = "S001C002P003R002A007.skeleton", **changes) -> Path:
    path = folder / name
    ntu.write(kinect_clip(**changes), path)
    return path


@settings(max_examples=15)
@given(persons=st.integers(1, 2), frames=st.integers(12, 24), seed=st.integers(0, 1000))
def test_what_is_written_is_read_back(tmp_path_factory, persons, frames, seed):
    rng = np.random.default_rng(seed)
    confidence = rng.choice(np.array((0.0, 0.5, 1.0), np.float32), size=(persons, frames, 25), p=(0.1, 0.2, 0.7))
    confidence[:, :, 0] = 1  # nobody is lost here; that has its own test
    clip = kinect_clip(persons, frames, seed, confidence=confidence)
    path = tmp_path_factory.mktemp("ntu") / "one.skeleton"
    ntu.write(clip, path)
    (back,) = read(path)
    # The order of persons is by motion, not the file's.
    order = [int(np.abs(clip.positions[:, 0, 0] - back.positions[p, 0, 0]).sum(-1).argmin()) for p in range(persons)]
    seen = clip.confidence[order] > 0
    np.testing.assert_allclose(back.positions[seen], clip.positions[order][seen], atol=1e-5)
    np.testing.assert_array_equal(back.confidence, clip.confidence[order])
    assert not back.positions[~seen].any()


def test_the_file_name_says_who_and_where(tmp_path):
    (clip,) = read(written(tmp_path))
    source = clip.source
    assert (source.subject, source.camera, source.setup, source.repetition) == ("P003", "2", "1", "2")
    assert ntu.action_number(clip.clip_id) == 7


def test_a_body_that_is_lost_and_found_again_is_one_person(tmp_path):
    confidence = np.ones((1, 12, 25), np.float32)
    confidence[0, 4:7] = 0
    (clip,) = read(written(tmp_path, num_frames=12, confidence=confidence))
    assert clip.num_persons == 1
    assert clip.num_frames == 12
    assert not clip.confidence[0, 4:7].any()
    assert clip.confidence[0, :4].all()
    assert clip.confidence[0, 7:].all()


def test_the_two_bodies_that_move_most_are_kept_in_that_order(tmp_path):
    clip = kinect_clip(num_persons=3, num_frames=20)
    middle = clip.positions.mean(1, keepdims=True)
    strength = np.array((0.2, 0.0, 3.0), np.float32)[:, None, None, None]
    clip = kinect_clip(3, 20, positions=middle + strength * (clip.positions - middle))
    ntu.write(clip, tmp_path / "three.skeleton")
    (back,) = read(tmp_path / "three.skeleton")
    np.testing.assert_allclose(back.positions, clip.positions[[2, 0]], atol=1e-5)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda lines: lines[:-10], "the end of the file, expected 25 lines of joints"),
        (lambda lines: lines[:-28], "line 142: found the end of the file"),
        (lambda lines: [*lines[:3], "24", *lines[4:]], "line 4: found 24 joints, expected 25"),
        (lambda lines: [*lines[:10], "1 2 3", *lines[11:]], "line 11: found 3 values, expected 12"),
        (lambda lines: [*lines[:10], " ".join(["x"] * 12), *lines[11:]], "line 11: found 'x', expected a number"),
        (lambda lines: ["many", *lines[1:]], "line 1: found 'many'"),
        (lambda lines: [*lines, "1"], "found 1 lines more"),
        (lambda lines: ["0"], "found 0, expected at least one frame"),
        (lambda lines: ["2", "0", "0"], "without any body"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path, damage, says):
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join(damage(lines)) + "\n")
    with pytest.raises(FormatError) as error:
        ntu.read(path, Declared())
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_a_clip_of_another_topology_is_not_written(tmp_path):
    with pytest.raises(FormatError, match="kinect_v1_20"):
        ntu.write(make_clip(), tmp_path / "x.skeleton")


def test_a_long_id_is_not_taken_for_its_neighbour(tmp_path):
    # These two are one number for a float of 64 bits.
    one, two = "72057594037931101", "72057594037931102"
    assert float(one) == float(two)
    path = written(tmp_path, num_persons=2, num_frames=14)
    ids = sorted({line.split()[0] for line in path.read_text().splitlines() if len(line.split()) == 10})
    path.write_text(path.read_text().replace(ids[0], one).replace(ids[1], two))
    (clip,) = read(path)
    assert clip.num_persons == 2


def test_furniture_is_no_second_person(tmp_path):
    clip = kinect_clip(num_persons=2, num_frames=20)
    wide = clip.positions.copy()
    wide[1] *= np.array((8, 0.5, 1), np.float32)
    wide[1] = wide[1, :1]
    ntu.write(replace(clip, positions=wide), tmp_path / "sofa.skeleton")
    (back,) = read(tmp_path / "sofa.skeleton")
    np.testing.assert_allclose(back.positions[0], clip.positions[0], atol=1e-5)
    assert back.num_persons == 1


def test_kinects_orientations_are_kept_at_the_joint_where_their_bone_begins(tmp_path):
    path = written(tmp_path)
    lines = path.read_text().splitlines()
    first = 4  # of the 25 lines of joints of the first frame
    wrist = first + 6
    words = lines[wrist].split()
    lines[wrist] = " ".join([*words[:7], "0.5", "-0.5", "0.5", "0.5", words[11]])
    path.write_text("\n".join(lines) + "\n")
    (clip,) = read(path)
    elbow = clip.topology.joint_names.index("elbow_left")
    np.testing.assert_array_equal(clip.rotations[0, 0, elbow], (0.5, -0.5, 0.5, 0.5))
    assert not clip.rotations[0, 1].any()  # 0 where the file has none
