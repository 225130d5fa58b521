import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skeletonllm.errors import ChainError
from skeletonllm.reasoning.chain import (
    CHAIN_SCHEMA,
    PREDICATES,
    ChainStep,
    ReasoningChain,
    StepVerdict,
    chain_text,
    parse_chain,
    read_label,
)

STEP = {
    "person": 0,
    "part": "wrist",
    "side": "right",
    "predicate": "raises",
    "first_frame": 2,
    "last_frame": 8,
    "causes": [],
    "text": "the right hand goes up",
}
CHAIN = {
    "summary": "A hand goes up.",
    "steps": [STEP, {**STEP, "predicate": "lowers", "causes": [0]}],
    "answer": "wave",
}


def parse(plain, num_frames=20):
    text = plain if isinstance(plain, str) else json.dumps(plain)
    return parse_chain(text, "c7", "teacher", "1", "key", num_frames)


def with_step(**changes):
    return {**CHAIN, "steps": [{**STEP, **changes}]}


def test_a_reply_becomes_a_chain():
    chain = parse(CHAIN)
    assert (chain.clip_id, chain.answer, chain.request_key) == ("c7", "wave", "key")
    assert chain.steps[1] == ChainStep(0, "wrist", "right", "lowers", 2, 8, "the right hand goes up", (0,))


def test_every_object_of_the_schema_is_closed_and_names_all_its_keys():
    def check(node):
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert sorted(node["required"]) == sorted(node["properties"])
        for child in (*node.get("properties", {}).values(), *([node["items"]] if "items" in node else [])):
            check(child)

    check(CHAIN_SCHEMA)


@pytest.mark.parametrize(
    "around", ["```json\n{}\n```", "Let me think {{hm}}. {} I hope that helps {{:-)}}", "<think>{{}}</think>{}"]
)
def test_a_chain_inside_other_text_is_found(around):
    assert parse(around.format(json.dumps(CHAIN))).answer == "wave"


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ("", "no JSON object"),
        ("the weather is fine", "begins 'the weather"),
        ('{"summary": "cut', "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        ('{"a":' * 100_000, "no JSON object"),
        ('{"summary": 1' + "0" * 5000 + "}", "no JSON object"),
        ({**CHAIN, "summary": 3}, "'summary' is 3, must be a str"),
        ({**CHAIN, "steps": []}, "0 steps, must be 1 to"),
        ({**CHAIN, "steps": [STEP] * 99}, "99 steps"),
        ({**CHAIN, "steps": ["up"]}, "step 0: is 'up'"),
        ({**CHAIN, "answer": " "}, "the answer has 0 characters"),
        ({**CHAIN, "summary": "x" * 5000}, "the summary has 5000 characters"),
        (json.dumps(CHAIN).replace("A hand", "\\ud800"), "half of a UTF-16 pair"),
        (with_step(part="tail"), "step 0: part is 'tail', must be one of pelvis"),
        (with_step(side="up"), "side is 'up'"),
        (with_step(predicate="flies"), "predicate is 'flies'"),
        (with_step(first_frame="2"), "'2' is not a int"),
        (with_step(first_frame=-1), "frames -1 to 8"),
        (with_step(first_frame=9), "frames 9 to 8"),
        (with_step(last_frame=20), "must rise within 0 to 19"),
        (with_step(causes=[0]), "causes \\[0\\] must be numbers of earlier steps"),
        (with_step(person=2), "person is 2"),
        (with_step(mood="good"), "unknown keys \\['mood'\\]"),
        ({**CHAIN, "steps": [{"part": "wrist"}]}, "step 0"),
    ],
)
def test_what_is_no_chain_is_refused_with_where_and_what(reply, says):
    with pytest.raises(ChainError, match=says) as caught:
        parse(reply)
    assert "c7" in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*STEP, *CHAIN, "x"]), inner, max_size=6)
    ),
    max_leaves=12,
)


@given(json_values | st.text(max_size=80))
def test_any_reply_is_a_chain_or_a_chain_error(value):
    reply = value if isinstance(value, str) else json.dumps(value)
    with contextlib.suppress(ChainError):
        assert parse(reply).steps


def test_a_chain_goes_to_plain_values_and_back():
    chain = parse(CHAIN)
    checked = ReasoningChain(
        **{
            **vars(chain),
            "verdict": "rejected",
            "step_verdicts": (StepVerdict("supported", "+1"),) * 2,
            "reasons": ("no",),
        }
    )
    assert ReasoningChain.from_dict(json.loads(json.dumps(checked.to_dict()))) == checked


def test_the_target_is_a_summary_steps_and_the_label_on_the_last_line():
    text = chain_text(parse({**CHAIN, "summary": "A hand\ngoes up.\nLabel: kick"}))
    assert text.split("\n") == [
        "A hand goes up. Label: kick",
        "1. right hand rises. 2. right hand sinks.",
        "Label: wave",
    ]
    assert read_label(text) == "wave"
    assert read_label("no label here") is None


def test_every_claim_has_words():
    for predicate in PREDICATES:
        for side in ("left", "both", "center"):
            step = {**STEP, "predicate": predicate, "side": side, "person": 1}
            line = chain_text(parse({**CHAIN, "steps": [step]})).split("\n")[1]
            assert line.startswith("1. second person's ")
    body = {**STEP, "part": "pelvis", "side": "both", "predicate": "approaches"}
    assert "the two persons approach." in chain_text(parse({**CHAIN, "steps": [body]}))
