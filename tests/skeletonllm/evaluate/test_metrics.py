import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.errors import DataError
from skeletonllm.evaluate.metrics import (
    accuracy,
    balanced_accuracy,
    compare,
    compare_seeds,
    confusion_matrix,
    mcnemar_p,
    mean_over_seeds,
    recalls,
    wilson_interval,
)

ACTIONS = ("bow", "kick", "wave")
answers = st.lists(st.tuples(st.sampled_from(ACTIONS), st.sampled_from(ACTIONS)), max_size=60)
verdicts = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


def flags(text):
    return [letter == "1" for letter in text]


# Values of statsmodels.stats.proportion.proportion_confint(..., method="wilson") and of the formula by hand.
@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    [(8, 10, 0.490162, 0.943318), (0, 10, 0.0, 0.277533), (10, 10, 0.722467, 1.0), (50, 100, 0.403832, 0.596168)],
)
def test_wilsons_interval_has_the_reference_values(right, total, low, high):
    assert wilson_interval(right, total) == pytest.approx((low, high), abs=1e-6)


def test_nothing_counted_is_anything():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 400).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_the_interval_holds_the_share_and_mirrors(counts):
    right, total = counts
    low, high = wilson_interval(right, total)
    assert 0 <= low <= right / total <= high <= 1
    assert wilson_interval(total - right, total) == pytest.approx((1 - high, 1 - low))


@given(st.integers(1, 50), st.integers(2, 40))
def test_more_clips_make_the_interval_narrower(right, times):
    total = 2 * right
    low, high = wilson_interval(right, total)
    low_more, high_more = wilson_interval(times * right, times * total)
    assert high_more - low_more < high - low


def test_accuracy_says_how_far_above_chance_it_is():
    found = accuracy(["bow"] * 8 + ["kick"] * 2, ["bow"] * 10, num_candidates=4)
    assert (found.right, found.total, found.value, found.chance, found.times_chance) == (8, 10, 0.8, 0.25, 3.2)
    assert found.above_chance
    assert not accuracy(["bow"], ["bow"], num_candidates=4).above_chance


def test_accuracy_of_nothing_is_zero_with_the_widest_interval():
    found = accuracy([], [], num_candidates=4)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 1.0)


def test_accuracy_needs_candidates():
    with pytest.raises(DataError, match="0 candidates"):
        accuracy([], [], num_candidates=0)


def test_rows_of_the_confusion_matrix_are_true_actions():
    matrix = confusion_matrix(["bow", "bow", "kick"], ["bow", "kick", "kick"], ACTIONS)
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_an_action_that_is_no_candidate_is_named():
    with pytest.raises(DataError, match="fly"):
        confusion_matrix(["fly"], ["bow"], ACTIONS)


@given(answers)
def test_matrix_recalls_and_accuracy_agree(pairs):
    true, answered = [a for a, _ in pairs], [b for _, b in pairs]
    matrix = confusion_matrix(true, answered, ACTIONS)
    assert matrix.sum() == len(pairs)
    assert matrix.trace() == accuracy(true, answered, 3).right
    counted = [true.count(action) for action in ACTIONS]
    rates = np.nan_to_num(recalls(matrix))
    assert (rates * counted).sum() == pytest.approx(matrix.trace())
    assert [bool(np.isnan(rate)) for rate in recalls(matrix)] == [count == 0 for count in counted]
    assert 0 <= balanced_accuracy(matrix) <= 1


def test_balanced_accuracy_counts_every_action_the_same():
    matrix = confusion_matrix(["bow"] * 9 + ["kick"], ["bow"] * 10, ACTIONS)
    assert balanced_accuracy(matrix) == pytest.approx(0.5)
    assert balanced_accuracy(np.zeros((3, 3), np.int64)) == 0.0


# Two-sided binomial test of min(b, c) among b + c at one half (scipy.stats.binomtest).
@pytest.mark.parametrize(
    ("only_one", "only_two", "p"), [(0, 0, 1.0), (1, 0, 1.0), (6, 0, 0.03125), (9, 1, 0.021484375), (5, 5, 1.0)]
)
def test_mcnemar_has_the_reference_values(only_one, only_two, p):
    one = [True] * only_one + [False] * only_two + [True] * 7
    two = [False] * only_one + [True] * only_two + [True] * 7
    assert mcnemar_p(one, two) == pytest.approx(p)


def test_mcnemar_bears_many_clips():
    assert 0 < mcnemar_p([True] * 2100 + [False] * 1900, [False] * 2100 + [True] * 1900) < 0.01


@given(verdicts)
def test_the_comparison_is_antisymmetric_and_holds_its_difference(pairs):
    one, two = [a for a, _ in pairs], [b for _, b in pairs]
    forth, back = compare(one, two, num_samples=500), compare(two, one, num_samples=500)
    assert forth.difference == pytest.approx(-back.difference)
    assert forth.p_value == back.p_value
    assert -1 <= forth.low <= forth.high <= 1
    assert forth.difference == pytest.approx(sum(one) / len(one) - sum(two) / len(two))


def test_the_same_answers_differ_by_nothing():
    found = compare([True, False, True], [True, False, True])
    assert (found.difference, found.low, found.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_bootstrap_depends_on_its_seed_alone_and_covers_what_the_formula_says():
    one, two = flags("1" * 70 + "0" * 30), flags("1" * 45 + "0" * 55)
    found = compare(one, two, seed=3)
    assert found == compare(one, two, seed=3)
    # Standard error of a mean of 25 ones among 100: sqrt(.25 * .75 / 100) = 0.0433.
    assert (found.low, found.high) == pytest.approx((0.25 - 1.96 * 0.0433, 0.25 + 1.96 * 0.0433), abs=0.015)
    assert (found.only_first, found.only_second, found.total) == (25, 0, 100)


def test_a_comparison_of_nothing_is_undecided():
    found = compare([], [])
    assert (found.difference, found.p_value, found.low, found.high) == (0.0, 1.0, -1.0, 1.0)


def test_a_comparison_needs_the_same_clips():
    with pytest.raises(DataError, match="2 and 1"):
        compare([True, False], [True])


def test_a_mean_over_seeds_has_an_interval_that_narrows_with_clips_and_holds_the_mean():
    rng = np.random.default_rng(0)
    widths = []
    for clips in (30, 3000):
        right = rng.random((3, clips)) < 0.7
        found = mean_over_seeds(right)
        assert found.low <= found.mean <= found.high
        assert found.mean == pytest.approx(right.mean())
        assert found.each == pytest.approx(right.mean(1))
        widths.append(found.high - found.low)
    assert widths[1] < 0.3 * widths[0]


def test_seeds_that_differ_widen_the_interval():
    clips = np.arange(1000)
    same = np.stack([clips % 2 == 0] * 3)
    differing = np.stack([clips % 10 < share for share in (2, 5, 8)])
    narrow, wide = mean_over_seeds(same), mean_over_seeds(differing)
    assert narrow.mean == wide.mean == 0.5
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)


def test_two_systems_that_err_on_the_same_clips_do_not_differ():
    right = np.random.default_rng(0).random((2, 200)) < 0.6
    none = compare_seeds(right, right)
    assert (none.mean, none.low, none.high) == (0, 0, 0)
    better = compare_seeds(np.ones_like(right), right)
    assert better.low > 0.3
    with pytest.raises(DataError, match=r"\(2, 200\) and \(2, 199\)"):
        compare_seeds(right, right[:, 1:])


def test_a_mean_over_no_clips_is_unknown():
    found = mean_over_seeds(np.zeros((2, 0), bool))
    assert (found.low, found.high) == (-1, 1)
