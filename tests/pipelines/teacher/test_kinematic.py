from collections import Counter
from dataclasses import replace

import pytest

from pipelines.teacher.kinematic import write_chain
from skeletonllm.reasoning.chain import chain_text
from skeletonllm.reasoning.free_text import check_text
from skeletonllm.reasoning.leak import leaked_words
from skeletonllm.reasoning.signals import measure_signals
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.performers import CONFUSABLE, perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.makers import make_clip
from tests.skeletonllm.reasoning.movements import performances, standing

CLIPS = performances()


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


def test_stillness_is_told_of_a_part_that_is_seen():
    clip = standing()
    hidden = [joint for joint, part in enumerate(clip.topology.parts) if part not in ("wrist", "elbow", "shoulder")]
    confidence, positions = clip.confidence.copy(), clip.positions.copy()
    confidence[:, :40, hidden] = positions[:, :40, hidden] = 0
    half_seen = replace(clip, confidence=confidence, positions=positions)
    chain = write_chain(half_seen, "stand")
    assert all(step.predicate == "holds still" for step in chain.steps)


def test_a_summary_tells_whether_a_part_comes_back():
    squat = [write_chain(perform("squat", performer, 0, 0, fps=30.0), "other").summary for performer in range(4)]
    sit = [write_chain(perform("sit down", performer, 0, 0, fps=30.0), "other").summary for performer in range(4)]
    assert not any("stays there" in text or "remains there" in text or "not come back" in text for text in squat)
    assert not any("comes back" in text or "returns" in text for text in sit)


def test_what_a_summary_says_is_measured_to_be_true():
    counts = Counter()
    for clip in CLIPS:
        for checked in check_text(write_chain(clip, clip.action).summary, measure_signals(clip)):
            counts.update(verdict.verdict for verdict in checked.verdicts)
    assert counts["contradicted"] <= 0.03 * counts.total(), counts
    assert counts["supported"] >= 0.85 * counts.total(), counts
