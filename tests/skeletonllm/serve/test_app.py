"""The real server in a process of its own, asked by the stock client and by clients that mean no good."""

import asyncio
import base64
import copy
import json
import random
import time

import httpx
import openai
import pytest

from skeletonllm.skeleton.formats import plain_numpy
from tests.makers import performed_clips
from tests.server import served
from tests.skeletonllm.serve.test_parts import png
from tests.skeletonllm.serve.test_protocol import SKELETON
from tests.students import ACTIONS, tiny_student

CLIP = performed_clips(("wave",), ("P001",))[0]
TEXT = {"type": "text", "text": "Describe the movement."}
PICTURE = {"type": "image_url", "image_url": {"url": png()}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("serve") / "tiny"
    tiny_student().save_pretrained(place)
    return place


@pytest.fixture(scope="module")
def server(folder):
    with served(folder, "--max-body-mb", "1", "--max-waiting", "32") as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("recording") / "wave.npz"
    plain_numpy.write(CLIP, path)
    data = base64.b64encode(path.read_bytes()).decode()
    return {"type": "skeleton", "skeleton": {"file": data, "name": "wave.npz"}}


def parts_of(kind: str, recording: dict) -> list[dict]:
    return {
        "text": [TEXT],
        "pictures": [TEXT, PICTURE, PICTURE],
        "skeleton": [TEXT, SKELETON],
        "file": [TEXT, recording],
    }[kind]


def post(server, **more) -> httpx.Response:
    return httpx.post(f"{server.url}/chat/completions", timeout=60, **more)


def body(*parts, **more) -> dict:
    return {"model": "tiny", "messages": [{"role": "user", "content": list(parts) or "hello"}], **more}


def is_up(server) -> bool:
    answered = post(server, json=body(max_tokens=2))
    return answered.status_code == 200 and httpx.get(f"{server.root}/health").json()["status"] == "ok"


@pytest.mark.parametrize("kind", ["text", "pictures", "skeleton", "file"])
def test_the_stock_client_is_answered_whole_and_in_a_stream(client, recording, kind):
    messages = [{"role": "user", "content": parts_of(kind, recording)}]
    whole = client.chat.completions.create(model="tiny", messages=messages, max_tokens=6)
    stream = client.chat.completions.create(
        model="tiny", messages=messages, max_tokens=6, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert whole.choices[0].message.content == streamed
    assert chunks[-1].usage == whole.usage
    assert whole.usage.completion_tokens <= 6
    assert whole.choices[0].finish_reason in ("stop", "length")


def test_a_skeleton_is_recognised_among_labels_with_scores(client, recording):
    messages = [{"role": "user", "content": [recording]}]
    answered = client.chat.completions.create(model="tiny", messages=messages, extra_body={"labels": list(ACTIONS)})
    (expected,) = tiny_student().recognize(CLIP, ACTIONS)
    assert answered.choices[0].message.content == expected.label
    candidates = answered.model_extra["candidates"]
    assert [one["label"] for one in candidates] == [one.label for one in expected.candidates]
    assert candidates[0]["score"] == pytest.approx(expected.score, abs=1e-3)


def test_a_schema_with_an_enum_is_answered_in_its_form(client, recording):
    schema = {"type": "object", "properties": {"action": {"type": "string", "enum": list(ACTIONS)}}}
    answered = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": [recording]}],
        response_format={"type": "json_schema", "json_schema": {"name": "action", "schema": schema}},
    )
    assert json.loads(answered.choices[0].message.content)["action"] in ACTIONS


def test_the_stock_client_lists_models_and_gets_errors_of_its_own_kinds(client):
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError, match="ask 'tiny'"):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "hello"}])
    far = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}
    with pytest.raises(openai.BadRequestError, match="fetches nothing"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": [far]}])
    with pytest.raises(openai.BadRequestError, match="unknown field 'tools'"):
        client.chat.completions.create(model="tiny", messages=[], tools=[])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415),
        ({"content": b" " * 1_500_000, "headers": {"content-type": "application/json"}}, 413),
        ({"content": b" " * 9_000_000, "headers": {"content-type": "application/json"}}, 413),
        ({"json": body(TEXT, max_tokens=-1)}, 400),
        ({"json": body(TEXT, model="other")}, 404),
    ],
)
def test_a_bad_request_gets_its_status_and_a_sentence(server, request_, status):
    try:
        answered = post(server, **request_)
    except httpx.WriteError:  # far too large: the server does not wait for the rest
        assert len(request_["content"]) > 4_000_000
        return
    assert answered.status_code == status
    assert answered.json()["error"]["message"]


def test_what_is_not_served_is_told(server):
    assert "not served here" in httpx.get(f"{server.root}/v2").json()["error"]["message"]
    assert httpx.get(f"{server.url}/chat/completions").status_code == 405


