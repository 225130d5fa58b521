import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.evaluate.report import Curve
from skeletonllm.evaluate.report.charts import (
    BOX,
    confusion_rows,
    draw_curve,
    fitting,
    nice_ticks,
    recall_bars,
    running_mean,
    top_confusions,
)
from skeletonllm.evaluate.report.table import spoken_time
from tests.skeletonllm.evaluate.report.samples import make_example, make_report, make_system

losses = st.lists(st.floats(0, 1e6, allow_subnormal=False), min_size=2, max_size=600)


def points(line):
    return [tuple(float(number) for number in point.split(",")) for point in line.split()]


@given(losses)
def test_a_curve_stays_in_its_box_from_the_first_to_the_last_step(values):
    drawn = draw_curve(Curve("stage", tuple(range(1, len(values) + 1)), tuple(values)))
    assert drawn is not None
    for line in (drawn.every, drawn.smooth):
        xs, ys = zip(*points(line), strict=True)
        assert (xs[0], xs[-1]) == (BOX["left"], BOX["right"])
        assert list(xs) == sorted(xs)
        assert all(BOX["top"] - 0.05 <= y <= BOX["bottom"] + 0.05 for y in ys)
        assert len(xs) < 500
    assert drawn.x_ticks[0][1] == "1"
    assert drawn.y_ticks[0] == (BOX["bottom"], "0")


def test_a_falling_loss_falls_on_the_page():
    drawn = draw_curve(Curve("stage", (1, 2, 3, 4), (4.0, 3.0, 2.0, 1.0)))
    assert drawn is not None
    heights = [y for _, y in points(drawn.every)]
    assert heights == sorted(heights)
    assert (drawn.first, drawn.last) == (4.0, 1.0)


@pytest.mark.parametrize("steps", [(), (1,), (3, 3)])
def test_a_curve_of_less_than_two_steps_is_not_drawn(steps):
    assert draw_curve(Curve("stage", steps, (1.0,) * len(steps))) is None


@given(losses)
def test_the_running_mean_stays_within_the_losses(values):
    smooth = running_mean(values)
    slack = 1e-6 * (1 + max(values))
    assert len(smooth) == len(values)
    assert min(values) - slack <= min(smooth)
    assert max(smooth) <= max(values) + slack


def test_the_running_mean_does_not_lag():
    assert running_mean([5.0] * 20) == pytest.approx([5.0] * 20)
    line = [float(number) for number in range(200)]
    assert running_mean(line) == pytest.approx(line)


@given(st.floats(1e-6, 1e6))
def test_ticks_are_few_and_reach_the_top(top):
    ticks = nice_ticks(top)
    assert ticks[0] == 0
    assert 3 <= len(ticks) <= 6
    assert ticks[-2] <= top * (1 + 1e-6)
    assert ticks[-1] >= top * (1 - 1e-6)


def test_ticks_are_round():
    assert nice_ticks(2.3) == [0.0, 1.0, 2.0, 3.0]
    assert nice_ticks(0.12) == [0.0, 0.05, 0.1, 0.15]
    assert nice_ticks(8.0) == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_rows_carry_shares_of_their_action():
    rows = confusion_rows(("bow", "kick"), ((3, 1), (0, 0)))
    assert [cell.share for cell in rows[0].cells] == [0.75, 0.25]
    assert (rows[0].recall, rows[0].total, rows[1].recall) == (0.75, 4, None)
    assert rows[0].cells[0].right
    assert not rows[0].cells[1].right


def test_the_most_frequent_mistake_comes_first_and_right_answers_are_none():
    found = top_confusions(("bow", "kick", "wave"), ((5, 1, 0), (0, 5, 3), (1, 0, 1)), limit=2)
    assert [(one.action, one.answered, one.count) for one in found] == [("kick", "wave", 3), ("wave", "bow", 1)]


def test_the_hardest_action_comes_first_and_actions_without_clips_are_left_out():
    matrix = ((4, 0, 0), (1, 1, 0), (0, 0, 0))
    bars = recall_bars(make_report(systems=(make_system(confusion=matrix), make_system("other", confusion=()))))
    assert bars == [("kick", 2, [0.5]), ("bow", 4, [1.0])]


def test_pictures_are_dropped_from_the_fullest_format_and_from_its_end():
    names = ["ntu/1", "bvh/1", "ntu/2", "ntu/3"]
    gallery = [make_example(clip_id=name, format=name[:3], learned=b"x" * 50, fixed=b"x" * 50) for name in names]
    assert [one.clip_id for one in fitting(gallery, 300)] == ["ntu/1", "bvh/1", "ntu/2"]
    assert [one.clip_id for one in fitting(gallery, 400)] == names
    assert fitting(gallery, 99) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.0, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (65, "1 min 05 s"), (7620, "2 h 07 min")],
)
def test_times_are_said_as_people_do(seconds, said):
    assert spoken_time(float(seconds)) == said
