import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.teacher.batch_files import STATES, reconcile, request_line

KEYS = [f"key-{number}" for number in range(6)]
COMPLETION = {"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}]}


def answered(key: str) -> bytes:
    return _line(key, {"status_code": 200, "request_id": "r", "body": COMPLETION}, None)


def refused(key: str) -> bytes:
    return _line(key, {"status_code": 400, "body": {"error": {"message": "too\nlong", "code": None}}}, None)


def broke(key: str) -> bytes:
    return _line(key, None, {"code": "server_error", "message": "oh no"})


def expired(key: str) -> bytes:
    return _line(key, None, {"code": "batch_expired", "message": "too late"})


def _line(key, response, error) -> bytes:
    return json.dumps({"id": "b", "custom_id": key, "response": response, "error": error}).encode() + b"\n"


LINES = {answered: "ok", refused: "failed", broke: "failed", expired: "expired"}


@given(
    told=st.lists(st.tuples(st.sampled_from([*KEYS, "key-of-nobody"]), st.sampled_from(list(LINES))), max_size=20),
    cut=st.integers(0, 400) | st.none(),
    junk=st.lists(st.binary(max_size=20) | st.sampled_from([b"[]", b"{}", b'{"custom_id": "key-0"}', b"null", b""])),
    data=st.data(),
)
def test_each_request_ends_in_exactly_one_state_whatever_the_server_sends(told, cut, junk, data):
    lines = data.draw(st.permutations([line(key) for key, line in told] + junk))
    text = b"\n".join(lines)
    text = text if cut is None else text[: max(0, len(text) - cut)]
    found = reconcile(KEYS, text.split(b"\n"))
    assert list(found.outcomes) == KEYS
    assert sum(found.counts.values()) == len(KEYS)
    for key, outcome in found.outcomes.items():
        possible = {LINES[line] for named, line in told if named == key}
        assert outcome.state in possible | {"missing"}
        if cut is None and possible:
            assert outcome.state == min(possible, key=STATES.index)


def test_all_failed_without_a_file_of_answers():
    found = reconcile(KEYS, map(refused, KEYS))
    assert found.counts == {"ok": 0, "failed": 6, "expired": 0, "missing": 0}
    assert found.outcomes["key-0"].http_status == 400
    assert found.outcomes["key-0"].reason == "too long"


def test_lines_that_tell_nothing_are_counted():
    lines = [answered("key-0"), answered("key-0"), answered("stranger"), answered("key-1")[:-9], b"\n"]
    found = reconcile(KEYS[:2], lines)
    assert (found.num_twice, found.num_unknown, found.num_broken) == (1, 1, 1)
    assert [outcome.state for outcome in found.outcomes.values()] == ["ok", "missing"]


def test_an_answer_is_worth_more_than_an_error_about_the_same_request():
    for lines in ([broke("key-0"), answered("key-0")], [answered("key-0"), expired("key-0")]):
        assert reconcile(["key-0"], lines).outcomes["key-0"].state == "ok"


@pytest.mark.parametrize("body", [None, "text", {}, {"choices": []}, {"choices": [{"message": {"content": 7}}]}])
def test_an_answer_that_was_charged_and_cannot_be_read_is_missing_and_not_failed(body):
    line = _line("key-0", {"status_code": 200, "body": body}, None)
    assert reconcile(["key-0"], [line]).outcomes["key-0"].state == "missing"


def test_a_request_line_is_one_line_with_its_key():
    line = request_line("key-0", {"model": "m", "messages": [{"role": "user", "content": "a\nb"}]})
    assert line.count(b"\n") == 1
    assert json.loads(line)["custom_id"] == "key-0"
    assert json.loads(line)["url"] == "/v1/chat/completions"