def nasty(random_: random.Random, recording: dict) -> dict:
    """A request that is damaged in one of many ways."""
    parts = parts_of(random_.choice(["text", "pictures", "skeleton", "file"]), recording)
    whole = copy.deepcopy(body(*parts, max_tokens=2))
    values = [None, True, -1, 0, 1e308, 10**40, "", "x" * 1000, [], {}, [[[[]]]], float("1e-300"), "http://127.0.0.1:1"]
    way = random_.randrange(6)
    headers = {"content-type": "application/json"}
    if way == 0:
        return {"content": random_.randbytes(random_.randrange(2000)), "headers": headers}
    text = json.dumps(whole)
    if way == 1:
        return {"content": text[: random_.randrange(len(text))].encode(), "headers": headers}
    if way == 2:
        depth = random_.choice([50, 900, 50_000])
        opening, closing = random_.choice([("[", "]"), ('{"a":', "}")])
        return {"content": (opening * depth + "1" + closing * random_.choice([0, depth])).encode(), "headers": headers}
    if way == 3:
        data = bytearray(text.encode())
        for _ in range(random_.randrange(1, 20)):
            data[random_.randrange(len(data))] = random_.randrange(256)
        return {"content": bytes(data), "headers": headers}
    if way == 4:
        shown = random_.choice(["NaN", "Infinity", "1e999", "9" * 5000, "-" * 3, '"\\ud800"', "1" + "0" * 400])
        return {
            "content": text.replace(random_.choice(["2", '"user"', "0.", "30"]), shown, 3).encode(),
            "headers": headers,
        }
    _change_somewhere(whole, random_, values)
    return {"content": json.dumps(whole).encode(), "headers": headers}


def _change_somewhere(value: object, random_: random.Random, values: list) -> None:
    """Put another value somewhere into nested lists and objects."""
    inner = list(value.items()) if isinstance(value, dict) else list(enumerate(value))  # type: ignore[arg-type]
    if not inner:
        return
    place, child = random_.choice(inner)
    if isinstance(child, dict | list) and child and random_.random() < 0.8:
        _change_somewhere(child, random_, values)
    else:
        value[place] = random_.choice(values)  # type: ignore[index]


def attack(server, recording: dict, count: int, seed: int) -> None:
    random_ = random.Random(seed)
    statuses = set()
    with httpx.Client(timeout=60) as connection:
        for number in range(count):
            asked = nasty(random_, recording)
            answered = connection.post(f"{server.url}/chat/completions", **asked)
            statuses.add(answered.status_code)
            assert answered.status_code in (200, 400, 404, 413), (seed, number, answered.text[:500], asked)
            assert answered.status_code == 200 or answered.json()["error"]["message"]
    assert 400 in statuses
    assert is_up(server)


def test_malformed_requests_leave_it_up(server, recording):
    attack(server, recording, 300, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_malformed_requests_leave_it_up(server, recording, seed):
    attack(server, recording, 500, seed)


@pytest.mark.slow
def test_a_thousand_at_once_are_answered_or_told_to_come_back(server, recording):
    async def ask(connections: httpx.AsyncClient, number: int) -> httpx.Response:
        asked = (
            body(recording, labels=list(ACTIONS)) if number % 2 else body(TEXT, max_tokens=2, stream=number % 4 == 0)
        )
        return await connections.post(f"{server.url}/chat/completions", json=asked)

    async def all_at_once() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(timeout=300, limits=limits) as connections:
            return await asyncio.gather(*(ask(connections, number) for number in range(1000)))

    answers = asyncio.run(all_at_once())
    assert {answer.status_code for answer in answers} <= {200, 503}
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(answers) - len(refused) >= 32
    assert all(answer.headers["retry-after"] == "1" and answer.json()["error"]["message"] for answer in refused)
    assert is_up(server)


@pytest.mark.slow
def test_the_stock_client_comes_back_when_it_is_told_to(folder, recording):
    async def all_at_once(url: str) -> list[str | None]:
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=30) as client:
            asked = [{"role": "user", "content": [recording]}]
            calls = (
                client.chat.completions.create(model="tiny", messages=asked, extra_body={"labels": list(ACTIONS)})
                for _ in range(8)
            )
            return [answer.choices[0].message.content for answer in await asyncio.gather(*calls)]

    with served(folder, "--max-waiting", "2") as running:
        answers = asyncio.run(all_at_once(running.url))
    assert set(answers) <= set(ACTIONS)


@pytest.mark.slow
def test_a_key_is_needed_where_one_is_set_and_is_not_shown(folder, tmp_path):
    (tmp_path / "key").write_text("hush-hush\n")
    with served(folder, "--api-key-file", str(tmp_path / "key")) as running:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Bearer кey".encode()}):
            answered = httpx.get(f"{running.url}/models", headers=headers)
            assert answered.status_code == 401
            assert "hush" not in answered.text
        assert httpx.get(f"{running.url}/models", headers={"authorization": "Bearer hush-hush"}).status_code == 200
        assert httpx.get(f"{running.root}/health").status_code == 200
    assert "hush" not in (folder.parent / "serve.log").read_text()


@pytest.mark.slow
def test_when_it_is_told_to_stop_it_answers_what_is_under_way(folder):
    with served(folder) as running, httpx.Client(timeout=60) as connection:
        asked = body(TEXT, max_tokens=300, stream=True)
        with connection.stream("POST", f"{running.url}/chat/completions", json=asked) as answered:
            lines = answered.iter_lines()
            next(lines)
            running.process.terminate()
            rest = list(lines)
        assert "data: [DONE]" in rest
        assert running.process.wait(60) == 0
        time.sleep(0.1)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{running.root}/health")
