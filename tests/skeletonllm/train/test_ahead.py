import contextlib
import threading
import traceback

import pytest

from skeletonllm.train.ahead import made_ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_items_come_in_their_order_and_all_of_them():
    with made_ahead(range(5)) as items:
        assert list(items) == [0, 1, 2, 3, 4]
    with made_ahead([]) as items:
        assert list(items) == []


def test_the_next_item_is_made_while_one_is_used_and_no_more_than_that_one():
    made = [threading.Event() for _ in range(4)]

    def making():
        for place, event in enumerate(made):
            event.set()
            yield place

    with made_ahead(making()) as items:
        for place in range(2):
            assert next(items) == place
            assert made[place + 1].wait(10)
            assert not made[place + 2].wait(0.05)


def test_an_error_is_raised_where_its_item_is_asked_for_and_says_where_it_was_made():
    def break_down():
        raise ValueError("no such clip")

    def making():
        yield "good"
        break_down()

    with made_ahead(making()) as items:
        assert next(items) == "good"
        with pytest.raises(ValueError, match="no such clip") as raised:
            next(items)
    assert "break_down" in [frame.name for frame in traceback.extract_tb(raised.tb)]


def test_the_thread_is_gone_when_the_block_is_left_early_or_by_an_error():
    with made_ahead(iter(range(10))) as items:
        next(items)
        assert len(threads()) == 1
    assert not threads()
    with contextlib.suppress(KeyError), made_ahead(iter(range(10))) as items:
        next(items)
        raise KeyError
    assert not threads()
