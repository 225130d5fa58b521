import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import DataError
from skeletonllm.mining.kinematics import kinematic_strengths

ACTIONS = ("bow", "kick", "wave")


def clips_of(middles, num=30, spread=0.1, seed=0):
    """Clips around the middle of each action, and nothing missing."""
    rng = np.random.default_rng(seed)
    shown = [action for action in middles for _ in range(num)]
    values = np.array([middles[action] for action in shown], float)
    return shown, values + rng.normal(scale=spread, size=values.shape)


def strengths(shown, values, actions=ACTIONS, batch=1000):
    def read():
        return ((shown[at : at + batch], values[at : at + batch]) for at in range(0, len(shown), batch))

    return kinematic_strengths(read, actions)


NEAR = {"bow": (0, 0, 5), "kick": (1, 0, 5), "wave": (4, 4, 5)}


def test_actions_that_move_alike_are_closer():
    found = strengths(*clips_of(NEAR))
    assert found[0, 1] > 5 * found[0, 2]
    assert found[1, 0] == pytest.approx(found[0, 1])
    assert (np.diag(found) == 0).all()
    assert (found[~np.eye(3, dtype=bool)] > 0).all()


def test_what_varies_among_clips_of_one_action_tells_little():
    shown, values = clips_of({"bow": (0, 0), "kick": (1, 0), "wave": (0, 1)})
    values[:, 0] += np.random.default_rng(1).normal(scale=3, size=len(values))
    found = strengths(shown, values)
    assert found[0, 1] > 3 * found[0, 2]


def test_what_is_said_twice_counts_little_more_than_once():
    shown, values = clips_of({"bow": (0, 0), "kick": (1, 0), "wave": (0, 1)}, num=400, spread=0.5)
    once = strengths(shown, values)
    many = strengths(shown, np.concatenate([values, *[values[:, :1]] * 9], axis=1))
    assert once[0, 1] / once[0, 2] == pytest.approx(1, abs=0.2)
    assert many[0, 1] / many[0, 2] > 1 / 2  # 1/10 if each counted


@settings(max_examples=30)
@given(st.integers(0, 100), st.integers(1, 40))
def test_batches_units_and_the_order_of_the_actions_do_not_matter(seed, batch):
    shown, values = clips_of(NEAR, num=8, spread=1.0, seed=seed)
    values[::5, 1] = np.nan
    whole = strengths(shown, values)
    np.testing.assert_allclose(strengths(shown, values, batch=batch), whole, rtol=1e-6)
    np.testing.assert_allclose(strengths(shown, values * (1, 1000, 0.001) + 7), whole, rtol=1e-4)
    turned = strengths(shown, values, actions=ACTIONS[::-1])
    np.testing.assert_allclose(turned[::-1, ::-1], whole, rtol=1e-6)


def test_a_statistic_that_an_action_lacks_is_no_difference_and_one_without_meaning_does_no_harm():
    shown, values = clips_of(NEAR)
    lacking = values.copy()
    lacking[[action == "wave" for action in shown], 0] = np.nan
    assert strengths(shown, lacking)[0, 2] > strengths(shown, values)[0, 2]
    empty = np.concatenate([values, np.full((len(values), 1), np.nan), np.ones((len(values), 1))], axis=1)
    np.testing.assert_allclose(strengths(shown, empty), strengths(shown, values), rtol=1e-9)


def test_an_action_without_clips_is_close_to_nothing_and_equal_ones_stay_finite():
    found = strengths(["bow", "kick", "kick"], np.ones((3, 4)))
    assert found[0, 1] > 0
    assert np.isfinite(found).all()
    assert not found[2].any()
    assert not found[:, 2].any()


def test_a_clip_of_an_action_that_is_not_compared_is_refused():
    with pytest.raises(DataError, match="fly"):
        strengths(["bow", "fly"], np.ones((2, 3)))
