"""DD-Net's pickles of JHMDB."""

import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import detect, read
from skeletonllm.skeleton.kinematics import body_size_m, point

DATA = Path(__file__).parents[5] / "shared" / "data"
# neck, belly, face, shoulders, hips, elbows, knees, wrists, ankles (right before left), y down, facing the viewer.
STANDING = np.array(
    [
        *[(0, -0.25), (0, 0), (0, -0.35)],
        *[(-0.1, -0.24), (0.1, -0.24), (-0.05, 0.1), (0.05, 0.1), (-0.12, -0.1), (0.12, -0.1)],
        *[(-0.05, 0.3), (0.05, 0.3), (-0.13, 0.0), (0.13, 0.02), (-0.05, 0.5), (0.05, 0.5)],
    ]
)


def saved(folder, **changes):
    path = folder / "a.pkl"
    poses = [np.repeat(STANDING[None], frames, 0) for frames in (3, 5)]
    path.write_bytes(pickle.dumps({"pose": poses, "label": ["clap", "run"], **changes}))
    return path


def test_every_pose_is_a_clip_with_its_label(tmp_path):
    path = saved(tmp_path)
    assert detect(path).name == "jhmdb"
    clips = read(path)
    assert [(c.clip_id, c.action, c.num_frames, c.fps) for c in clips] == [
        ("a_0000", "clap", 3, 25.0),
        ("a_0001", "run", 5, 25.0),
    ]
    (clip, _) = clips
    assert clip.source.fps_from == "format"
    assert body_size_m(clip) == pytest.approx(1.4, rel=1e-3)
    left, right, face, neck = (clip.positions[0, 0, joint] for joint in (4, 3, 2, 0))
    assert left[0] > right[0]
    assert face[1] > neck[1] > clip.positions[0, 0, 13, 1]


def test_a_pickle_of_any_protocol_and_order_of_keys_is_known(tmp_path):
    poses, labels = [np.repeat(STANDING[None], 3, 0)], ["clap"]
    for protocol in (2, 3, 4, 5):
        for content in ({"pose": poses, "label": labels}, {"label": labels, "pose": poses}):
            path = tmp_path / "a.pkl"
            path.write_bytes(pickle.dumps(content, protocol))
            assert detect(path).name == "jhmdb"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"label": ["clap"]}, r"two lists of the same length"),
        ({"pose": 3}, r"two lists"),
        ({"pose": [np.zeros((3, 14, 2)), np.zeros((3, 15, 2))]}, r"clip 0: found shape \(3, 14, 2\)"),
        ({"pose": [STANDING[None], np.full((2, 15, 2), 1e30)]}, r"clip 1: found the number 1e\+30"),
        ({"pose": [STANDING[None], np.zeros((2, 15, 2))]}, r"clip 1: found no joint"),
        ({"pose": [STANDING[None], np.zeros((0, 15, 2))]}, r"clip 1: found 0 frames"),
        ({"pose": [STANDING[None], np.zeros((2, 15, 2), "S3")]}, r"clip 1: found shape .* of \|S3"),
        ({"label": ["clap", 3]}, r"clip 1: found 3, expected the name"),
    ],
)
def test_damage_is_one_clear_error(tmp_path, changes, says):
    with pytest.raises(FormatError, match=says):
        read(saved(tmp_path, **changes), "jhmdb")


@pytest.mark.skipif(not (DATA / "jhmdb").is_dir(), reason=f"no recordings at {DATA}")
def test_the_real_file_has_its_433_clips_of_14_actions():
    (path,) = (DATA / "jhmdb").glob("*.pkl")
    clips = read(path)
    assert len(clips) == 433
    assert len(Counter(clip.action for clip in clips)) == 14
    assert {clip.topology.name for clip in clips} == {"jhmdb_15"}
    assert all(15 <= clip.num_frames <= 40 for clip in clips)
    heads, pelvises = zip(*((point(c, "face"), point(c, "pelvis")) for c in clips), strict=True)
    above = [np.median(h[0, :, 1] - p[0, :, 1]) > 0.2 for h, p in zip(heads, pelvises, strict=True)]
    assert np.mean(above) > 0.9, "people stand, except where they jump or fall"
