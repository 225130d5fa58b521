import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError
from skeletonllm.evaluate.protocols import Protocol, Rule, hold_out, parse_rule
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.skeleton.clip import Source

names = st.lists(st.text("abcdefgh", min_size=1, max_size=4), min_size=2, max_size=12, unique=True)


def sources(*subjects, **changes):
    return [Source(**{"dataset": "made", "format": "ntu", "subject": subject, **changes}) for subject in subjects]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("camera=3", Rule("camera", ("3",))),
        ("subject=P001, P002", Rule("subject", ("P001", "P002"))),
        ("subject=20%", Rule("subject", share=0.2)),
        (" subject = P001,", Rule("subject", ("P001",))),
    ],
)
def test_a_rule_is_read(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize("text", ["", "camera", "camera=", "colour=red", "subject=0%", "subject=x%", "subject=100%"])
def test_what_is_no_rule_says_how_one_looks(text):
    with pytest.raises(ConfigError, match="hold-out rule"):
        parse_rule(text)


def test_camera_three_tests_and_the_others_train():
    views = [*sources("a", camera="1"), *sources("a", camera="2"), *sources("a", camera="3")]
    protocol = hold_out(views, parse_rule("camera=3"))
    assert [protocol.split_of(view) for view in views] == ["train", "train", "test"]


def test_a_held_out_format_is_in_neither_split():
    some = [*sources("a", "b"), *sources("a", "b", format="bvh")]
    protocol = hold_out(some, parse_rule("subject=b"), cross_format=("bvh",))
    assert [protocol.split_of(source) for source in some] == ["train", "test", "cross_format", "cross_format"]


@given(names, st.floats(0.05, 0.9), st.integers(0, 3))
def test_a_share_leaves_some_to_train_and_some_to_test_or_says_why_not(subjects, share, seed):
    some, rule = sources(*subjects), Rule("subject", share=share)
    if round(share * len(subjects)) == len(subjects):
        with pytest.raises(ConfigError, match="there are"):
            hold_out(some, rule, seed=seed)
        return
    protocol = hold_out(some, rule, seed=seed)
    assert {protocol.split_of(source) for source in some} == {"train", "test"}
    assert len(protocol.test) == max(1, round(share * len(subjects)))


@given(names, st.integers(1, 5), st.randoms(use_true_random=False))
def test_more_clips_of_known_subjects_and_their_order_move_nobody(subjects, times, random):
    rule = Rule("subject", share=0.4)
    more = sources(*subjects) * times + sources(*subjects)[:1]
    random.shuffle(more)
    assert hold_out(more, rule) == hold_out(sources(*subjects), rule)


def test_another_seed_holds_out_others():
    some = sources(*(f"P{number:03}" for number in range(30)))
    rule = parse_rule("subject=20%")
    assert len({hold_out(some, rule, seed=seed).test for seed in range(5)}) == 5


def test_unknown_subjects_train_under_a_share():
    some = [*sources("a", "b", "c"), *sources("")]
    protocol = hold_out(some, Rule("subject", share=0.9))
    assert protocol.split_of(some[-1]) == "train"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("subject=P999", "no clip has P999; there are P001, P002"),
        ("subject=P001,P999", "no clip has P999"),
        ("subject=P001,P002", "2 of 2 values would test.*P001, P002"),
        ("camera=20%", r"0 of 1 values would test.*\(unknown\)"),
    ],
)
def test_a_rule_that_leaves_a_split_empty_lists_the_values(rule, message):
    with pytest.raises(ConfigError, match=message):
        hold_out(sources("P001", "P002"), parse_rule(rule))


def test_a_cross_format_that_no_clip_has_is_an_error():
    with pytest.raises(ConfigError, match=r"cross-format \['bvh'\].*made, ntu"):
        hold_out(sources("a", "b"), parse_rule("subject=a"), cross_format=("bvh",))


def test_no_clips_at_all_is_an_error():
    with pytest.raises(ConfigError, match="there are none"):
        hold_out([], parse_rule("subject=20%"))


def test_a_long_list_of_values_is_cut():
    with pytest.raises(ConfigError, match="P019 and 30 more"):
        hold_out(sources(*(f"P{number:03}" for number in range(50))), parse_rule("subject=P999"))


def test_a_protocol_survives_plain_values_and_refuses_strange_ones():
    protocol = Protocol("subject", ("P001", "P002"), ("bvh",))
    assert from_plain(Protocol, to_plain(protocol), "protocol") == protocol
    assert protocol.name == "subject=P001,P002, never bvh"
    with pytest.raises(ConfigError, match="unknown keys"):
        from_plain(Protocol, {**to_plain(protocol), "train": []}, "protocol")
    with pytest.raises(ConfigError, match="colour"):
        Protocol("colour", ("red",))
    with pytest.raises(ConfigError, match="no subject tests"):
        Protocol("subject", ())
