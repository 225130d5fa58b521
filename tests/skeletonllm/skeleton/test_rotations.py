"""Rotations: what one notation says, the others say too."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.skeleton.rotations import about, from_axis_angle, matrices, quaternions, to_axis_angle

vectors = st.lists(st.floats(-3.1, 3.1), min_size=3, max_size=3).map(np.array)


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_an_angle_about_a_coordinate_axis_is_the_same_in_both_notations(axis):
    angles = np.linspace(-7, 7, 29)
    vectors = np.zeros((29, 3))
    vectors[:, "xyz".index(axis)] = angles
    np.testing.assert_allclose(from_axis_angle(vectors), about(axis, angles), atol=1e-12)


@given(vectors)
def test_a_rotation_keeps_lengths_and_its_own_axis(vector):
    turn = from_axis_angle(vector)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(turn) == pytest.approx(1)
    np.testing.assert_allclose(turn @ vector, vector, atol=1e-9)


@given(vectors)
def test_axis_angle_comes_back_from_matrices_as_the_same_rotation(vector):
    turn = from_axis_angle(vector)
    back = to_axis_angle(turn)
    assert np.linalg.norm(back) <= np.pi + 1e-6
    np.testing.assert_allclose(from_axis_angle(back), turn, atol=1e-6)
    np.testing.assert_allclose(matrices(quaternions(turn)), turn, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-12, 1e-6, 1e-3])
def test_small_turns_lose_nothing(size):
    vector = np.array((0.0, size, 0.0))
    np.testing.assert_allclose(to_axis_angle(from_axis_angle(vector)), vector, rtol=1e-6)
    assert from_axis_angle(vector)[0, 2] == pytest.approx(size, rel=1e-6)


def test_shapes_before_the_last_axis_stay():
    assert from_axis_angle(np.zeros((2, 5, 3), np.float32)).shape == (2, 5, 3, 3)
    assert from_axis_angle(np.zeros((0, 3))).shape == (0, 3, 3)
    assert to_axis_angle(np.broadcast_to(np.eye(3), (4, 1, 3, 3))).shape == (4, 1, 3)
