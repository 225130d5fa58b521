import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pipelines.teacher.kinematic import write_chain
from skeletonllm.reasoning.chain import ReasoningChain, chain_text
from skeletonllm.reasoning.leak import leaked_words
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.performers import CONFUSABLE, perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip
from tests.skeletonllm.reasoning.movements import performances, standing

CLIPS = performances()

OPPOSITE = {
    "raises": "lowers",
    "moves forward": "moves back",
    "extends": "flexes",
    "bends": "straightens",
    "approaches": "leaves",
}
OPPOSITE |= {value: key for key, value in OPPOSITE.items()}
OTHER = {"left": "right", "right": "left"}


def test_nearly_all_chains_are_accepted():
    verdicts = Counter(verify_chain(write_chain(clip, clip.action), clip).verdict for clip in CLIPS)
    assert verdicts["accepted"] >= 0.95 * len(CLIPS)


@pytest.mark.parametrize("topology", ["kinect_v1_20", "coco_17", "smpl_22"])
def test_chains_of_other_topologies_are_true_of_the_body_that_moved(topology):
    for clip in CLIPS:
        seen = sensors.convert(clip, TOPOLOGIES[topology])
        chain = verify_chain(write_chain(seen, clip.action), clip)
        assert not any(verdict.verdict == "contradicted" for verdict in chain.step_verdicts), chain.reasons


def test_the_wording_depends_on_the_clip_alone():
    clip = CLIPS[0]
    assert write_chain(clip, "wave") == write_chain(clip, "wave")
    texts = {write_chain(replace(clip, clip_id=f"c{n}"), "wave").summary for n in range(20)}
    assert len(texts) >= 5


def test_targets_are_short():
    lengths = sorted(len(chain_text(write_chain(clip, clip.action)).split()) for clip in CLIPS)
    assert lengths[len(lengths) // 2] <= 40
    assert lengths[-1] <= 60


def test_the_action_is_not_named_before_the_answer():
    for action in ("go up", "rise", "swing", "stretch out", "reach forward", "stays there", "comes back"):
        for clip in CLIPS[:6]:
            chain = write_chain(clip, action)
            for text in (chain.summary, *(step.text for step in chain.steps)):
                assert leaked_words(text, action) is None, chain


@pytest.mark.parametrize(("one", "two"), [tuple(pair) for pair in CONFUSABLE])
def test_chains_of_confusable_actions_differ(one, two):
    def claims(action: str) -> Counter:
        chains = [write_chain(perform(action, performer, 0, 0, fps=30.0), action) for performer in range(4)]
        return Counter(step.part + " " + step.predicate for chain in chains for step in chain.steps)

    first, second = claims(one), claims(two)
    shared = sum((first & second).values())
    assert shared <= 0.75 * min(first.total(), second.total())


def test_stillness_has_a_chain_too():
    chain = verify_chain(write_chain(standing(), "stand"), replace(standing(), action="stand"))
    assert chain.verdict == "accepted"
    assert chain.summary.startswith("The body ")


def test_a_clip_of_one_frame_has_a_chain():
    clip = make_clip(num_frames=1)
    assert write_chain(clip, "wave").steps


def mutations(chain: ReasoningChain, clip: Clip, rng: random.Random) -> Iterator[tuple[str, ReasoningChain]]:
    """False chains made of a true one."""
    steps, last = chain.steps, clip.num_frames - 1
    place = rng.randrange(len(steps))

    def changed(**changes: object) -> ReasoningChain:
        return replace(chain, steps=(*steps[:place], replace(steps[place], **changes), *steps[place + 1 :]))

    if steps[place].predicate in OPPOSITE:
        yield "opposite", changed(predicate=OPPOSITE[steps[place].predicate])
    swapped = [replace(step, side=OTHER.get(step.side, step.side)) for step in steps]
    if any(verdict.verdict == "supported" for verdict in _verdicts(swapped, chain, clip)) is False:
        yield "sides swapped", replace(chain, steps=tuple(swapped))
    yield (
        "reversed in time",
        replace(
            chain,
            steps=tuple(replace(s, first_frame=last - s.last_frame, last_frame=last - s.first_frame) for s in steps),
        ),
    )
    yield "outside the clip", changed(last_frame=last + 1)
    yield "leak", replace(chain, summary=f"{chain.summary} So it is {chain.answer}.")
    yield "leak in a step", changed(text=f"{steps[place].text} to {chain.answer}")
    yield "answer", replace(chain, answer="something else")


def _verdicts(steps, chain, clip):
    return verify_chain(replace(chain, steps=tuple(steps)), clip).step_verdicts


def test_mutated_chains_are_caught():
    rng = random.Random(0)
    made, caught = Counter(), Counter()
    for clip in CLIPS:
        for name, chain in mutations(write_chain(clip, clip.action), clip, rng):
            made[name] += 1
            caught[name] += verify_chain(chain, clip).verdict == "rejected"
    recall = {name: caught[name] / made[name] for name in made}
    for name in ("opposite", "outside the clip", "leak", "leak in a step", "answer"):
        assert recall[name] == 1, recall
    assert recall["reversed in time"] >= 0.9, recall
