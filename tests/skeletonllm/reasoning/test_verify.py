from dataclasses import replace

import pytest

from skeletonllm.reasoning.chain import ChainStep, ReasoningChain
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton.performers import perform
from tests.skeletonllm.reasoning.movements import ramp, standing, with_move

RAISED = with_move(standing(), "wrist", "left", (0, 0.5, 0), ramp(20, 40))
STEP = ChainStep(0, "wrist", "left", "raises", 18, 42, "one hand goes up")


def chain(*steps, answer="test", summary="A hand goes up."):
    return ReasoningChain("c0", summary, steps or (STEP,), answer, "teacher", "1")


def verdict(clip=RAISED, **changes):
    return verify_chain(chain(replace(STEP, **changes)), clip).step_verdicts[0]


def test_a_true_chain_is_accepted_with_what_was_measured():
    checked = verify_chain(chain(), RAISED)
    assert checked.verdict == "accepted"
    assert checked.reasons == ()
    assert checked.step_verdicts[0].verdict == "supported"
    assert "it changes by +0.3" in checked.step_verdicts[0].reason


@pytest.mark.parametrize(
    "changes",
    [
        {"predicate": "lowers"},
        {"side": "right"},
        {"side": "both"},
        {"part": "ankle"},
        {"predicate": "moves forward"},
        {"predicate": "swings"},
        {"predicate": "holds still"},
        {"first_frame": 45, "last_frame": 55},
        {"first_frame": 0, "last_frame": 15},
        {"last_frame": 60},
        {"first_frame": 30, "last_frame": 20},
        {"part": "pelvis", "side": "center"},
        {"part": "spine", "side": "center", "predicate": "bends"},
        {"part": "knee", "predicate": "flexes"},
        {"side": "both", "predicate": "approaches"},
        {"person": 1},
    ],
)
def test_a_false_claim_is_contradicted_and_its_chain_rejected(changes):
    assert verdict(**changes).verdict == "contradicted"
    checked = verify_chain(chain(STEP, replace(STEP, **changes)), RAISED)
    assert checked.verdict == "rejected"
    assert checked.reasons[0].startswith("step 1 (")


@pytest.mark.parametrize(
    "changes",
    [
        {"side": "center"},
        {"part": "wrist", "side": "left", "predicate": "approaches"},
        {"part": "neck", "side": "center", "predicate": "moves forward"},
    ],
)
def test_what_cannot_be_measured_is_neither_true_nor_false(changes):
    assert verdict(**changes).verdict == "not measurable"
    assert verify_chain(chain(STEP, replace(STEP, **changes)), RAISED).verdict == "accepted"


def test_a_chain_of_which_nothing_can_be_measured_is_rejected():
    checked = verify_chain(chain(replace(STEP, side="center")), RAISED)
    assert checked.reasons == ("no step is supported by the joints",)


def test_another_answer_is_rejected():
    assert "the clip shows 'test'" in verify_chain(chain(answer="kick"), RAISED).reasons[0]


def test_a_label_before_the_answer_is_rejected():
    clip = replace(RAISED, action="wave")
    for said in (
        chain(answer="wave", summary="A person is waving."),
        chain(replace(STEP, text="it waves"), answer="wave"),
    ):
        assert "given away" in verify_chain(said, clip).reasons[0]


def test_a_cause_may_not_come_after_its_effect():
    early = replace(STEP, first_frame=10, causes=(0,))
    assert any("as its cause" in reason for reason in verify_chain(chain(STEP, early), RAISED).reasons)


def test_a_slight_movement_of_the_claimed_side_does_not_hide_that_it_is_the_other_one():
    clip = with_move(RAISED, "wrist", "right", (0, 0.09, 0), ramp(20, 40))
    found = verdict(clip, side="right")
    assert found.verdict == "contradicted"
    assert "it is the left one" in found.reason


def test_a_flat_picture_refutes_no_angle_and_no_depth():
    clip = with_move(standing("coco_17"), "wrist", "left", (0, 0.5, 0), ramp(20, 40))
    assert verdict(clip).verdict == "supported"
    assert verdict(clip, predicate="lowers").verdict == "contradicted"
    for predicate in ("moves forward", "moves sideways", "flexes", "extends"):
        assert verdict(clip, predicate=predicate).verdict == "not measurable"


def test_a_clip_of_unknown_action_takes_any_answer():
    assert verify_chain(chain(answer="anything"), replace(RAISED, action=None)).verdict == "accepted"


def test_words_of_a_nearby_part_are_understood():
    clip = perform("bow", 0, 0, 0, fps=30.0)
    steps = [ChainStep(0, part, "center", "bends", 5, 30, "") for part in ("spine", "chest", "pelvis")]
    assert {v.verdict for v in verify_chain(chain(*steps, answer="bow"), clip).step_verdicts} == {"supported"}
