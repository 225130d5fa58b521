import itertools
from dataclasses import replace

import numpy as np
import pytest

from skeletonllm.evaluate.saliency import Explanation, explain_answer
from skeletonllm.evaluate.saliency.drawing import STRIP_HEIGHT, STRIP_WIDTH, color_of, map_of, strip_of
from tests.makers import make_clip
from tests.skeletonllm.render.bodies import waving
from tests.students import ACTIONS, SMALL, tiny_student


def explained(clip) -> Explanation:
    student = tiny_student(render=replace(SMALL, num_frames=3, gaussians_per_bone=2)).eval()
    return explain_answer(student, clip, ACTIONS, random_orders=1)


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    return explained(waving())


def test_the_map_has_a_row_per_joint_and_person_limb_by_limb(explanation) -> None:
    topology = waving().topology
    names = [line.name for line in map_of(explanation).lines]
    assert sorted(names) == sorted(topology.joint_names)
    side = [topology.sides[topology.joint_names.index(name)] for name in names]
    part = [topology.parts[topology.joint_names.index(name)] for name in names]
    arms = [one for one, other in zip(side, part, strict=True) if other in ("shoulder", "elbow", "wrist", "hand")]
    assert [one for one, before in zip(arms, ["", *arms], strict=False) if one != before] == ["left", "right"]
    two = explained(make_clip(num_persons=2))
    assert len(map_of(two).lines) == 2 * two.clip.topology.num_joints
    ys = [line.y for line in map_of(two).lines]
    assert ys == sorted(ys)


def test_every_joint_that_is_seen_stands_inside_the_strip_the_head_above_the_feet(explanation) -> None:
    moments = strip_of(explanation)
    assert [moment.label for moment in moments] == [f"{time:.1f} s" for time in explanation.times_s]
    for moment in moments:
        assert len(moment.dots) == waving().topology.num_joints
        assert all(0 < dot.x < STRIP_WIDTH and 0 < dot.y < STRIP_HEIGHT for dot in moment.dots)
        height = {dot.text.split(" at ")[0].lower(): dot.y for dot in moment.dots}
        head = min(y for name, y in height.items() if "head" in name)
        assert head < min(y for name, y in height.items() if "foot" in name)


def test_two_persons_have_room_beside_each_other() -> None:
    explanation = explained(make_clip(num_persons=2))
    moments = strip_of(replace(explanation, **_longer(explanation, 8)))
    assert len(moments) == 4
    spans = [(min(dot.x for dot in moment.dots), max(dot.x for dot in moment.dots)) for moment in moments]
    assert all(right < left for (_, right), (left, _) in itertools.pairwise(spans))


def test_the_moment_that_matters_most_is_shown_even_where_not_all_are(explanation) -> None:
    longer = _longer(explanation, 21)
    longer["saliency"][0, 13, 5] = 1000.0
    moments = strip_of(replace(explanation, **longer))
    assert len(moments) == 8
    assert "13.0 s" in [moment.label for moment in moments]


def _longer(explanation: Explanation, frames: int) -> dict:
    """The arrays of an explanation with its first frame again and again."""
    again = {name: np.repeat(getattr(explanation, name)[:, :1], frames, 1) for name in ("joints", "seen", "saliency")}
    pictures = np.repeat(explanation.frames[:1], frames, 0)
    return {**again, "frames": pictures, "times_s": tuple(float(frame) for frame in range(frames))}


def test_the_joint_that_matters_most_is_drawn_last_and_brightest(explanation) -> None:
    saliency = np.zeros_like(explanation.saliency)
    saliency[0, 1, 7] = 2.0
    moment = strip_of(replace(explanation, saliency=saliency))[1]
    assert moment.dots[-1].text.startswith(waving().topology.joint_names[7])
    assert moment.dots[-1].color == color_of(1.0)
    assert {dot.color for dot in moment.dots[:-1]} == {color_of(0.0)}


def test_what_is_not_seen_is_not_drawn(explanation) -> None:
    seen = explanation.seen.copy()
    seen[:, 0], seen[:, 1, 3] = False, False
    first, second, third = strip_of(replace(explanation, seen=seen))
    assert (first.dots, first.sticks) == ((), ())
    assert len(second.dots) == len(third.dots) - 1
    assert len(second.sticks) < len(third.sticks)
