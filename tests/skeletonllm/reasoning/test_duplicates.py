from dataclasses import replace

from skeletonllm.reasoning.chain import ChainStep, ReasoningChain
from skeletonllm.reasoning.duplicates import Duplicates

STEPS = (
    ChainStep(0, "wrist", "right", "raises", 5, 20, "the right hand goes up to the side of the body"),
    ChainStep(0, "spine", "center", "bends", 10, 30, "the trunk leans over at the same time"),
)
CHAIN = ReasoningChain("c0", "The right hand rises while the trunk leans over slowly.", STEPS, "wave", "t", "1")


def chain(clip_id, **changes):
    return replace(CHAIN, clip_id=clip_id, **changes)


def test_the_same_said_of_another_action_is_told_with_the_clip_that_had_it():
    seen = Duplicates()
    assert seen.add(CHAIN) is None
    reason = seen.add(chain("c1", answer="bow"))
    assert reason is not None
    assert "c0" in reason
    assert "'wave'" in reason


def test_nearly_the_same_is_the_same():
    seen = Duplicates()
    seen.add(CHAIN)
    assert seen.add(chain("c1", answer="bow", summary=CHAIN.summary.replace("slowly", "gently")))


def test_chains_of_one_action_may_be_alike_and_are_counted():
    seen = Duplicates()
    assert [seen.add(chain(f"c{n}")) for n in range(20)] == [None] * 20
    assert seen.num_alike == 19


def test_a_word_that_changes_a_claim_makes_it_another_chain():
    seen = Duplicates()
    seen.add(CHAIN)
    lowered = replace(STEPS[0], predicate="lowers", text=STEPS[0].text.replace("up", "down"))
    assert seen.add(chain("c1", answer="bow", steps=(lowered, STEPS[1]))) is None


def test_other_words_for_the_same_claims_are_no_duplicate():
    seen = Duplicates()
    seen.add(CHAIN)
    steps = (replace(STEPS[0], text="it is lifted"), replace(STEPS[1], text="it tilts"))
    assert seen.add(chain("c1", answer="bow", summary="A tilt comes with a lifted hand.", steps=steps)) is None


def test_memory_is_flat():
    seen = Duplicates(most_kept=10)
    for number in range(50):
        steps = tuple(replace(step, person=number) for step in STEPS)
        seen.add(chain(f"c{number}", steps=steps))
        for _ in range(20):
            seen.add(chain("again", steps=steps, summary=f"Said otherwise {number} {_}."))
    assert len(seen._seen) <= 10
    assert all(len(kept) <= 8 for kept in seen._seen.values())
