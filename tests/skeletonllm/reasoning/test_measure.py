import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.reasoning.measure import best, contradicted, judge_change, judge_state, judge_turns, supported, worst
from skeletonllm.reasoning.turning import first_move, turning_points

TOLERANCE = 0.1


def ramp(first, last, size=1.0, length=100):
    return size * np.clip((np.arange(length) - first) / (last - first), 0, 1)


def verdict(curve, first, last, direction=1):
    return judge_change(curve, direction, TOLERANCE, (first, last)).verdict


@pytest.mark.parametrize("window", [(30, 50), (26, 46), (34, 54), (25, 55), (20, 60), (0, 99)])
def test_a_change_is_supported_in_its_frames_and_in_wider_ones(window):
    assert verdict(ramp(30, 50), *window) == "supported"
    assert verdict(-ramp(30, 50), *window, direction=-1) == "supported"
    assert verdict(ramp(30, 50), *window, direction=0) == "supported"


@pytest.mark.parametrize("window", [(0, 20), (52, 72), (60, 80), (9, 29), (48, 90), (5, 38)])
def test_a_change_in_other_frames_is_contradicted(window):
    assert verdict(ramp(30, 50), *window) == "contradicted"


def test_the_opposite_change_is_contradicted_and_its_size_told():
    found = judge_change(ramp(30, 50), -1, TOLERANCE, (30, 50))
    assert found.verdict == "contradicted"
    assert found.reason == "it changes by +1.00 body sizes"


def test_the_end_of_a_long_movement_is_not_that_movement():
    found = judge_change(ramp(30, 50), 1, TOLERANCE, (46, 60))
    assert found.verdict == "contradicted"


@pytest.mark.parametrize(
    ("size", "said"), [(0.02, "contradicted"), (0.054, "contradicted"), (0.062, "not measurable"), (0.08, "supported")]
)
def test_what_is_hardly_more_than_nothing_is_not_told(size, said):
    assert verdict(ramp(30, 50, size), 30, 50) == said


@given(
    first=st.integers(5, 60),
    length=st.integers(6, 30),
    off=st.tuples(st.integers(-5, 5), st.integers(-5, 5)),
    size=st.floats(0.2, 2),
)
def test_frames_may_be_off_by_a_twentieth(first, length, off, size):
    window = sorted((first + off[0], first + length + off[1]))
    assert verdict(ramp(first, first + length, size), *window) == "supported"


@given(first=st.integers(0, 60), length=st.integers(6, 30), by=st.integers(21, 60), back=st.booleans())
def test_frames_that_are_off_by_more_than_a_fifth_are_contradicted(first, length, by, back):
    window = (first - by, first + length - by) if back else (first + by, first + length + by)
    if window[0] >= 0 and window[1] <= 99:
        assert verdict(ramp(first, first + length), *window) == "contradicted"


def test_without_frames_a_change_may_be_at_any_time():
    assert judge_change(ramp(30, 50), 1, TOLERANCE, None).verdict == "supported"
    assert judge_change(ramp(30, 50), -1, TOLERANCE, None).verdict == "contradicted"


def test_a_state_must_hold_in_most_of_its_frames():
    inside = np.zeros(100, bool)
    inside[40:80] = True
    assert judge_state(inside, (40, 79), "there").verdict == "supported"
    assert judge_state(inside, (36, 82), "there").verdict == "supported"
    for window in ((0, 39), (20, 59), (60, 99), (0, 99)):
        assert judge_state(inside, window, "there").verdict == "contradicted"
    assert judge_state(inside, None, "there").verdict == "supported"
    assert judge_state(~inside & inside, None, "there").verdict == "contradicted"


def test_to_and_fro_is_more_than_there_and_back():
    waving = turning_points(np.sin(np.arange(100) / 4), 0.2)
    assert judge_turns(waving, (10, 90), 100).verdict == "supported"
    assert judge_turns(waving, (0, 10), 100).verdict == "contradicted"
    assert judge_turns(turning_points(ramp(10, 30) - ramp(50, 70), 0.2), (0, 99), 100).verdict == "contradicted"


def test_a_path_sets_out_where_it_leaves_its_place():
    path = np.stack([ramp(30, 50), np.zeros(100), np.zeros(100)], axis=1)
    start, gone = first_move(path, TOLERANCE, (0, 99))
    assert 28 <= start <= 31
    assert start < gone <= 33
    assert first_move(path, TOLERANCE, (60, 99)) is None


def test_no_more_is_measured_than_a_verdict_takes():
    def verdicts(first):
        yield first
        raise AssertionError

    assert best(verdicts(supported("yes"))).reason == "yes"
    assert worst(verdicts(contradicted("no"))).reason == "no"
