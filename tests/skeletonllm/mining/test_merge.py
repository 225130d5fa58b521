from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError
from skeletonllm.mining.merge import EVIDENCE_KINDS, ConfusablePair, Weights, merge_evidence, named_strengths
from skeletonllm.plain import from_plain, to_plain

ACTIONS = ("wave", "bow", "sit", "kick")
SIZE = len(ACTIONS)
OTHERS = ~np.eye(SIZE, dtype=bool)


SOME = st.sets(st.sampled_from(EVIDENCE_KINDS), min_size=1)


@st.composite
def strengths(draw, kinds=SOME):
    """Of some kinds, on scales of their own; a row of zeros does not speak."""
    numbers = st.one_of(st.just(0.0), st.floats(1e-3, 1e3))
    cells = st.lists(numbers, min_size=SIZE**2, max_size=SIZE**2)
    scales = st.sampled_from((1e-9, 1.0, 1e6))
    return {kind: np.array(draw(cells)).reshape(SIZE, SIZE) * draw(scales) for kind in sorted(draw(kinds))}


def scores(pairs):
    return {(pair.action, pair.confused_with): pair.score for pair in pairs}


def merged(evidence, actions=ACTIONS, weights=None, top_k=SIZE):
    return merge_evidence(actions, evidence, weights=weights, top_k=top_k)


@settings(max_examples=40)
@given(strengths(), st.integers(1, 5))
def test_shares_are_on_one_scale_and_the_strongest_partner_comes_first(evidence, top_k):
    pairs = merged(evidence)
    for action in ACTIONS:
        own = [pair for pair in pairs if pair.action == action]
        assert [pair.score for pair in own] == sorted((pair.score for pair in own), reverse=True)
        assert all(pair.confused_with in set(ACTIONS) - {action} for pair in own)
        for kind in EVIDENCE_KINDS:
            spoken = [getattr(pair, kind) for pair in own]
            if any(share is not None for share in spoken):
                assert sum(spoken) == pytest.approx(1)
                assert all(kind in pair.evidence for pair in own)
            else:
                assert all(kind not in pair.evidence for pair in own)
        assert [pair for pair in merged(evidence, top_k=top_k) if pair.action == action] == own[:top_k]
    assert all(0 < pair.score <= 1 for pair in pairs)


@settings(max_examples=40)
@given(strengths(), st.data())
def test_a_larger_strength_never_lowers_a_pairs_score(evidence, data):
    kind = data.draw(st.sampled_from(sorted(evidence)))
    row, column = data.draw(st.sampled_from([tuple(place) for place in np.argwhere(OTHERS)]))
    more = {name: values.copy() for name, values in evidence.items()}
    more[kind][row, column] = evidence[kind][row, column] * 3 + 1
    before, after = (scores(merged(each)).get((ACTIONS[row], ACTIONS[column]), 0.0) for each in (evidence, more))
    assert after >= before - 1e-9


@settings(max_examples=40)
@given(strengths(kinds=st.just(set(EVIDENCE_KINDS))), st.sampled_from(EVIDENCE_KINDS))
def test_another_kind_that_speaks_never_lowers_a_score(evidence, late):
    early = scores(merged({kind: values for kind, values in evidence.items() if kind != late}))
    for pair, score in scores(merged(evidence)).items():
        assert score >= early.get(pair, 0.0) - 1e-9


@settings(max_examples=40)
@given(strengths(), st.permutations(range(SIZE)))
def test_the_order_of_the_actions_does_not_matter(evidence, order):
    turned = {kind: values[order][:, order] for kind, values in evidence.items()}
    one, two = merged(evidence), merged(turned, actions=[ACTIONS[place] for place in order])
    assert scores(one) == pytest.approx(scores(two))
    assert merged(evidence) == one


@settings(max_examples=40)
@given(strengths(), st.floats(1e-3, 1e3))
def test_the_scale_of_a_kind_does_not_matter(evidence, factor):
    scaled = {kind: values * factor for kind, values in evidence.items()}
    assert scores(merged(scaled)) == pytest.approx(scores(merged(evidence)))


def test_what_no_kind_names_is_left_out_and_what_none_speaks_of_has_no_partners():
    named = merged({"teacher": named_strengths({"wave": ["kick", "bow"]}, ACTIONS)})
    assert [(pair.action, pair.confused_with) for pair in named] == [("wave", "kick"), ("wave", "bow")]
    assert [pair.score for pair in named] == pytest.approx([2 / 3, 1 / 3])
    assert named[0] == ConfusablePair("wave", "kick", named[0].score, teacher=named[0].teacher, evidence="teacher")
    assert merged({}) == merged({"student": np.zeros((SIZE, SIZE))}) == []


def test_equal_scores_come_in_the_order_of_the_names():
    pairs = merged({"student": np.ones((SIZE, SIZE))})
    assert [pair.confused_with for pair in pairs if pair.action == "wave"] == ["bow", "kick", "sit"]


def test_a_score_is_the_chance_that_one_kind_takes_it_so_and_a_weight_lessens_it():
    evidence = {"student": np.zeros((SIZE, SIZE)), "kinematics": np.zeros((SIZE, SIZE))}
    evidence["student"][0] = (9, 1, 3, 0)  # the diagonal does not count
    evidence["kinematics"][0] = (0, 2, 0, 2)
    pairs = scores(merged(evidence))
    assert pairs["wave", "bow"] == pytest.approx(1 - (1 - 1 / 4) * (1 - 1 / 2))
    assert pairs["wave", "sit"] == pytest.approx(3 / 4)
    halved = merged(evidence, weights=Weights(kinematics=0.5))
    assert scores(halved)["wave", "bow"] == pytest.approx(1 - (1 - 1 / 4) * (1 - 1 / 4))
    assert halved[1].kinematics == 0.5
    shown = merged(evidence, weights=Weights(kinematics=0.0))
    assert ("wave", "kick") not in scores(shown)


def test_the_student_s_errors_are_told_where_it_spoke():
    evidence = {"student": np.zeros((SIZE, SIZE)), "kinematics": OTHERS * 1.0}
    evidence["student"][0, 1] = 1
    mistaken = np.zeros((SIZE, SIZE), np.int64)
    mistaken[0, 1] = 7
    pairs = merge_evidence(ACTIONS, evidence, mistaken)
    assert (pairs[0].confused_with, pairs[0].mistaken) == ("bow", 7)
    assert {pair.mistaken for pair in pairs if pair.action != "wave"} == {None}


def test_a_pair_survives_plain_values_and_refuses_strange_ones():
    pair = ConfusablePair("bow", "sit", 0.25, student=0.25, mistaken=3)
    assert from_plain(ConfusablePair, to_plain(pair), "pair") == pair
    assert from_plain(ConfusablePair, to_plain(replace(pair, mistaken=None)), "pair").mistaken is None
    with pytest.raises(ConfigError, match="unknown keys"):
        from_plain(ConfusablePair, {**to_plain(pair), "weight": 1.0}, "pair")


@pytest.mark.parametrize(
    ("actions", "top_k", "message"), [(ACTIONS, 0, "top_k is 0"), (("bow", "bow", "sit", "kick"), 3, "twice")]
)
def test_what_cannot_be_merged_says_what_is_wrong(actions, top_k, message):
    with pytest.raises(ConfigError, match=message):
        merge_evidence(actions, {"student": np.ones((SIZE, SIZE))}, None, None, top_k)


def test_a_weight_is_a_share():
    with pytest.raises(ConfigError, match=r"teacher is -1.0, must be from 0 to 1"):
        Weights(teacher=-1.0)
