import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from skeletonllm.evaluate.saliency import Explanation, explain_answer
from skeletonllm.evaluate.saliency.page import numbers_of, page_of, summary_of, write_page
from tests.skeletonllm.render.bodies import waving
from tests.students import ACTIONS, SMALL, tiny_student


@pytest.fixture(scope="module")
def explanation() -> Explanation:
    student = tiny_student(render=replace(SMALL, num_frames=3, gaussians_per_bone=2)).eval()
    return explain_answer(student, waving(), ACTIONS, random_orders=2)


def test_the_page_shows_answers_map_curve_and_player_and_fetches_nothing(explanation, tmp_path) -> None:
    write_page(explanation, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text()
    tags = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            assert not {"src", "href"} & {name for name, _ in attrs}

    Parser().feed(page)
    joints = waving().topology.num_joints
    assert tags.count("rect") == 3 * joints
    assert tags.count("polyline") == 2 + 2
    assert tags.count("iframe") == 1
    assert not re.search(r"https?://", page)
    for name in ACTIONS:
        assert name in page


def test_names_that_would_break_out_of_the_page_do_not(explanation) -> None:
    hostile = "</script><script>alert(1)</script>"
    clip = replace(explanation.clip, clip_id=hostile, action=hostile)
    page = page_of(replace(explanation, clip=clip, answer=hostile))
    assert "<script" not in page
    assert "alert(1)" in page


def test_the_numbers_can_be_read_back(explanation) -> None:
    plain = json.loads(numbers_of(explanation))
    assert plain["answer"] == explanation.answer
    assert len(plain["saliency"][0]) == 3
    assert plain["deletion"]["area"] == explanation.deletion.area


def test_the_summary_names_the_answer_the_joints_and_both_tests(explanation) -> None:
    text = summary_of(explanation)
    assert f"why {explanation.answer!r} and not {explanation.against!r}" in text
    assert text.count("most at") == 5
    assert "in random order" in text
    assert re.search(r"difference [+-]\d+\.\d points", text)
    assert re.search(r"shuffled weights .*: renderer [+-]\d", text)
