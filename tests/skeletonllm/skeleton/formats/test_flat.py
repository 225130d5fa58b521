"""What pose estimators' formats share: linking persons over frames, choosing persons, pixels to metres, JSON."""

import numpy as np
import pytest

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, flat
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, body_size_m
from skeletonllm.skeleton.topologies import TOPOLOGIES

# A person who stands and faces the camera, in pixels: their left at the right of the image.
STANDING_17 = np.array(
    [
        *[(500, 100), (510, 90), (490, 90), (520, 95), (480, 95)],
        *[(540, 160), (460, 160), (560, 240), (440, 240), (565, 310), (435, 310)],
        *[(525, 330), (475, 330), (528, 440), (472, 440), (530, 550), (470, 550)],
    ],
    float,
)


def person(x: float, y: float, confidence: float = 1.0) -> np.ndarray:
    """Four joints in a square of 10 pixels."""
    corners = np.array([(0, 0), (10, 0), (0, 10), (10, 10)], float) + np.array((x, y))
    return np.column_stack((corners, np.full(4, confidence)))


def test_persons_are_linked_by_place_though_their_order_changes(tmp_path):
    frames = {t: [person(10 + t, 50), person(100 - t, 50, 0.5)][:: 1 if t % 2 else -1] for t in range(30)}
    points, confidence = flat.link_persons(tmp_path, frames, 30, 4)
    np.testing.assert_array_equal(points[0, :, 0, 0], 10 + np.arange(30))
    np.testing.assert_array_equal(points[1, :, 0, 0], 100 - np.arange(30))
    assert (confidence[0] == 1).all()
    assert (confidence[1] == 0.5).all()


def test_who_is_away_for_some_frames_comes_back_as_the_same_person(tmp_path):
    frames = {t: [person(10, 50)] for t in (0, 1, 2, 20, 21)}
    points, confidence = flat.link_persons(tmp_path, frames, 22, 4)
    assert points.shape == (1, 22, 4, 2)
    assert np.flatnonzero(confidence[0].any(1)).tolist() == [0, 1, 2, 20, 21]


def test_who_appears_far_away_is_somebody_else_and_who_is_seen_most_is_first(tmp_path):
    frames = {0: [person(10, 50)], 1: [person(400, 50)], 2: [person(400, 50)], 3: [person(900, 50)]}
    points, _ = flat.link_persons(tmp_path, frames, 4, 4)
    assert points.shape[0] == 2, "two are kept"
    assert points[0, 1, 0, 0] == 400


def test_a_crowd_takes_no_time_without_end(tmp_path):
    rng = np.random.default_rng(0)
    frames = {t: [person(*rng.uniform(0, 1e5, 2)) for _ in range(40)] for t in range(60)}
    points, _ = flat.link_persons(tmp_path, frames, 60, 4)
    assert points.shape[0] == 2


def test_the_two_who_move_most_are_kept_and_a_ghost_is_not():
    rng = np.random.default_rng(0)
    points = np.stack([rng.normal(0, spread, (50, 4, 3)) for spread in (0.01, 1.0, 0.5, 3.0)])
    confidence = np.ones((4, 50, 4))
    confidence[3, 2:] = 0  # moves wildly, for two frames
    assert flat.most_moving(points, confidence) == [1, 2]
    assert flat.most_moving(points, confidence * 0) == []


def test_pixels_become_metres_of_an_upright_person_of_canonical_size():
    topology = TOPOLOGIES["coco_17"]
    confidence = np.ones((1, 1, 17))
    places = flat.to_metres(STANDING_17[None, None], confidence, topology, (1000.0, 2000.0))
    clip = Clip("a", topology, places.astype(np.float32), confidence.astype(np.float32), 30.0)
    assert body_size_m(clip) == pytest.approx(CANONICAL_SIZE_M, rel=1e-4)
    assert places[0, 0, 5, 0] > places[0, 0, 6, 0], "their left is at +x"
    assert places[0, 0, 0, 1] > places[0, 0, 11, 1] > places[0, 0, 15, 1] > 0
    assert not places[..., 2].any()
    # The same at another resolution of the same video.
    half = flat.to_metres(STANDING_17[None, None] / 2, confidence, topology, (500.0, 1000.0))
    np.testing.assert_allclose(half, places, atol=1e-5)


def test_a_person_whose_legs_are_out_of_the_image_has_the_same_size():
    topology = TOPOLOGIES["coco_17"]
    whole, half = np.ones((1, 1, 17)), np.ones((1, 1, 17))
    half[..., 11:] = 0
    for image in ((1000.0, 2000.0), None):
        all_of_it = flat.to_metres(STANDING_17[None, None], whole, topology, image)
        upper = flat.to_metres(STANDING_17[None, None], half, topology, image)
        shoulders = [np.ptp(places[0, 0, 5:7, 0]) for places in (all_of_it, upper)]
        assert shoulders[1] == pytest.approx(shoulders[0], rel=0.2)
        assert not upper[0, 0, 11:].any()


def test_without_the_image_size_people_stand_on_the_floor():
    confidence = np.ones((1, 1, 17))
    places = flat.to_metres(STANDING_17[None, None] + 700, confidence, TOPOLOGIES["coco_17"], None)
    assert 0 < places[..., 1].min() < 0.01
    assert np.ptp(places[..., 0]) / 2 == pytest.approx(places[..., 0].max())


def test_one_joint_or_none_is_no_division_by_zero():
    topology = TOPOLOGIES["coco_17"]
    confidence = np.zeros((1, 2, 17))
    assert not flat.to_metres(np.zeros((1, 2, 17, 2)), confidence, topology, None).any()
    confidence[0, 0, 3] = 1
    for image in ((480.0, 640.0), None):
        assert np.isfinite(flat.to_metres(np.full((1, 2, 17, 2), 5.0), confidence, topology, image)).all()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nul", "9" * 5000])
def test_what_is_no_json_is_a_format_error(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=r"expected"):
        flat.read_json(path)


@pytest.mark.parametrize("value", [None, "a", {}, [[1], [1, 2]], ["a"], [{}], [10**400], [1e300], [[1], 2], 3])
def test_what_are_no_numbers_is_a_format_error(tmp_path, value):
    with pytest.raises(FormatError, match="here: found"):
        flat.numbers(tmp_path, "here", value)
    assert flat.numbers(tmp_path, "here", [[]] * 9).size == 0


def test_frame_numbers_far_apart_are_refused(tmp_path):
    assert flat.span(tmp_path, [3, 1, 7], 0) == (1, 7)
    for frames in ([], [-1, 5], [0, 10**9], [0, 10**30]):
        with pytest.raises(FormatError, match="frames"):
            flat.span(tmp_path, frames, 0)


def test_a_missing_frame_rate_is_asked_for(tmp_path):
    assert flat.declared_fps(tmp_path, Declared(fps=24.0)) == 24
    with pytest.raises(FormatError, match="give it with --fps"):
        flat.declared_fps(tmp_path, Declared())
