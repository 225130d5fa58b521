"""A fake teacher: a real HTTP server that speaks the chat-completions protocol and does what a script says."""

import email.utils
import json
import random
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from email.message import Message
from typing import Any

from pipelines.teacher.kinematic import write_chain
from skeletonllm.skeleton.clip import Clip
from tests.fake_server import FakeServer, Handler

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


# What a server at fault does, one word each; to wait it asks in every form that there is.
FAULTS = (
    *("busy", "busy 0.05", "busy ms 50", "busy date", "down", "overloaded 0.05", "bad gateway"),
    *("dropped", "dropped unpaid", "slow", "broken json", "web page", "error object"),
    *("nonsense", "wrong schema", "empty", "repeated", "cut"),
)
PROMPT_TOKENS, COMPLETION_TOKENS = 7, 5


class FakeTeacher(FakeServer):
    """Answers on a free port of this machine while the `with` block lasts, and counts what it would charge.

    It knows idempotency keys: what was asked under a key and charged is answered again for nothing.

    Args:
        script: what happens to the first requests, one word each: ok, one of `FAULTS`, or refused, no such model, no quota,
            too long, redirect, no schema, no temperature, no max_tokens. After its end all is ok.
        answer: the text of an `ok` for a request's body.
        faults: share of the requests after the script that meet one of `FAULTS`.
        seed: of that chance.
        latency_s: of every answer.
        requests_per_minute: more are refused with 429, counted in any `window_s`.
        tells_limits: whether the headers say what is allowed.
    """

    def __init__(
        self,
        *script: str,
        answer: Callable[[Body], str] | None = None,
        faults: float = 0.0,
        seed: int = 0,
        latency_s: float = 0.0,
        requests_per_minute: float | None = None,
        window_s: float = 60.0,
        tells_limits: bool = True,
    ) -> None:
        self._script = deque(script)
        self._answer = answer or (lambda _: json.dumps(CHAIN))
        self._faults, self._chance, self._latency_s = faults, random.Random(seed), latency_s
        self._per_minute, self._window_s, self._tells_limits = requests_per_minute, window_s, tells_limits
        self._times: deque[float] = deque()
        self._completions: dict[str, str] = {}
        self.bodies: list[Body] = []
        self.keys: list[str] = []
        self.paths: list[str] = []
        self.charges: Counter[str] = Counter()  # how often each idempotency key was charged
        self.exceeded = 0
        self.met: Counter[str] = Counter()
        self.times: list[float] = []
        self._lock = threading.Lock()
        fake = self

        class TeacherHandler(Handler):
            def do_POST(self) -> None:
                came = fake._react(json.loads(self.body()), self.headers, self.path)
                if came is None:
                    self.close_connection = True
                    return
                status, headers, text = came
                self.answer(status, text.encode(), headers)

        super().__init__(TeacherHandler)

    @property
    def count(self) -> int:
        return len(self.bodies)

    @property
    def tokens(self) -> int:
        """That were charged."""
        return self.charges.total() * (PROMPT_TOKENS + COMPLETION_TOKENS)

    def _react(self, body: Body, given: Message, path: str) -> tuple[int, dict[str, str], str] | None:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(given.get("Authorization") or "")
            self.paths.append(path)
            what = self._next()
            self.met[what] += 1
            headers, refused = self._limit()
        if not path.split("?")[0].endswith("/chat/completions"):
            return 404, {}, _error(f"no such path {path}")
        if refused:
            return 429, headers, _error("slow down")
        time.sleep(0.6 if what == "slow" else self._latency_s)
        status, more, text = _refusal(what)
        if status != 200:
            return status, {**headers, **more}, text
        if what in ("web page", "error object"):
            return 200, {**headers, **more}, text
        if what == "dropped unpaid":
            return None
        completion = self._charge(given.get("Idempotency-Key") or f"none {len(self.bodies)}", what, body)
        if what == "dropped":
            return None
        return 200, headers, completion[: len(completion) // 2] if what == "broken json" else completion

    def _next(self) -> str:
        if self._script:
            return self._script.popleft()
        return self._chance.choice(FAULTS) if self._chance.random() < self._faults else "ok"

    def _limit(self) -> tuple[dict[str, str], bool]:
        """Headers that tell what is left, and whether this is one too many."""
        now = time.monotonic()
        self.times.append(now)
        if self._per_minute is None:
            return {}, False
        while self._times and self._times[0] <= now - self._window_s:
            self._times.popleft()
        allowed = self._per_minute * self._window_s / 60
        reset_s = self._times[0] + self._window_s - now if self._times else 0.0
        if len(self._times) + 1 > allowed:
            self.exceeded += 1
            return {"Retry-After": f"{reset_s:.3f}"}, True
        self._times.append(now)
        if not self._tells_limits:
            return {}, False
        return {
            "x-ratelimit-limit-requests": str(int(self._per_minute)),
            "x-ratelimit-remaining-requests": str(int(allowed - len(self._times))),
            "x-ratelimit-reset-requests": f"{reset_s * 1000:.0f}ms",
        }, False

    def _charge(self, key: str, what: str, body: Body) -> str:
        with self._lock:
            if key in self._completions:
                return self._completions[key]
            self.charges[key] += 1
            told = {
                "nonsense": "I would rather talk about the weather.",
                "wrong schema": json.dumps({"movement": "a hand goes up", "label": "wave"}),
                "empty": "",
                "cut": '{"summary": "One ha',
            }.get(what)
            if told is None:
                told = self._answer(body)
            if what == "repeated":
                told = f"{told}\n{told}"
            self._completions[key] = _completion(told, "length" if what == "cut" else "stop")
            return self._completions[key]


def _refusal(what: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of what is no completion; 200 without a body where it is one."""
    if what.startswith(("busy", "overloaded")):
        words = what.split()
        headers = {}
        if words[-1] == "date":
            headers = {"Retry-After": email.utils.formatdate(time.time() + 1, usegmt=True)}
        elif len(words) > 1:
            headers = {"retry-after-ms" if words[1] == "ms" else "Retry-After": words[-1]}
        return 429 if words[0] == "busy" else 503, headers, _error("slow down")
    return {
        "web page": (200, {"Content-Type": "text/html"}, "<html>log in</html>"),
        "error object": (200, {}, _error("upstream is tired")),
        "down": (500, {}, _error("oh no")),
        "bad gateway": (502, {"Content-Type": "text/html"}, "<html>bad gateway</html>"),
        "refused": (401, {}, _error("wrong key")),
        "no such model": (404, {}, _error("no such model")),
        "no quota": (429, {}, _error("pay first", "insufficient_quota")),
        "too long": (400, {}, _error("the context has 10 tokens")),
        "redirect": (307, {"Location": "http://127.0.0.1:9/v1/chat/completions"}, ""),
        "no schema": (400, {}, _error("response_format is not supported")),
        "no temperature": (400, {}, _error("Unsupported value: 'temperature'")),
        "no max_tokens": (400, {}, _error("'max_tokens' is not supported, use 'max_completion_tokens'")),
    }.get(what, (200, {}, ""))


def _error(message: str, code: str | None = None) -> str:
    return json.dumps({"error": {"message": message, "type": "fake", "code": code}})


def _completion(text: str, finish_reason: str = "stop") -> str:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish_reason}
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": COMPLETION_TOKENS,
        "total_tokens": PROMPT_TOKENS + COMPLETION_TOKENS,
    }
    return json.dumps(
        {"id": "f", "object": "chat.completion", "created": 0, "model": "fake", "choices": [choice], "usage": usage}
    )
