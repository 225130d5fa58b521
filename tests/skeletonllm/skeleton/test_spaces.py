"""Units and axes: what is found out from people's bodies."""

import numpy as np
import pytest

from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.sensors import as_mocap
from skeletonllm.skeleton.spaces import find_up, upright
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology


@pytest.mark.parametrize("up", ["+x", "-x", "+y", "-y", "+z", "-z"])
def test_the_axis_on_which_people_stand_is_found(up):
    clip = as_mocap(perform("wave", 1, 0, 0, 30.0))
    turned = clip.positions.astype(np.float64) @ upright(up)  # the inverse: from +y to that axis
    found, sure = find_up(turned * 100, clip.topology)
    assert found == up
    assert sure == 1


def test_frames_in_which_nobody_is_seen_say_nothing():
    clip = as_mocap(perform("wave", 1, 0, 0, 30.0))
    positions = clip.positions.copy()
    positions[:, ::2] = 0
    positions[:, 1::4] = np.nan
    assert find_up(positions, clip.topology) == ("+y", 1.0)
    assert find_up(np.zeros_like(positions), clip.topology) == ("+y", 0.0)


def test_without_head_and_feet_nothing_is_sure():
    hand = Topology.from_names("hand", ("left_wrist", "left_thumb", "left_index"), (-1, 0, 1))
    assert find_up(np.ones((1, 2, 3, 3)), hand) == ("+y", 0.0)

    trunk = Topology.from_names("trunk", ("pelvis", "left_hip", "right_hip"), (-1, 0, 0))
    assert find_up(np.ones((1, 2, 3, 3)), trunk) == ("+y", 0.0)


def test_legs_alone_say_what_is_up():
    topology = Topology.from_names("legs", ("pelvis", "left_knee", "left_ankle"), (-1, 0, 1))
    positions = np.array([(0.1, 0.2, 0.9), (0.1, 0.2, 0.5), (0.1, 0.3, 0.1)])[None, None]
    assert find_up(positions, topology) == ("+z", 1.0)


def test_somebody_seen_in_half_a_body_is_upright_by_hips_and_shoulders():
    topology = TOPOLOGIES["coco_17"]
    positions = np.zeros((1, 3, 17, 3))
    for joint, height in ((5, 1.4), (6, 1.4), (11, 1.0), (12, 1.0)):
        positions[0, :, joint] = (0.1, -height, 2.0)
    assert find_up(positions, topology) == ("-y", 1.0)
