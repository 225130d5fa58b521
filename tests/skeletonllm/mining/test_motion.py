from dataclasses import replace

import numpy as np
import pytest

from skeletonllm.mining.motion import STATISTICS, motion_statistics
from skeletonllm.skeleton.kinematics import rotate_y
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip, random_topology


def told(clip):
    return dict(zip(STATISTICS, motion_statistics(clip), strict=True))


@pytest.mark.parametrize("topology", sorted(TOPOLOGIES))
def test_every_topology_has_the_same_numbers(topology):
    values = motion_statistics(make_clip(topology=topology, num_persons=2))
    assert values.shape == (len(STATISTICS),)
    assert not np.isinf(values).any()
    assert np.isfinite(values).mean() > 0.5


def test_a_skeleton_never_met_a_single_frame_and_unseen_joints_do_no_harm():
    for clip in (
        make_clip(topology=random_topology(7)),
        make_clip(num_frames=1),
        make_clip(confidence=np.zeros((1, 12, 20), np.float32)),
    ):
        assert not np.isinf(motion_statistics(clip)).any()


def test_the_numbers_say_what_a_body_does():
    wave, kick, sit, jump, push = (
        told(perform(name, 1, 0, 0)) for name in ("wave", "kick", "sit down", "jump", "push")
    )
    assert wave["leading wrist, turns per s"] > kick["leading wrist, turns per s"] + 0.3
    assert kick["leading ankle, peak speed"] > wave["leading ankle, peak speed"] + 0.5
    assert sit["pelvis, height at the end"] < sit["pelvis, height at the start"] - 0.1
    assert jump["pelvis, height at the end"] == pytest.approx(jump["pelvis, height at the start"], abs=0.05)
    assert sit["angle of the leading knee, least"] < wave["angle of the leading knee, least"] - 40
    assert push["nearness of the second person, most"] > 0
    assert wave["nearness of the second person, most"] == 0


def test_left_handers_turned_moved_and_scaled_do_the_same():
    clip = perform("wave", 1, 0, 0)
    mirrored = clip.positions * np.array((-1, 1, 1), np.float32)
    swap = np.arange(clip.topology.num_joints)
    for left, right in clip.topology.mirror:
        swap[left], swap[right] = right, left
    for positions in (mirrored[:, :, swap], rotate_y(clip.positions, 1.0) + 3, clip.positions * np.float32(1.3)):
        again = replace(clip, positions=positions.astype(np.float32), rotations=None)
        np.testing.assert_allclose(motion_statistics(again), motion_statistics(clip), atol=2e-2, rtol=2e-2)


def test_the_frame_rate_matters_little():
    fast, slow = (motion_statistics(perform("throw", 1, 0, 0, fps=fps)) for fps in (60.0, 20.0))
    alike = np.isclose(fast, slow, atol=0.15, rtol=0.15)
    assert alike.mean() > 0.8
