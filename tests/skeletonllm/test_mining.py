import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.mining import ConfusablePair, mine_pairs
from skeletonllm.plain import from_plain, to_plain

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


def score_of(pairs, action, other):
    return next(pair.score for pair in pairs if (pair.action, pair.confused_with) == (action, other))


def test_the_stronger_confusion_comes_first():
    pairs = mine_pairs(["bow", "bow"], log_likelihoods([0.5, 0.1, 0.3, 0.1], [0.6, 0.1, 0.2, 0.1]), ACTIONS, top_k=2)
    assert [pair.confused_with for pair in pairs if pair.action == "bow"] == ["sit", "kick"]


def test_the_score_is_the_mean_of_probability_and_share_of_errors():
    scores = log_likelihoods([0.2, 0.7, 0.05, 0.05], [0.6, 0.2, 0.1, 0.1])
    pair = mine_pairs(["bow", "bow"], scores, ACTIONS)[0]
    assert (pair.action, pair.confused_with, pair.count) == ("bow", "kick", 1)
    assert pair.score == pytest.approx(((0.7 + 0.2) / 2 + 1 / 2) / 2)


def test_pairs_are_directed():
    scores = log_likelihoods([0.1, 0.7, 0.1, 0.1], [0.01, 0.97, 0.01, 0.01])
    pairs = mine_pairs(["bow", "kick"], scores, ACTIONS)
    assert score_of(pairs, "bow", "kick") > 0.8
    assert score_of(pairs, "kick", "bow") < 0.01


def test_an_action_without_clips_gets_those_that_are_taken_for_it():
    pairs = mine_pairs(["bow", "kick"], log_likelihoods([0.3, 0.1, 0.1, 0.5], [0.1, 0.8, 0.05, 0.05]), ACTIONS, top_k=1)
    wave = next(pair for pair in pairs if pair.action == "wave")
    assert (wave.confused_with, wave.count, wave.evidence) == ("bow", 1, "student, reversed")


def test_one_candidate_has_no_pairs_and_no_clips_give_zero_scores():
    assert mine_pairs(["bow"], np.zeros((1, 1)), ("bow",)) == []
    empty = mine_pairs([], np.zeros((0, 4)), ACTIONS, top_k=1)
    assert [pair.action for pair in empty] == list(ACTIONS)
    assert {pair.score for pair in empty} == {0.0}


@given(asked(), st.integers(1, 5))
def test_every_action_gets_a_partner_that_is_another_and_scores_stay_in_range(clips, top_k):
    pairs = mine_pairs(*clips, ACTIONS, top_k=top_k)
    assert {pair.action for pair in pairs} == set(ACTIONS)
    for action in ACTIONS:
        own = [pair for pair in pairs if pair.action == action]
        assert len(own) == min(top_k, len(ACTIONS) - 1)
        assert [pair.score for pair in own] == sorted((pair.score for pair in own), reverse=True)
    assert all(pair.action != pair.confused_with and 0 <= pair.score <= 1 for pair in pairs)


@given(asked(), st.data())
def test_more_confusion_never_lowers_a_pairs_score(clips, data):
    true, scores = clips
    clip = data.draw(st.integers(0, len(true) - 1))
    other = data.draw(st.sampled_from([action for action in ACTIONS if action != true[clip]]))
    more = scores.copy()
    more[clip, ACTIONS.index(other)] += data.draw(st.floats(0, 5))
    before, after = (mine_pairs(true, each, ACTIONS, top_k=3) for each in (scores, more))
    assert score_of(after, true[clip], other) >= score_of(before, true[clip], other) - 1e-9


@given(asked(), st.randoms(use_true_random=False))
def test_the_order_of_the_clips_does_not_matter(clips, random):
    true, scores = clips
    order = list(range(len(true)))
    random.shuffle(order)
    one = mine_pairs(true, scores, ACTIONS)
    two = mine_pairs([true[n] for n in order], scores[order], ACTIONS)
    for action in ACTIONS:
        for other in set(ACTIONS) - {action}:
            assert score_of(one, action, other) == pytest.approx(score_of(two, action, other))


def test_a_pair_survives_plain_values_and_refuses_strange_ones():
    pair = ConfusablePair("bow", "sit", 0.25, 3)
    assert from_plain(ConfusablePair, to_plain(pair), "pair") == pair
    with pytest.raises(ConfigError, match="unknown keys"):
        from_plain(ConfusablePair, {**to_plain(pair), "weight": 1.0}, "pair")


@pytest.mark.parametrize(
    ("true", "scores", "candidates", "top_k", "message"),
    [
        (["fly"], np.zeros((1, 4)), ACTIONS, 3, "fly"),
        (["bow"], np.full((1, 4), np.nan), ACTIONS, 3, "1 of 1 clips"),
        (["bow"], np.zeros((2, 4)), ACTIONS, 3, r"\(2, 4\), must be \(1, 4\)"),
        (["bow"], np.zeros((1, 4)), ACTIONS, 0, "top_k is 0"),
        (["bow"], np.zeros((1, 2)), ("bow", "bow"), 1, "twice"),
    ],
)
def test_what_cannot_be_mined_says_what_is_wrong(true, scores, candidates, top_k, message):
    with pytest.raises((ConfigError, DataError), match=message):
        mine_pairs(true, scores, candidates, top_k=top_k)
