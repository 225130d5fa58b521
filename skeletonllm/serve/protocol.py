"""The chat-completions protocol: a request's body to a question, an outcome to a response. All fields are checked."""

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from skeletonllm.answer.labels import checked_labels
from skeletonllm.answer.results import Candidate
from skeletonllm.answer.student import MAX_NEW_TOKENS
from skeletonllm.errors import ConfigError
from skeletonllm.reasoning.prompts import caption_prompt, mqa_prompt
from skeletonllm.serve.limits import Limits, Refusal
from skeletonllm.serve.parts import clip_of_part, picture_of_part
from skeletonllm.skeleton.clip import Clip

# What changes nothing (the likeliest answer is always given) is accepted, since many clients always send it.
_WITHOUT_EFFECT = ("temperature", "top_p", "seed", "user")
_FIELDS = (
    *("model", "messages", "labels", "response_format", "max_tokens", "max_completion_tokens", "n", "stream"),
    *("stream_options", *_WITHOUT_EFFECT),
)
_ROLES = ("system", "developer", "user", "assistant")
_MAX_MESSAGES = 200
_MAX_PARTS = 200
_MAX_LETTERS = 100_000


@dataclass(frozen=True)
class Question:
    """What a request asks.

    Args:
        text: the prompt.
        clip: of its skeleton part.
        pictures: `[3, height, width]` in [0, 1], of its image parts.
        labels: to be ranked; None where words are wanted.
        key: the field of a JSON object that the label is to stand in; "" for a bare JSON text; None for plain text.
        max_new_tokens: the longest answer in words.
        stream: whether the answer is sent piece by piece.
        with_usage: whether a stream ends with token counts.
    """

    text: str
    clip: Clip | None
    pictures: tuple[np.ndarray, ...]
    labels: tuple[str, ...] | None
    key: str | None
    max_new_tokens: int
    stream: bool
    with_usage: bool


@dataclass(frozen=True)
class Outcome:
    """What came of a question.

    Args:
        text: the answer.
        finish_reason: `stop`, or `length` where it was cut.
        prompt_tokens: that the model read, those of the frames included.
        completion_tokens: that it wrote.
        candidates: the labels, the likeliest first, where labels were ranked.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    candidates: tuple[Candidate, ...] = ()


def parse_body(data: bytes) -> dict[str, Any]:
    """The JSON object of a body.

    Raises:
        Refusal: it is none, or holds what JSON does not have (NaN).
    """
    try:
        body = json.loads(data.decode(), parse_constant=_no_constant)
        if b"\\ud" in data.lower():  # half a character can be written in JSON, but is no text
            json.dumps(body, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Refusal(f"the body is no JSON ({str(error)[:100]}); send a JSON object") from None
    if not isinstance(body, dict):
        raise Refusal("the body is JSON, but no object; send {model, messages}")
    return body


def parse_question(body: dict[str, Any], model: str, size_px: int, limits: Limits) -> Question:
    """What a request asks.

    Args:
        body: of the request.
        model: that is served.
        size_px: of the pictures that it sees.
        limits: of the server.

    Raises:
        Refusal: a field is unknown, of the wrong type, or too large; the messages hold a bad part.
    """
    unknown = sorted(set(body) - set(_FIELDS))
    if unknown:
        raise Refusal(f"unknown field {unknown[0]!r:.100}; known are {', '.join(_FIELDS)}", param=unknown[0][:100])
    if body.get("model") != model:
        raise Refusal(
            f"model {body.get('model')!r:.100} is not served here; ask {model!r}", 404, "model", "model_not_found"
        )
    for name, kinds in {"temperature": (int, float), "top_p": (int, float), "seed": int, "user": str}.items():
        _typed(body, name, kinds)
    if body.get("n") not in (None, 1) or isinstance(body.get("n"), bool):
        raise Refusal(f"n is {body['n']!r:.40}, must be 1: the likeliest answer is given", param="n")
    stream = _typed(body, "stream", bool) or False
    options = _typed(body, "stream_options", dict) or {}
    if set(options) - {"include_usage", "include_obfuscation"} or not all(
        isinstance(one, bool) for one in options.values()
    ):
        raise Refusal("stream_options holds something unknown; known is include_usage", param="stream_options")
    told = _Told()
    _read_messages(body.get("messages"), told, size_px, limits)
    labels, key = _labels(body)
    return Question(
        text=_prompt(told, labels),
        clip=told.clip,
        pictures=tuple(told.pictures),
        labels=labels,
        key=key,
        max_new_tokens=_max_new_tokens(body, limits),
        stream=stream,
        with_usage=options.get("include_usage", False),
    )


def content_of(label: str, key: str | None) -> str:
    """A label as the request wants it: bare, as a JSON text, or in a JSON object."""
    if key is None:
        return label
    return json.dumps({key: label} if key else label, ensure_ascii=False)


def completion(model: str, outcome: Outcome) -> dict[str, Any]:
    """The response to a request that does not stream."""
    message = {"role": "assistant", "content": outcome.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": outcome.finish_reason}
    return {**_head("chat.completion", model), "choices": [choice], "usage": _usage(outcome), **_candidates(outcome)}


class Chunks:
    """The events of one stream, in their order."""

    def __init__(self, model: str) -> None:
        self._start = _head("chat.completion.chunk", model)

    def text(self, text: str) -> str:
        """A piece of the answer."""
        return self._event({"choices": [self._choice({"role": "assistant", "content": text}, None)]})

    def end(self, outcome: Outcome, with_usage: bool) -> Iterator[str]:
        """What follows the last piece."""
        yield self._event({"choices": [self._choice({}, outcome.finish_reason)], **_candidates(outcome)})
        if with_usage:
            yield self._event({"choices": [], "usage": _usage(outcome)})
        yield "data: [DONE]\n\n"

    @staticmethod
    def refusal(refusal: Refusal) -> str:
        """An error after the stream has begun."""
        return f"data: {json.dumps(refusal.to_dict())}\n\n"

    def _event(self, more: dict[str, Any]) -> str:
        return f"data: {json.dumps({**self._start, **more}, ensure_ascii=False)}\n\n"

    @staticmethod
    def _choice(delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


class _Told:
    """What the messages hold, gathered."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.clip: Clip | None = None
        self.pictures: list[np.ndarray] = []


