import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.teacher.faults import LONGEST_BACKOFF_S, POLICIES, backoff_s, duration_s, kind_of_status, retry_after_s


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2),
        ({"retry-after": "86400"}, 86400),
        ({"retry-after-ms": "250", "retry-after": "2"}, 0.25),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 -0000"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_waiting_times_are_read_in_every_form(headers, seconds):
    assert retry_after_s(headers) == seconds


def test_a_date_is_as_far_as_it_is():
    date = email.utils.formatdate(time.time() + 300, usegmt=True)
    assert retry_after_s({"retry-after": date}) == pytest.approx(300, abs=5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360),
        ("1.5s", 1.5),
        ("20ms", 0.02),
        ("1h2m3s", 3723),
        ("12", 12),
        ("", None),
        ("soon", None),
        ("5x", None),
    ],
)
def test_reset_times_are_read_in_every_form(text, seconds):
    assert duration_s(text) == seconds


@given(st.integers(300, 599), st.sampled_from([None, "insufficient_quota", "rate_limit_exceeded"]))
def test_every_status_has_a_policy(status, code):
    assert kind_of_status(status, code) in POLICIES


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (307, None, "refused"),
        (401, None, "refused"),
        (404, None, "refused"),
        (429, "insufficient_quota", "refused"),
        (429, None, "rate limit"),
        (400, None, "bad request"),
        (503, None, "server error"),
        (504, None, "lost"),
    ],
)
def test_statuses_are_told_apart(status, code, kind):
    assert kind_of_status(status, code) == kind


@given(st.integers(1, 60))
def test_the_time_between_tries_grows_and_has_an_end(tries):
    assert 0 < backoff_s(tries, 1.0) <= LONGEST_BACKOFF_S
