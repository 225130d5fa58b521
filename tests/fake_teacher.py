"""A fake teacher: a real HTTP server that speaks the chat-completions protocol and does what a script says."""

import json
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pipelines.teacher.kinematic import write_chain
from skeletonllm.skeleton.clip import Clip

CHAIN = {
    "summary": "One hand goes up.",
    "steps": [
        {
            "person": 0,
            "part": "wrist",
            "side": "right",
            "predicate": "raises",
            "first_frame": 0,
            "last_frame": 5,
            "causes": [],
            "text": "the right hand goes up",
        }
    ],
    "answer": "wave",
}

Body = dict[str, Any]


def kinematic_answer(clips: Sequence[Clip], body: Body, **changes: object) -> str:
    """What a teacher answers who looks closely: the kinematic one's chain for the clip of the request."""
    data = json.loads(re.findall(r"<data>(.*)</data>", body["messages"][1]["content"][0]["text"])[0])
    clip = next(clip for clip in clips if clip.clip_id == data["clip"])
    plain = write_chain(clip, data["label"]).to_dict()
    return json.dumps({**{key: plain[key] for key in ("summary", "steps", "answer")}, **changes})


class FakeTeacher:
    """Answers on a free port of this machine while the `with` block lasts.

    Args:
        script: what happens to the first requests, one word each: ok, nonsense, web page, broken json, error object,
            busy, busy 0.2 (seconds to wait), down, refused, no such model, no quota, cut, slow, no schema,
            no temperature, no max_tokens. After its end all is ok.
        answer: the text of an `ok` for a request's body.
    """

    def __init__(self, *script: str, answer: Callable[[Body], str] | None = None) -> None:
        self._script = deque(script)
        self._answer = answer or (lambda _: json.dumps(CHAIN))
        self.bodies: list[Body] = []
        self.keys: list[str] = []
        self._lock = threading.Lock()
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, headers, text = fake._react(body, self.headers.get("Authorization", ""), self.path)
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def count(self) -> int:
        return len(self.bodies)

    def __enter__(self) -> "FakeTeacher":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _react(self, body: Body, key: str, path: str) -> tuple[int, dict[str, str], str]:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            what = self._script.popleft() if self._script else "ok"
        if path != "/v1/chat/completions":
            return 404, {}, _error(f"no such path {path}")
        if what.startswith("busy"):
            seconds = what.removeprefix("busy").strip()
            return 429, {"Retry-After": seconds} if seconds else {}, _error("slow down")
        if what == "slow":
            time.sleep(0.6)
        return {
            "nonsense": (200, {}, _completion("I would rather talk about the weather.")),
            "web page": (200, {"Content-Type": "text/html"}, "<html>log in</html>"),
            "broken json": (200, {}, '{"choices": [{"mess'),
            "error object": (200, {}, _error("upstream is tired")),
            "down": (500, {}, _error("oh no")),
            "refused": (401, {}, _error("wrong key")),
            "no such model": (404, {}, _error("no such model")),
            "no quota": (429, {}, _error("pay first", "insufficient_quota")),
            "cut": (200, {}, _completion('{"summary": "One ha', "length")),
            "no schema": (400, {}, _error("response_format is not supported")),
            "no temperature": (400, {}, _error("Unsupported value: 'temperature'")),
            "no max_tokens": (400, {}, _error("'max_tokens' is not supported, use 'max_completion_tokens'")),
        }.get(what) or (200, {}, _completion(self._answer(body)))


def _error(message: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "fake", "code": code}})


def _completion(text: str, finish_reason: str = "stop") -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    return json.dumps(
        {"id": "f", "object": "chat.completion", "created": 0, "model": "fake", "choices": [choice], "usage": usage}
    )
