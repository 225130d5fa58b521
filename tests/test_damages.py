import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pipelines.teacher.kinematic import write_chain
from skeletonllm.reasoning.chain import ChainStep
from skeletonllm.reasoning.signals import measure_signals
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.performers import ACTIONS, perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.damages import NAMES, blurred, damage, is_false
from tests.skeletonllm.reasoning.movements import ramp, standing, with_move


@pytest.fixture(scope="module")
def counts():
    made, found = Counter(), Counter()
    for number, action in enumerate(ACTIONS):
        for performer in (20, 22):
            rng = np.random.default_rng((number, performer))
            truth = sensors.convert(perform(action, performer, 0, 5, fps=30.0), TOPOLOGIES["kinect_v2_25"])
            seen = sensors.with_noise(truth, rng)
            chain, draw = write_chain(truth, action), random.Random(number)
            others = [("true", chain), ("blurred", blurred(chain, truth.num_frames, draw))]
            for name, other in [*others, *damage(chain, measure_signals(truth), draw)]:
                made[name] += 1
                found[name] += verify_chain(other, seen).verdict == "rejected"
    return made, found


def test_every_way_to_damage_a_chain_is_found(counts):
    made, found = counts
    assert set(made) == {"true", "blurred", *NAMES}
    assert sum(found[name] for name in NAMES) >= 0.95 * sum(made[name] for name in NAMES), (made, found)


def test_true_chains_and_slightly_wrong_frames_are_accepted(counts):
    made, found = counts
    assert found["true"] == 0
    assert found["blurred"] <= 0.04 * made["blurred"]


def test_what_stays_true_is_no_damage():
    one = with_move(standing(), "wrist", "left", (0, 0.5, 0), ramp(20, 40))
    both = measure_signals(with_move(one, "wrist", "right", (0, 0.5, 0), ramp(20, 40)))
    step = ChainStep(0, "wrist", "left", "raises", 20, 40, "")
    assert not is_false(replace(step, side="right"), both)
    assert is_false(replace(step, side="right"), measure_signals(one))
    assert is_false(replace(step, predicate="lowers"), both)
    assert not is_false(replace(step, part="knee", predicate="flexes"), measure_signals(standing("coco_17")))
