from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.reasoning.signals import measure_signals
from skeletonllm.reasoning.tolerances import tolerances
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.kinematics import body_size_m, rotate_y
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip, random_topology
from tests.skeletonllm.reasoning.movements import NUM_FRAMES, ramp, standing, with_move


def lost(clip, first, last, joints=slice(None)):
    confidence, positions = clip.confidence.copy(), clip.positions.copy()
    confidence[:, first:last, joints] = 0
    positions[:, first:last, joints] = 0
    return replace(clip, positions=positions, confidence=confidence)


def test_lengths_are_in_body_sizes():
    clip = with_move(standing(), "wrist", "left", (0, 0.5, 0), ramp(20, 40))
    path = measure_signals(clip).paths[0, "wrist", "left"]
    assert path[-1, 1] - path[0, 1] == pytest.approx(0.5 / body_size_m(clip), abs=0.01)


@pytest.mark.parametrize("topology", ["kinect_v2_25", "smpl_22", "coco_17"])
def test_a_body_that_is_lost_for_a_while_is_unseen_and_does_not_move(topology):
    clip = standing(topology)
    signals = measure_signals(lost(clip, 20, 30))
    for key, path in signals.paths.items():
        assert np.ptp(path, axis=0).max() < 0.02
        assert signals.unseen[key].nonzero()[0].tolist() == list(range(20, 30))


def test_a_part_that_is_hardly_seen_is_left_out():
    clip = standing()
    joint = clip.topology.find("wrist", "left")
    signals = measure_signals(lost(clip, 0, 45, joint))
    assert (0, "wrist", "left") not in signals.paths
    assert (0, "wrist", "right") in signals.paths


@pytest.mark.parametrize("noise_m", [0.002, 0.006, 0.015])
def test_a_sensors_jitter_is_measured_and_widens_the_tolerances(noise_m):
    clip = standing(noise_m=noise_m)
    signals = measure_signals(clip)
    assert signals.jitter == pytest.approx(noise_m / body_size_m(clip), rel=0.25)
    assert tolerances(signals).length > tolerances(measure_signals(standing())).length


def test_a_movement_is_no_jitter():
    clip = sensors.convert(perform("wave", 0, 0, 0, fps=30.0), TOPOLOGIES["kinect_v2_25"])
    assert measure_signals(clip).jitter < 0.001


@pytest.mark.parametrize("degrees", [60, -100, 200])
def test_turning_is_measured_to_the_left_whatever_way_the_sensor_looks(degrees):
    clip = standing()
    angles = np.radians(degrees) * ramp(10, 50)
    turned = np.stack([rotate_y(frame, angle + 2.0) for frame, angle in zip(clip.positions[0], angles, strict=True)])
    heading = measure_signals(replace(clip, positions=turned[None].astype(np.float32))).headings[0]
    assert heading[-1] == pytest.approx(degrees, abs=2)


def test_a_hands_way_to_the_head_is_measured():
    clip = standing()
    head, hand = (clip.topology.find(part, side) for part, side in (("head", "center"), ("wrist", "left")))
    assert head is not None
    assert hand is not None
    way = clip.positions[0, 0, head] - clip.positions[0, 0, hand]
    moved = with_move(clip, "wrist", "left", tuple(way), ramp(10, 30))
    signals = measure_signals(moved)
    assert signals.from_head[0, "left"][-1] < 0.03
    assert signals.from_head[0, "right"][-1] > 0.3


@pytest.mark.filterwarnings("error")
@settings(max_examples=30)
@given(joints=st.integers(5, 133), frames=st.integers(1, 30), persons=st.integers(1, 3), seed=st.integers(0, 99))
def test_any_clip_gives_finite_curves_of_its_length(joints, frames, persons, seed):
    clip = make_clip(topology=random_topology(joints, seed), num_frames=frames, num_persons=persons, seed=seed)
    confidence = (np.random.default_rng(seed).random(clip.confidence.shape) < 0.7).astype(np.float32)
    signals = measure_signals(replace(clip, confidence=confidence))
    for curves in (signals.paths, signals.rooms, signals.angles, signals.bends, signals.headings, signals.gaps):
        for curve in curves.values():
            assert len(curve) == frames
            assert np.isfinite(curve).all()
    assert signals.jitter >= 0


def test_frames_are_those_of_the_clip():
    assert measure_signals(standing()).num_frames == NUM_FRAMES
