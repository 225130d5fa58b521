import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.mining.student import student_strengths

ACTIONS = ("bow", "kick", "sit", "wave")


def log_likelihoods(*rows):
    return np.log(np.array(rows, np.float64))


@st.composite
def asked(draw):
    """The true actions of some clips, and the scores of every candidate."""
    true = draw(st.lists(st.sampled_from(ACTIONS), min_size=1, max_size=12))
    numbers = st.floats(-8, 0, allow_subnormal=False)
    rows = [draw(st.lists(numbers, min_size=len(ACTIONS), max_size=len(ACTIONS))) for _ in true]
    return true, np.array(rows, np.float64)


def test_the_strength_is_the_mean_of_probability_and_share_of_errors():
    scores = log_likelihoods([0.2, 0.7, 0.05, 0.05], [0.6, 0.2, 0.1, 0.1])
    strengths, mistaken = student_strengths(["bow", "bow"], scores, ACTIONS)
    assert strengths[0, 1] == pytest.approx(((0.7 + 0.2) / 2 + 1 / 2) / 2)
    assert strengths[0, 2] == pytest.approx((0.05 + 0.1) / 2 / 2)
    assert mistaken[0].tolist() == [0, 1, 0, 0]


def test_strengths_are_directed_and_an_action_without_clips_has_none():
    scores = log_likelihoods([0.1, 0.7, 0.1, 0.1], [0.01, 0.97, 0.01, 0.01])
    strengths, _ = student_strengths(["bow", "kick"], scores, ACTIONS)
    assert strengths[0, 1] > 0.8
    assert strengths[1, 0] < 0.01
    assert not strengths[2:].any()
    assert not student_strengths([], np.zeros((0, 4)), ACTIONS)[0].any()


@settings(max_examples=40)
@given(asked(), st.data())
def test_more_confusion_never_lowers_a_strength(clips, data):
    true, scores = clips
    clip = data.draw(st.integers(0, len(true) - 1))
    other = data.draw(st.sampled_from([action for action in ACTIONS if action != true[clip]]))
    more = scores.copy()
    more[clip, ACTIONS.index(other)] += data.draw(st.floats(0, 5))
    place = ACTIONS.index(true[clip]), ACTIONS.index(other)
    before, after = (student_strengths(true, each, ACTIONS)[0][place] for each in (scores, more))
    assert after >= before - 1e-9


@settings(max_examples=40)
@given(asked(), st.randoms(use_true_random=False))
def test_the_order_of_clips_and_candidates_does_not_matter(clips, random):
    true, scores = clips
    assume(all(len(set(row)) == len(ACTIONS) for row in scores))  # of equal scores the first one wins
    rows, columns = list(range(len(true))), list(range(len(ACTIONS)))
    random.shuffle(rows)
    random.shuffle(columns)
    one, two = (
        student_strengths(true, scores, ACTIONS),
        student_strengths(
            [true[row] for row in rows], scores[rows][:, columns], [ACTIONS[column] for column in columns]
        ),
    )
    for before, after in zip(one, two, strict=True):
        np.testing.assert_allclose(before[columns][:, columns], after, atol=1e-12)


@pytest.mark.parametrize(
    ("true", "scores", "candidates", "message"),
    [
        (["fly"], np.zeros((1, 4)), ACTIONS, "fly"),
        (["bow"], np.full((1, 4), np.nan), ACTIONS, "1 of 1 clips"),
        (["bow"], np.zeros((2, 4)), ACTIONS, r"\(2, 4\), must be \(1, 4\)"),
        (["bow"], np.zeros((1, 2)), ("bow", "bow"), "twice"),
    ],
)
def test_what_cannot_be_mined_says_what_is_wrong(true, scores, candidates, message):
    with pytest.raises((ConfigError, DataError), match=message):
        student_strengths(true, scores, candidates)
