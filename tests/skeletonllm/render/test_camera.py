import math

import numpy as np
import pytest
import torch

from skeletonllm.render.camera import fit_to_clip, project, side_view_yaw
from skeletonllm.skeleton.kinematics import rotate_y


def look(means, axes=None, across=0.05, along=0.05, center=(0.0, 1.0, 0.0), half=1.0, size=100, kind="orthographic"):
    means = torch.as_tensor(means, dtype=torch.float64).reshape(1, 1, -1, 3)
    axes = torch.zeros_like(means) if axes is None else torch.as_tensor(axes, dtype=torch.float64).reshape(1, 1, -1, 3)
    scale = torch.ones(means.shape[:3], dtype=torch.float64)
    found = project(
        means,
        axes,
        across * scale,
        along * scale,
        torch.tensor([[center]], dtype=torch.float64),
        torch.tensor([[half]], dtype=torch.float64),
        size,
        kind,
    )
    return [value[0, 0] for value in (found.means2d, found.conics(), found.depth)]


@pytest.mark.parametrize("kind", ["orthographic", "perspective"])
def test_up_is_up_and_the_left_of_a_person_who_faces_the_camera_is_to_the_right(kind) -> None:
    means2d, _, depth = look([[0, 1, 0], [0, 1.5, 0], [0.5, 1, 0], [0, 1, 0.5]], kind=kind)
    assert means2d[0].tolist() == [50, 50]
    assert means2d[1].tolist() == [50, 25]
    assert means2d[2].tolist() == [75, 50]
    assert depth[3] < depth[0]


@pytest.mark.parametrize("kind", ["orthographic", "perspective"])
def test_conics_are_the_inverse_of_the_covariance_carried_by_the_numeric_jacobian(kind) -> None:
    mean, axis, across, along = np.array([0.3, 1.4, 0.2]), np.array([0.6, 0.64, 0.48]), 0.03, 0.11
    _, conics, _ = look(mean, axis, across, along, kind=kind)
    step, columns = 1e-5, []
    for unit in np.eye(3):
        ahead, behind = (look(mean + sign * step * unit, kind=kind)[0][0].numpy() for sign in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    jacobian = np.stack(columns, -1)
    covariance = across**2 * np.eye(3) + (along**2 - across**2) * np.outer(axis, axis)
    inverse = np.linalg.inv(jacobian @ covariance @ jacobian.T + 0.3 * np.eye(2))
    np.testing.assert_allclose(conics[0].numpy(), [inverse[0, 0], inverse[0, 1], inverse[1, 1]], rtol=1e-6)


def test_things_far_away_are_smaller_in_perspective_only() -> None:
    near, far = [0.5, 1, 0.5], [0.5, 1, -0.5]
    flat = look([near, far])[0][:, 0]
    deep = look([near, far], kind="perspective")[0][:, 0]
    assert flat[0] == flat[1]
    assert deep[0] > deep[1]


def test_the_view_holds_everybody_in_all_frames() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform((-1, 0, -1), (3, 1.8, 1), (2, 10, 20, 3)).astype(np.float32)
    center, half = fit_to_clip(positions, np.ones((2, 10, 20), np.float32))
    inside = np.abs(positions - center)[..., :2].max(-1) < half
    assert inside.mean() > 0.99
    assert half < 2.5


def test_a_joint_that_jumps_or_stays_far_off_does_not_make_the_body_small() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform((-0.4, 0, -0.2), (0.4, 1.8, 0.2), (1, 30, 25, 3)).astype(np.float32)
    seen = np.ones((1, 30, 25), np.float32)
    jumped, stuck = positions.copy(), positions.copy()
    jumped[0, 3, 4] = 1e5
    stuck[0, :, 4] = (900, 0, 0)
    assert fit_to_clip(jumped, seen)[1] < 1.3
    assert fit_to_clip(stuck, seen)[1] < 2.5


def test_unseen_joints_do_not_move_the_camera() -> None:
    positions = np.zeros((1, 4, 5, 3), np.float32)
    positions[..., 0, :] = (50, 50, 50)
    seen = np.ones((1, 4, 5), np.float32)
    seen[..., 0] = 0
    assert fit_to_clip(positions, seen)[0].tolist() == [0, 0, 0]
    center, half = fit_to_clip(positions, np.zeros_like(seen))
    assert np.isfinite(center).all()
    assert half > 0


@pytest.mark.parametrize("angle", np.linspace(-math.pi, math.pi, 9))
def test_two_persons_end_up_side_by_side(angle) -> None:
    roots = np.zeros((2, 5, 3), np.float32)
    roots[1] = (math.cos(angle), 0, math.sin(angle))
    yaw = side_view_yaw(roots, np.ones((2, 5)))
    turned = rotate_y(roots, yaw)
    assert abs(turned[1, 0, 0]) == pytest.approx(1, abs=1e-5)
    assert turned[1, 0, 2] == pytest.approx(0, abs=1e-5)


def test_persons_who_face_each_other_stand_first_left_second_right_and_neighbours_are_not_turned() -> None:
    roots, seen = np.zeros((2, 5, 3), np.float32), np.ones((2, 5))
    for sway in (-0.2, 0.0, 0.2):
        roots[1] = (sway, 0, 1)
        assert rotate_y(roots, side_view_yaw(roots, seen))[1, 0, 0] > 0.9
    for side in (-1, 1):
        roots[1] = (side, 0, 0)
        assert abs(side_view_yaw(roots, seen)) < 1e-6
    assert side_view_yaw(roots[:1], seen[:1]) == 0
    assert side_view_yaw(roots, np.array([[1.0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])) == 0
