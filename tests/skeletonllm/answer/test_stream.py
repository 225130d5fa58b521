import threading
import time

import pytest

from skeletonllm.answer.stream import ahead, in_groups


def threads_ahead() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


def test_items_come_in_their_order_and_the_thread_ends():
    assert list(ahead(range(100))) == list(range(100))
    assert threads_ahead() == 0


def test_only_a_few_items_are_made_before_they_are_asked_for():
    made = []
    stream = ahead((made.append(number) or number for number in range(100)), depth=2)
    next(stream)
    time.sleep(0.3)
    assert len(made) <= 4
    stream.close()
    assert threads_ahead() == 0


def test_an_error_comes_after_the_items_before_it():
    def failing():
        yield 1
        raise ValueError("the second one")

    stream = ahead(failing())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="the second one"):
        next(stream)


def test_groups_are_full_but_for_the_last():
    assert list(in_groups(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(in_groups([], 2)) == []
