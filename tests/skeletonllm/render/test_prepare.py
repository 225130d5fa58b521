from dataclasses import replace

import numpy as np
import pytest

from skeletonllm.render.prepare import prepare
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import moved, t_pose, waving


def test_a_person_who_stands_anywhere_is_put_before_the_camera_facing_it() -> None:
    clip = t_pose()
    for yaw in (0.0, 1.0, 3.0):
        prepared = prepare(moved(clip, yaw, (4, 2, -3)))
        names = clip.topology.joint_names
        across = (
            prepared.positions[0, 0, names.index("hand_left")] - prepared.positions[0, 0, names.index("hand_right")]
        )
        assert across[0] > 1
        assert abs(across[2]) < 1e-3
        assert np.abs(prepared.positions[..., :2] - prepared.center_m[:2]).max() < prepared.half_width_m


def test_file_rotations_become_turns_and_other_clips_wait_for_their_frames() -> None:
    clip = waving()
    turns = prepare(clip).turns
    assert turns is not None
    np.testing.assert_allclose(np.linalg.norm(turns, axis=-1), 1, atol=1e-5)
    assert prepare(replace(clip, rotations=None)).turns is None


@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e35])
def test_places_are_finite_and_near_enough_to_square(scale) -> None:
    clip = make_clip(num_persons=2)
    prepared = prepare(replace(clip, positions=(clip.positions * scale).astype(np.float32)))
    assert np.isfinite(prepared.positions).all()
    assert np.isfinite(prepared.center_m).all()
    assert (np.abs(prepared.positions - prepared.center_m) <= 20.1 * prepared.half_width_m).all()
