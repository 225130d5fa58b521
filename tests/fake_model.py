"""A fake model: a real HTTP server that speaks the chat-completions protocol and answers what a script says."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]


class FakeModel:
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

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                fake.bodies.append(body)
                fake.keys.append(self.headers.get("Authorization", ""))
                if hang_up:
                    return
                data = fake._react(body).encode()
                self.send_response(fake._status)
                for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def name(self) -> str:
        """What `--model` takes."""
        return f"openai:fake@http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> "FakeModel":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

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
