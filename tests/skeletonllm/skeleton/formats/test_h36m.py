"""Human3.6M positions: unit and axes from the body, the pelvis at the origin, damage, and real recordings."""

import json
from pathlib import Path

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.formats import Declared, detect, h36m, read
from skeletonllm.skeleton.kinematics import body_size_m, canonicalise, point
from skeletonllm.skeleton.spaces import upright

DATA = Path(__file__).parents[5] / "shared" / "data"
# Somebody who stands, metres, +y up, left at +x, facing +z: hip, right leg, left leg, spine to head, left arm, right arm.
BODY = np.array(
    [
        *((0, 0.9, 0), (-0.13, 0.9, 0), (-0.13, 0.45, 0), (-0.13, 0, 0), (0.13, 0.9, 0), (0.13, 0.45, 0), (0.13, 0, 0)),
        *((0, 1.15, 0), (0, 1.4, 0), (0, 1.5, 0.05), (0, 1.62, 0)),
        *((0.15, 1.4, 0), (0.15, 1.1, 0), (0.15, 0.85, 0), (-0.15, 1.4, 0), (-0.15, 1.1, 0), (-0.15, 0.85, 0.02)),
    ]
)
SLOW = Declared(fps=25.0)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


@pytest.mark.parametrize(("scale", "unit"), [(1.0, "m"), (1000.0, "mm")])
@pytest.mark.parametrize("up", ["+y", "+z", "-y"])
def test_unit_and_axis_are_found_from_the_body(tmp_path, scale, unit, up):
    file = save(tmp_path / "S9_walkingdog_2.npy", np.repeat(BODY[None] @ upright(up) * scale, 3, 0))
    assert detect(file).name == "h36m"
    (clip,) = read(file, declared=SLOW)
    np.testing.assert_allclose(clip.positions[0, 1], BODY, atol=1e-6)
    assert clip.source.space == f"{unit}, {up} up (by the body)"
    assert (clip.action, clip.source.subject, clip.source.repetition) == ("walkingdog", "S9", "2")
    assert (clip.fps, clip.source.fps_from) == (25, "declared")


def test_what_is_declared_wins(tmp_path):
    file = save(tmp_path / "a.npy", BODY[None])
    (clip,) = read(file, declared=Declared(fps=50.0, unit="cm", up="-y"))
    np.testing.assert_allclose(clip.positions[0, 0], BODY * (0.01, -0.01, -0.01), atol=1e-6)
    assert clip.source.space == "cm, -y up (declared)"


def test_the_rate_is_never_guessed(tmp_path):
    with pytest.raises(FormatError, match=r"no frame rate.*--fps"):
        read(save(tmp_path / "a.npy", BODY[None]))


def test_a_pelvis_at_the_origin_is_seen_and_a_frame_of_zeros_is_not(tmp_path):
    array = np.repeat(BODY[None] - BODY[0], 3, 0)
    array[1] = 0
    array[2, 5] = np.nan
    (clip,) = read(save(tmp_path / "S5" / "greeting.npy", array), declared=SLOW)
    np.testing.assert_allclose(clip.positions[0, 0], BODY, atol=1e-6)
    assert clip.confidence[0].sum(-1).tolist() == [17, 0, 16]
    assert (clip.action, clip.source.subject) == ("greeting", "S5")


def test_coco_joints_with_scores_have_another_body(tmp_path):
    rng = np.random.default_rng(0)
    file = save(tmp_path / "a.npy", np.concatenate((rng.uniform(0, 500, (4, 17, 2)), np.ones((4, 17, 1))), -1))
    assert not h36m.sniff(file, file.read_bytes())
    assert not h36m.sniff(file, file.read_bytes()[:150])


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 16, 3)), r"shape \(2, 16, 3\)"),
        (np.zeros((2, 17, 3)), "no joint of anybody"),
        (np.full((2, 17, 3), 1e300), "no joint of anybody"),
        (np.full((2, 17, 3), np.inf), "no joint of anybody"),
        (np.zeros((2, 17, 3), complex), "type complex128"),
        (np.concatenate([BODY[None] @ upright(up) for up in ("+y", "+z")]), "in 50% of the frames.*--up"),
    ],
)
def test_damage_is_named(tmp_path, array, says):
    with pytest.raises(FormatError, match=says):
        read(save(tmp_path / "a.npy", array), "h36m", SLOW)


@pytest.mark.skipif(not (DATA / "h36m17_derived").is_dir(), reason="no real recordings")
def test_real_people_are_upright_and_not_mirrored():
    known = [e for e in json.loads((DATA / "MANIFEST.json").read_text()) if e["format"] == "h36m17.npy"]
    assert len(known) == 4
    for entry in known:
        assert detect(DATA / entry["file"]).name == "h36m"
        (clip,) = read(DATA / entry["file"], declared=Declared(fps=float(entry["fps"])))
        assert (clip.action, clip.source.subject, clip.num_frames) == (
            entry["label"],
            entry["subject"],
            entry["n_frames"],
        )
        assert clip.source.space == "mm, +y up (by the body)"
        assert clip.confidence.min() == 1
        head, pelvis, ankle = point(clip, "head"), point(clip, "pelvis"), point(clip, "ankle", "left")
        assert head is not None
        assert pelvis is not None
        assert ankle is not None
        assert np.median(head[..., 1]) > np.median(pelvis[..., 1]) > np.median(ankle[..., 1])
        assert 0.9 < body_size_m(clip) < 1.8
        ready = canonicalise(clip).positions[0, 0]
        assert ready[11, 0] > ready[14, 0]  # the left shoulder
        knees = clip.positions[0][:, (2, 5)] - (clip.positions[0][:, (1, 4)] + clip.positions[0][:, (3, 6)]) / 2
        assert knees[..., 2].mean() > 0  # knees bend ahead
