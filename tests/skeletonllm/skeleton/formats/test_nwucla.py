"""NW-UCLA files: round trip and damage."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import nwucla, read
from tests.makers import make_clip


@settings(max_examples=15)
@given(frames=st.integers(1, 20), seed=st.integers(0, 1000))
def test_what_is_written_is_read_back(tmp_path_factory, frames, seed):
    clip = make_clip("a", num_frames=frames, seed=seed)
    path = tmp_path_factory.mktemp("nwucla") / "a05_s06_e03_v02.json"
    nwucla.write(clip, path, label=5)
    (back,) = read(path)
    np.testing.assert_allclose(back.positions, clip.positions, rtol=1e-5, atol=1e-6)
    assert (back.source.subject, back.source.camera) == ("S06", "2")
    assert back.fps == 30


def test_a_joint_at_the_origin_was_not_seen(tmp_path):
    clip = make_clip()
    positions = clip.positions.copy()
    positions[0, 3, 7] = 0
    nwucla.write(make_clip(positions=positions), tmp_path / "a.json")
    (back,) = read(tmp_path / "a.json")
    assert back.confidence[0, 3, 7] == 0
    assert back.confidence.sum() == back.confidence.size - 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"skeletons": [[[0, 1', "no JSON"),
        ('{"skeletons": 3}', "key 'skeletons': found 3"),
        ('{"skeletons": []}', "expected a list of frames"),
        (json.dumps({"skeletons": [[[1, 2, 3]] * 19]}), "frame 0: found 19 joints, expected 20"),
        (json.dumps({"skeletons": [[[1, 2, 3]] * 19 + [[1, 2]]]}), "frame 0, joint 19"),
        (json.dumps({"skeletons": [[[1, 2, 3]] * 19 + [[1, 2, "x"]]]}), "frame 0, joint 19"),
        (json.dumps({"skeletons": [[[0, 0, 0]] * 20]}), "zeros only"),
        ('{"skeletons": ' + "[" * 20000, "no JSON"),
    ],
)
def test_damage_is_named(tmp_path, content, says):
    path = tmp_path / "a01_s01_e00_v01.json"
    path.write_text(content)
    with pytest.raises(FormatError) as error:
        read(path)
    assert says in str(error.value)
