import time

import pytest

from pipelines.teacher.ledger import Bound
from pipelines.teacher.limits import Gate, Limits, Pacer
from pipelines.teacher.request import TeacherReply
from skeletonllm.errors import ConfigError


def room(gate):
    return int(gate._allowed)


def test_the_gate_opens_while_all_is_well_and_halves_once_for_all_that_were_under_way():
    gate = Gate(16)
    for _ in range(30):
        gate.went_well()
    assert room(gate) == 16
    with gate.entered() as one, gate.entered() as another:
        gate.slow_down(one)
        gate.slow_down(another)
    assert room(gate) == 8
    for _ in range(8):
        gate.went_well()
    assert room(gate) == 8  # from here on one more for each round
    with gate.entered() as later:
        gate.slow_down(later)
    assert room(gate) == 4


def test_the_pacer_learns_from_headers_and_keeps_what_is_lower():
    pacer = Pacer("x", Limits(requests_per_minute=100))
    pacer.read({"x-ratelimit-limit-requests": "5000", "x-ratelimit-limit-tokens": "9000"})
    pace = pacer.pace(Bound(100, 0.0))
    assert 90 < pace.requests < 100
    assert 8000 < pace.tokens < 9000
    pacer.read({"x-ratelimit-limit-requests": "50"})
    assert pacer.pace(Bound(100, 0.0)).requests < 50


def test_nothing_left_is_a_pause():
    pacer = Pacer("x", Limits())
    pacer.read({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"})
    assert pacer.wait_s(time.time()) == pytest.approx(360, abs=5)


def test_tokens_count_as_they_were_really_taken():
    pacer = Pacer("x", Limits(tokens_per_minute=1000))
    assert pacer.pace(Bound(100, 0.0)).counted_tokens == 100
    pacer.took(Bound(100, 0.0), TeacherReply("k", "", "stop", 20, 5, 1, ""))
    assert pacer.pace(Bound(200, 0.0)).counted_tokens == 50


@pytest.mark.parametrize(
    "wrong", [{"max_cost": -1.0}, {"max_tokens": -1}, {"at_once": 0}, {"requests_per_minute": 0.0}]
)
def test_a_limit_that_cannot_be_is_told(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Limits(**wrong)
