"""A fake model: a real HTTP server that speaks the chat-completions protocol and answers what a script says."""

import json
from collections.abc import Callable
from typing import Any

from tests.fake_server import FakeServer, Handler

Body = dict[str, Any]


class FakeModel(FakeServer):
    """Answers on a free port of this machine while the `with` block lasts.

    Args:
        answer: the text for a request's body.
        status: of every response; other than 200 makes it an error.
        raw: sent instead of a completion.
        headers: sent with it.
        hang_up: whether it ends the connection without an answer.
    """

    def __init__(
        self,
        answer: Callable[[Body], str] = lambda _: "wave",
        status: int = 200,
        raw: str = "",
        headers: dict[str, str] | None = None,
        hang_up: bool = False,
    ) -> None:
        self._answer, self._status, self._raw = answer, status, raw
        self.bodies: list[Body] = []
        self.keys: list[str] = []
        fake = self

        class ModelHandler(Handler):
            def do_POST(self) -> None:
                fake.bodies.append(json.loads(self.body()))
                fake.keys.append(self.headers.get("Authorization", ""))
                if hang_up:
                    self.close_connection = True
                    return
                reply = fake._react(fake.bodies[-1]).encode()
                self.answer(fake._status, reply, {"Connection": "close", **(headers or {})})

        super().__init__(ModelHandler)

    @property
    def name(self) -> str:
        """What `--model` takes."""
        return f"openai:fake@{self.url}"

    def _react(self, body: Body) -> str:
        if self._raw:
            return self._raw
        if self._status != 200:
            return json.dumps({"error": {"message": "not like this", "type": "fake", "code": None}})
        message = {"role": "assistant", "content": self._answer(body)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return json.dumps({"id": "f", "object": "chat.completion", "created": 0, "model": "fake", "choices": [choice]})


def text_of(body: Body) -> str:
    """What a request says."""
    return body["messages"][0]["content"][0]["text"]


def pictures_of(body: Body) -> list[str]:
    """The data URLs of a request."""
    return [part["image_url"]["url"] for part in body["messages"][0]["content"] if part["type"] == "image_url"]
