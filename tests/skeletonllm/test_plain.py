from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError
from skeletonllm.plain import canonical_json, digest, from_plain, to_plain, write_whole


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    steps: int
    inner: Inner = field(default_factory=Inner)
    note: str | None = None


@given(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.lists(st.text()), st.none() | st.text())
def test_a_dataclass_survives_plain_values_and_json(steps, rate, names, note):
    value = Outer(steps, Inner(rate, tuple(names)), note)
    assert from_plain(Outer, to_plain(value), "here") == value
    assert digest(to_plain(value)) == digest(to_plain(from_plain(Outer, to_plain(value), "here")))


def test_an_unknown_key_is_refused_by_name():
    with pytest.raises(ConfigError, match=r"run\.json: not a Outer: .*stepz"):
        from_plain(Outer, {"steps": 1, "stepz": 2}, "run.json")


@pytest.mark.parametrize("value", ["12", 1.5, True, None])
def test_a_number_is_not_read_from_something_else(value):
    with pytest.raises(ConfigError, match="not a int"):
        from_plain(Outer, {"steps": value}, "here")


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical_json({"b": 1, "a": [1, 2]}) == canonical_json({"a": [1, 2], "b": 1}) == '{"a":[1,2],"b":1}'


def test_a_file_is_written_whole_and_leaves_no_temporary_one(tmp_path):
    write_whole(tmp_path / "new" / "file.txt", "text")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.txt"]
