from dataclasses import replace

import numpy as np
import pytest
import torch

from skeletonllm.answer.sources import clips_of
from skeletonllm.errors import ConfigError, DataError, NobodyError
from skeletonllm.skeleton.convert import convert
from skeletonllm.skeleton.formats import plain_numpy
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip, performed_clips

CLIP, _ = convert(performed_clips(("wave",), ("P001",))[0], TOPOLOGIES["kinect_v2_25"])


def test_clips_paths_and_arrays_may_be_mixed(tmp_path):
    plain_numpy.write(CLIP, tmp_path / "a.npz")
    asked = [CLIP, tmp_path / "a.npz", str(tmp_path / "a.npz"), CLIP.positions[0], torch.from_numpy(CLIP.positions)]
    found = list(clips_of(asked, {"topology": None, "fps": 30.0}))
    assert [clip.clip_id for clip in found] == [CLIP.clip_id, "a", "a", "array 3", "array 4"]
    assert all(clip.topology.name == CLIP.topology.name for clip in found)
    np.testing.assert_allclose(found[3].positions, CLIP.positions, atol=1e-5)


def test_one_clip_path_or_array_needs_no_list():
    assert [clip.clip_id for clip in clips_of(CLIP)] == [CLIP.clip_id]
    assert len(list(clips_of(CLIP.positions, {"fps": 30}))) == 1


def test_an_iterator_is_read_one_by_one():
    asked = iter([CLIP, make_clip(num_frames=1)])
    stream = clips_of(asked)
    assert next(stream) is CLIP


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        (make_clip(num_frames=1), DataError, "1 frame shows no movement"),
        (replace(CLIP, confidence=np.zeros_like(CLIP.confidence)), NobodyError, "nobody is seen"),
        (CLIP.positions, ConfigError, "fps is None"),
        ([3], ConfigError, "clip 0 is a int"),
        (7, ConfigError, "a int; give paths"),
        (np.array(["wave"]), ConfigError, "fps is None"),
    ],
)
def test_what_cannot_be_asked_about_is_told(asked, error, said):
    with pytest.raises(error, match=said):
        list(clips_of(asked))


def test_an_array_of_texts_is_told():
    with pytest.raises(ConfigError, match="must hold numbers"):
        list(clips_of(np.array(["wave"]), {"fps": 30.0}))
