import re

from skeletonllm.evaluate.metrics import SeedMean
from skeletonllm.evaluate.report.dots import dots_page

SYSTEMS = [
    ("learned", SeedMean(0.6, 0.5, 0.7, (0.55, 0.65))),
    ("<fixed>", SeedMean(0.4, 0.3, 0.5, (0.4, 0.4))),
]


def page() -> str:
    return dots_page("A title", "told", SYSTEMS, 0.1, ["renderer", "accuracy"], [["learned", "60"], ["<fixed>", "40"]])


def test_a_better_system_stands_farther_to_the_right_and_chance_to_the_left_of_both() -> None:
    means = [float(x) for x in re.findall(r'class="mean" cx="([\d.]+)"', page())]
    (chance,) = (float(x) for x in re.findall(r'class="chance" x1="([\d.]+)"', page()))
    assert means[0] > means[1] > chance
    lows = [float(x) for x in re.findall(r'class="range" x1="([\d.]+)"', page())]
    assert all(low < mean for low, mean in zip(lows, means, strict=True))
    assert len(re.findall('class="seed"', page())) == 4


def test_the_page_is_whole_and_its_texts_are_escaped() -> None:
    assert "&lt;fixed&gt;" in page()
    assert "<fixed>" not in page()
    assert "<td>60</td>" in page()
    assert "http" not in page()
