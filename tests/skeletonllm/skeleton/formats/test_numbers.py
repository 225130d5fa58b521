"""Texts of numbers: every number as Python reads it, whatever stands between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.skeleton.formats.numbers import parse_numbers

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**18), 10**18), st.floats(-10, 10, width=32)
)


@given(
    st.lists(st.lists(NUMBERS, min_size=1, max_size=5), min_size=1, max_size=5), st.sampled_from(["\n", "\r\n", " \n"])
)
def test_every_number_is_what_python_reads(rows, end):
    text = end.join(" ".join(repr(value) for value in row) for row in rows) + end
    np.testing.assert_array_equal(parse_numbers(text.encode()), [float(word) for word in text.split()])


@pytest.mark.parametrize("text", ["1  2\t3", "+1 .5 01 nan inf -inf", "1.e2 1E+2", "\n\n1\n\n2"])
def test_what_json_does_not_know_is_read_too(text):
    np.testing.assert_array_equal(parse_numbers(text.encode()), [float(word) for word in text.split()])


@pytest.mark.parametrize("text", ["1 x", "[1] 2", "1,2", "1_000", '1 "2"', "1 true", "1 \xff", "1 2]"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        parse_numbers(text.encode("latin1"))


def test_a_text_without_numbers_has_none():
    assert len(parse_numbers(b" \n")) == 0