def _read_messages(messages: Any, told: _Told, size_px: int, limits: Limits) -> None:
    if not isinstance(messages, list) or not 0 < len(messages) <= _MAX_MESSAGES:
        raise Refusal(f"messages must be a list of 1 to {_MAX_MESSAGES} messages", param="messages")
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise Refusal(f"{where} is no message; give role (one of {', '.join(_ROLES)}) and content", param=where)
        unknown = sorted(set(message) - {"role", "content", "name", "refusal"})
        if unknown:
            raise Refusal(f"{where}: unknown field {unknown[0]!r:.100}; known are role, content, name", param=where)
        content = message.get("content")
        if isinstance(content, str):
            told.texts.append(content)
        elif isinstance(content, list) and len(content) <= _MAX_PARTS:
            for number, part in enumerate(content):
                _read_part(part, f"{where}.content[{number}]", told, size_px, limits)
        elif content is not None or message["role"] != "assistant":
            raise Refusal(f"{where}.content must be a text, or a list of at most {_MAX_PARTS} parts", param=where)
    if sum(map(len, told.texts)) > _MAX_LETTERS:
        raise Refusal(f"messages hold more than {_MAX_LETTERS} letters; send less text", param="messages")
    if told.clip is not None and told.pictures:
        raise Refusal("messages hold a skeleton and pictures; send one of the two", param="messages")


def _read_part(part: Any, where: str, told: _Told, size_px: int, limits: Limits) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in ("text", "image_url", "skeleton") or set(part) - {"type", kind}:
        raise Refusal(
            f"{where} is no part; give {{type, text}}, {{type, image_url}} or {{type, skeleton}}, with nothing else in it",
            param=where,
        )
    if kind == "text":
        if not isinstance(part.get("text"), str):
            raise Refusal(f"{where}.text must be a text", param=where)
        told.texts.append(part["text"])
    elif kind == "image_url":
        if len(told.pictures) == limits.max_pictures:
            raise Refusal(f"{where}: more than {limits.max_pictures} frames; send fewer", param=where)
        told.pictures.append(picture_of_part(part.get("image_url"), f"{where}.image_url", size_px))
    else:
        if told.clip is not None:
            raise Refusal(f"{where}: a second skeleton; ask about one clip in a request", param=where)
        told.clip = clip_of_part(part.get("skeleton"), f"{where}.skeleton", limits)


def _prompt(told: _Told, labels: tuple[str, ...] | None) -> str:
    text = "\n".join(text.strip() for text in told.texts if text.strip())
    if text:
        return text
    if told.clip is None and not told.pictures:
        raise Refusal("messages hold neither text nor skeleton nor picture; ask something", param="messages")
    return caption_prompt() if labels is None else mqa_prompt(labels)


def _labels(body: dict[str, Any]) -> tuple[tuple[str, ...] | None, str | None]:
    """The labels to be ranked, and where the answer stands."""
    labels, format = body.get("labels"), _typed(body, "response_format", dict)
    if labels is not None:
        if not isinstance(labels, list) or format not in (None, {"type": "text"}):
            raise Refusal("labels must be a list of texts, and goes with no response_format", param="labels")
        return _checked(labels, "labels"), None
    if format is None or format == {"type": "text"}:
        return None, None
    schema = format.get("json_schema") if format.get("type") == "json_schema" else None
    schema = schema.get("schema") if isinstance(schema, dict) else None
    key = ""
    if isinstance(schema, dict) and isinstance(schema.get("properties"), dict) and len(schema["properties"]) == 1:
        ((key, schema),) = schema["properties"].items()
    if not isinstance(schema, dict) or not isinstance(schema.get("enum"), list):
        raise Refusal(
            "response_format must be text, or a json_schema that is an enum or an object with one enum: its values are "
            "ranked",
            param="response_format",
        )
    return _checked(schema["enum"], "response_format"), key


def _checked(labels: Sequence[Any], param: str) -> tuple[str, ...]:
    try:
        return checked_labels(labels)
    except ConfigError as error:
        raise Refusal(str(error), param=param) from error


def _max_new_tokens(body: dict[str, Any], limits: Limits) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        given = _typed(body, name, int)
        if given is not None:
            if not 1 <= given <= limits.max_new_tokens:
                raise Refusal(f"{name} is {str(given)[:20]}, must be 1 to {limits.max_new_tokens}", param=name)
            return given
    return min(MAX_NEW_TOKENS, limits.max_new_tokens)


def _typed(body: dict[str, Any], name: str, kinds: Any) -> Any:
    value = body.get(name)
    if value is not None and (not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool)):
        raise Refusal(f"{name} is of the wrong type ({type(value).__name__})", param=name)
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _usage(outcome: Outcome) -> dict[str, int]:
    return {
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "total_tokens": outcome.prompt_tokens + outcome.completion_tokens,
    }


def _candidates(outcome: Outcome) -> dict[str, Any]:
    return {"candidates": [vars(one) for one in outcome.candidates]} if outcome.candidates else {}
