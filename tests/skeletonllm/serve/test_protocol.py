import json

import pytest

from skeletonllm.answer.results import ranked
from skeletonllm.serve.limits import Limits, Refusal
from skeletonllm.serve.protocol import (
    Chunks,
    Outcome,
    completion,
    content_of,
    parse_body,
    parse_question,
)
from tests.makers import make_clip
from tests.skeletonllm.serve.test_parts import png

LIMITS = Limits(max_pictures=2, max_new_tokens=50)
POSITIONS = make_clip(num_frames=3).positions.tolist()
SKELETON = {
    "type": "skeleton",
    "skeleton": {"positions": POSITIONS, "fps": 10, "topology": "kinect_v1_20", "unit": "m", "up": "+y"},
}
PICTURE = {"type": "image_url", "image_url": {"url": png()}}
TEXT = {"type": "text", "text": "Which?"}


def body(*parts, **more) -> dict:
    return {"model": "m", "messages": [{"role": "user", "content": list(parts)}], **more}


def asked(*parts, **more):
    return parse_question(body(*parts, **more), "m", 32, LIMITS)


def enum(schema: dict) -> dict:
    return {"type": "json_schema", "json_schema": {"name": "label", "strict": True, "schema": schema}}


def test_texts_of_all_messages_are_asked_in_their_order():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [TEXT]}]
    assert parse_question({"model": "m", "messages": messages}, "m", 32, LIMITS).text == "Be brief.\nWhich?"


def test_without_words_the_question_is_the_one_of_training():
    assert asked(SKELETON).text == "Describe the movement."
    assert asked(SKELETON, labels=["wave", "bow"]).text == "Which action is it: wave, bow?"
    assert asked(SKELETON, TEXT, labels=["wave", "bow"]).text == "Which?"


def test_a_clip_or_pictures_are_found():
    assert asked(SKELETON).clip.num_frames == 3
    assert [picture.shape for picture in asked(PICTURE, PICTURE, TEXT).pictures] == [(3, 32, 32)] * 2


@pytest.mark.parametrize(
    ("schema", "content"),
    [
        ({"type": "string", "enum": ["wave", "bow"]}, '"wave"'),
        ({"type": "object", "properties": {"action": {"enum": ["wave", "bow"]}}}, '{"action": "wave"}'),
    ],
)
def test_an_enum_is_ranked_and_answered_in_its_form(schema, content):
    question = asked(SKELETON, response_format=enum(schema))
    assert question.labels == ("wave", "bow")
    assert content_of("wave", question.key) == content


def test_plain_labels_are_answered_plainly():
    assert content_of("wave", asked(SKELETON, labels=["wave"]).key) == "wave"


def test_what_many_clients_send_is_accepted():
    more = {"temperature": 0.7, "top_p": 1, "seed": 3, "user": "me", "n": 1, "stream": True}
    question = asked(TEXT, **more, stream_options={"include_usage": True}, max_completion_tokens=7)
    assert (question.stream, question.with_usage, question.max_new_tokens) == (True, True, 7)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b'{"model": NaN}', "NaN is no JSON number"),
        (b'{"model": -Infinity}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"a":' * 100_000, "no JSON"),
        (b"1" * 10_000, "no JSON"),
        (b"[]", "no object"),
        (b'"text"', "no object"),
        (b'{"model": "\\ud800"}', "no JSON"),
        (b'{"model": "m"', "no JSON"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(data, said):
    with pytest.raises(Refusal, match=said):
        parse_body(data)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (body(TEXT, tools=[]), "unknown field 'tools'"),
        (body(TEXT, model="gpt"), "'gpt' is not served here; ask 'm'"),
        (body(TEXT, n=2), "n is 2"),
        (body(TEXT, n=True), "n is True"),
        (body(TEXT, stream="yes"), "stream is of the wrong type"),
        (body(TEXT, stream_options={"more": True}), "stream_options"),
        (body(TEXT, temperature="hot"), "temperature is of the wrong type"),
        (body(TEXT, max_tokens=0), "max_tokens is 0, must be 1 to 50"),
        (body(TEXT, max_tokens=10**100), "must be 1 to 50"),
        (body(TEXT, max_tokens=True), "wrong type"),
        (body(TEXT, max_tokens=1.5), "wrong type"),
        (body(TEXT, labels=[]), "an empty list"),
        (body(TEXT, labels=["a", "a"]), "'a' is there 2 times"),
        (body(TEXT, labels=[3]), "3 is no label"),
        (body(TEXT, labels="wave"), "must be a list"),
        (body(TEXT, labels=["a"], response_format=enum({"enum": ["a"]})), "goes with no response_format"),
        (body(TEXT, response_format={"type": "json_object"}), "response_format must be text"),
        (body(TEXT, response_format=enum({"type": "object", "properties": {"a": {}, "b": {}}})), "must be text"),
        (body(TEXT, response_format=[]), "response_format is of the wrong type"),
        (body(), "neither text nor skeleton nor picture"),
        (body({"type": "text", "text": " "}), "neither text"),
        (body(SKELETON, SKELETON), "a second skeleton"),
        (body(SKELETON, PICTURE), "a skeleton and pictures"),
        (body(PICTURE, PICTURE, PICTURE), "more than 2 frames"),
        (body({"type": "video_url", "video_url": {}}), "is no part"),
        (body({"type": "text", "text": "a", "more": 1}), "nothing else in it"),
        (body({"type": ["text"]}), "is no part"),
        (body("text"), "is no part"),
        (body({"type": "text"}), "text must be a text"),
        (body(*[TEXT] * 300), "at most 200 parts"),
        (body({"type": "text", "text": "a" * 200_000}), "more than 100000 letters"),
        ({"model": "m"}, "messages must be a list"),
        ({"model": "m", "messages": [3]}, "messages[0] is no message"),
        ({"model": "m", "messages": [{"role": "boss", "content": "x"}]}, "is no message"),
        ({"model": "m", "messages": [{"role": ["user"], "content": "x"}]}, "is no message"),
        ({"model": "m", "messages": [{"role": "user", "content": None}]}, "content must be a text"),
        (
            {"model": "m", "messages": [{"role": "user", "content": "x", "tool_calls": []}]},
            "unknown field 'tool_calls'",
        ),
    ],
)
def test_a_wrong_request_is_refused_with_a_sentence(given, said):
    with pytest.raises(Refusal) as raised:
        parse_question(given, "m", 32, LIMITS)
    assert said in raised.value.message
    assert raised.value.to_dict()["error"]["type"] == "invalid_request_error"


def test_a_completion_holds_the_candidates_of_a_ranking():
    order = ranked(["wave", "bow"], [-1.0, -2.0])
    plain = completion("m", Outcome("wave", "stop", 10, 0, order))
    assert plain["choices"][0]["message"]["content"] == "wave"
    assert plain["usage"]["total_tokens"] == 10
    assert plain["candidates"][0]["label"] == "wave"
    json.dumps(plain, allow_nan=False)


def test_a_stream_ends_with_the_reason_the_usage_and_the_mark():
    chunks = Chunks("m")
    events = [chunks.text("wa"), *chunks.end(Outcome("wa", "length", 1, 2), with_usage=True)]
    assert events[-1] == "data: [DONE]\n\n"
    first, end, usage = (json.loads(event.removeprefix("data: ")) for event in events[:3])
    assert first["choices"][0]["delta"]["content"] == "wa"
    assert end["choices"][0]["finish_reason"] == "length"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 3)
    assert first["id"] == end["id"] == usage["id"]
