import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.reasoning.free_text import check_text, read_claims
from skeletonllm.reasoning.signals import measure_signals
from skeletonllm.skeleton.performers import perform
from tests.skeletonllm.reasoning.movements import ramp, standing, with_move

RAISED = measure_signals(with_move(standing(), "wrist", "left", (0, 0.5, 0), ramp(20, 40)))


def claims(text, num_frames=60, fps=30.0):
    return [
        (step.part, step.side, step.predicate)
        for claim in read_claims(text, num_frames, fps)
        for step in claim.steps
    ]  # fmt: skip


def verdicts(text, signals=RAISED):
    return [verdict.verdict for checked in check_text(text, signals) for verdict in checked.verdicts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the left hand rises", [("wrist", "left", "raises")]),
        ("The LEFT arm is lifted.", [("wrist", "left", "raises")]),
        ("both feet go back", [("ankle", "both", "moves back")]),
        ("the left and right leg bend", [("knee", "both", "flexes")]),
        ("she bends forward", [("spine", "center", "bends"), ("pelvis", "center", "moves forward")]),
        ("the trunk leans over and comes upright", [("spine", "center", "bends"), ("spine", "center", "straightens")]),
        ("a person turns to the left", [("pelvis", "center", "turns left")]),
        ("the body sinks", [("pelvis", "center", "lowers")]),
        ("both hands come together", [("wrist", "both", "approaches")]),
        ("the two persons move apart", [("pelvis", "both", "leaves")]),
        ("the right hand swings to and fro", [("wrist", "right", "swings")]),
        ("the right hand goes to and fro and is lowered", [("wrist", "right", "swings"), ("wrist", "right", "lowers")]),
        ("the right hand is above the head", [("wrist", "right", "is above the head")]),
        ("the right hand stays still", [("wrist", "right", "holds still")]),
        ("the left foot goes first", [("ankle", "left", "leads")]),
        ("the left arm straightens", [("elbow", "left", "extends")]),
    ],
)
def test_parts_sides_and_verbs_are_read(text, expected):
    assert claims(text) == expected


def test_a_person_waves_with_either_hand_and_turns_with_the_whole_body():
    waves, turns = read_claims("the person waves, then turns left", 100, 30.0)
    assert [(step.part, step.predicate) for step in (*waves.steps, *turns.steps)] == [
        ("wrist", "swings"),
        ("pelvis", "turns left"),
    ]
    assert (waves.either, turns.either) == (True, False)


def test_each_clause_is_a_claim_with_its_frames():
    first, second = read_claims(
        "in frames 20 to 80 the right hand is raised to the mouth, while the left arm bends", 100, 30.0
    )
    assert [(s.predicate, s.side, s.first_frame, s.last_frame) for s in first.steps] == [
        ("raises", "right", 20, 80),
        ("is at the head", "right", 70, 80),
    ]
    assert [(s.predicate, s.side, s.first_frame, s.last_frame) for s in second.steps] == [("flexes", "left", 20, 80)]


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("between frames 5 and 9 the left hand rises", (5, 9)),
        ("the left hand rises in frames 5-9", (5, 9)),
        ("from 0.5 s to 1.5 s the left hand rises", (15, 45)),
        ("at the end the left hand rises", (38, 59)),
        ("in the first half the left hand rises", (0, 30)),
    ],
)
def test_times_are_read(text, frames):
    (claim,) = read_claims(text, 60, 30.0)
    assert (claim.steps[0].first_frame, claim.steps[0].last_frame) == frames
    assert not claim.anytime


def test_what_follows_speaks_of_the_same_part():
    text = "The right hand rises. Then it swings to and fro and comes forward."
    assert claims(text) == [("wrist", "right", verb) for verb in ("raises", "swings", "moves forward")]


def test_coming_back_undoes_what_was_said_before():
    assert claims("The left hand rises and comes back.") == [("wrist", "left", "raises"), ("wrist", "left", "lowers")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("The left hand rises.", ["supported"]),
        ("The right hand rises.", ["contradicted"]),
        ("In frames 20 to 40 the left hand is lifted.", ["supported"]),
        ("In frames 41 to 58 the left hand is lifted.", ["contradicted"]),
        ("In frames 20 to 400 the left hand is lifted.", ["contradicted"]),
        ("A hand rises.", ["supported"]),
        ("A hand sinks.", ["contradicted"]),
        ("The second person's left hand rises.", ["contradicted"]),
        ("The body turns left.", ["contradicted"]),
        ("The left hand does not rise.", ["not measurable"]),
        ("The sky is blue.", ["not measurable"]),
        ("The left hand thinks.", ["not measurable"]),
    ],
)
def test_claims_are_measured_and_what_cannot_be_read_is_not_guessed(text, said):
    assert verdicts(text) == said


def test_words_that_are_not_understood_are_told():
    (claim,) = read_claims("The left hand joyfully rises 3 times", 60, 30.0)
    assert set(claim.unread) == {"joyfully", "3", "times"}


def test_two_persons_are_told_apart():
    signals = measure_signals(perform("push", 0, 0, 0, fps=30.0))
    assert verdicts("The second person's body goes back.", signals) == ["supported"]
    assert verdicts("The persons come apart.", signals) == ["supported"]


WORDS = (
    "the left right both hand hands arm foot body trunk rises sinks bends back and while then in frames 3 to 9 , . not"
)


@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS.split()), max_size=14).map(" ".join))
def test_any_text_is_read_without_a_fault(text):
    for checked in check_text(text, RAISED):
        assert len(checked.verdicts) == max(1, len(checked.claim.steps))
