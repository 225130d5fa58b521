from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.reasoning.facts import measure_facts, merge_sides
from skeletonllm.reasoning.turning import find_swings, turning_points
from skeletonllm.skeleton.kinematics import rotate_y
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip, random_topology
from tests.skeletonllm.reasoning.movements import ramp, standing, with_move


def named(clip, predicate, part=None):
    return [f for f in measure_facts(clip) if f.predicate == predicate and part in (None, f.part)]


@pytest.mark.parametrize("topology", ["kinect_v1_20", "kinect_v2_25", "smpl_22"])
def test_a_raised_hand_is_measured_with_its_side_frames_and_size(topology):
    clip = with_move(standing(topology), "wrist", "left", (0, 0.5, 0), ramp(20, 40))
    (fact,) = named(clip, "raises")
    assert (fact.person, fact.part, fact.side) == (0, "wrist", "left")
    assert abs(fact.first_frame - 20) <= 3
    assert abs(fact.last_frame - 40) <= 3
    assert fact.amount == pytest.approx(0.5 / 1.35, abs=0.06)  # metres over the body's size


@pytest.mark.parametrize(
    ("metres", "predicate"),
    [
        ((0, -0.4, 0), "lowers"),
        ((0, 0, 0.4), "moves forward"),
        ((0, 0, -0.4), "moves back"),
        ((0.4, 0, 0), "moves sideways"),
    ],
)
def test_each_direction_has_its_word(metres, predicate):
    clip = with_move(standing(), "wrist", "right", metres, ramp(10, 30))
    moves = [f.predicate for f in measure_facts(clip) if (f.part, f.side, f.unit) == ("wrist", "right", "body sizes")]
    assert moves == [predicate]


@pytest.mark.parametrize("noise_m", [0.0, 0.01, 0.02])
def test_who_stands_still_does_nothing(noise_m):
    assert measure_facts(standing(noise_m=noise_m)) == []


def test_directions_are_those_of_the_person_and_not_of_the_room():
    clip = with_move(standing(), "wrist", "right", (0, 0, 0.5), ramp(10, 30))
    turned = replace(clip, positions=rotate_y(clip.positions, 2.0) + np.float32(3))
    assert named(turned, "moves forward", "wrist")
    facts, same = measure_facts(clip), measure_facts(turned)
    assert [(f.predicate, f.first_frame) for f in facts] == [(f.predicate, f.first_frame) for f in same]


def test_a_foot_that_stays_on_the_floor_does_not_rise_when_the_body_sinks():
    clip = perform("squat", 0, 0, 0, fps=30.0)
    assert named(clip, "lowers", "pelvis")
    assert named(clip, "flexes", "knee")
    assert not named(clip, "raises", "ankle")


def test_waving_and_raising_a_hand_differ_by_the_swings():
    for performer in range(4):
        wave = perform("wave", performer, 0, 0, fps=30.0)
        raise_hand = perform("raise hand", performer, 0, 0, fps=30.0)
        assert named(wave, "swings", "wrist")
        assert not named(raise_hand, "swings", "wrist")
        assert named(raise_hand, "is above the head")


def test_a_bow_bends_the_trunk_and_straightens_it():
    facts = merge_sides(measure_facts(perform("bow", 0, 0, 0, fps=30.0)))
    assert [f.predicate for f in facts[:2]] == ["bends", "straightens"]


def test_the_pushed_person_moves_back_as_they_see_it():
    facts = measure_facts(perform("push", 0, 0, 0, fps=30.0))
    assert any((f.person, f.part, f.predicate) == (1, "pelvis", "moves back") for f in facts)
    assert any((f.part, f.predicate) == ("pelvis", "leaves") for f in facts)


def test_walking_before_a_tilted_sensor_is_no_climbing():
    clip = standing()
    walk = np.linspace(0, 2, clip.num_frames)[:, None, None] * np.array((0, np.tan(np.radians(10)), 1))
    walking = replace(clip, positions=clip.positions + walk.astype(np.float32))
    assert named(walking, "moves forward", "pelvis")
    assert not named(walking, "raises", "pelvis")


def test_a_flat_format_says_nothing_of_depth():
    clip = with_move(standing("coco_17"), "wrist", "left", (0, 0.6, 0), ramp(10, 30))
    predicates = {f.predicate for f in measure_facts(clip)}
    assert "raises" in predicates
    assert not predicates & {"moves forward", "moves back", "moves sideways", "extends", "flexes", "bends"}


@pytest.mark.filterwarnings("error")
@settings(max_examples=40)
@given(
    joints=st.integers(5, 133),
    frames=st.integers(1, 40),
    persons=st.integers(1, 3),
    seen=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_any_topology_length_and_loss_is_measured_without_a_fault(joints, frames, persons, seen, seed):
    clip = make_clip(topology=random_topology(joints, seed), num_frames=frames, num_persons=persons, seed=seed)
    rng = np.random.default_rng(seed)
    clip = replace(clip, confidence=(rng.random(clip.confidence.shape) < seen).astype(np.float32))
    for fact in measure_facts(clip):
        assert 0 <= fact.first_frame <= fact.last_frame < frames
        assert np.isfinite(fact.amount)
        assert fact.person in (0, 1)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60), st.floats(0.01, 0.5))
def test_turning_points_alternate_and_differ_by_more_than_the_tolerance(values, tolerance):
    signal = np.array(values)
    turns = turning_points(signal, tolerance)
    changes = np.diff(signal[turns])
    assert (np.diff(turns) > 0).all()
    assert (np.abs(changes) > tolerance).all()
    assert (changes[1:] * changes[:-1] < 0).all()


def test_swings_are_counted_one_way_each():
    frames = np.arange(90)
    wave = 0.1 * np.sin(2 * np.pi * 2 * frames / 30)  # 2 Hz for 3 s: 12 half waves
    turns, size = find_swings(wave, 30.0, 0.065)
    assert abs(len(turns) - 1 - 12) <= 1
    assert size == pytest.approx(0.2, abs=0.02)
    assert find_swings(0.3 * ramp(10, 30), 30.0, 0.065)[0] != []
    assert find_swings(np.zeros(30), 30.0, 0.065) == ([], 0.0)


def test_known_topologies_have_the_joints_that_facts_need():
    for topology in TOPOLOGIES.values():
        for part in ("wrist", "ankle", "knee", "elbow"):
            assert topology.find(part, "left") is not None
