"""A fake server with a Batch API: real HTTP, files up and down, batches, and a script of what becomes of each."""

import email
import email.policy
import json
import threading
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from tests.fake_server import FakeServer, Handler
from tests.fake_teacher import CHAIN, Body

Line = dict[str, Any]
Hook = Callable[[str], None]


class FakeBatches(FakeServer):
    """Serves files and batches on a free port of this machine while the `with` block lasts.

    It counts what it charges: `charged` holds, for each request, how often it was answered.

    Args:
        script: what becomes of the first batches, one word each. Words with `half` leave the first half answered:
            ok, refused, half expired, half cancelled, half lost (no line about the others), all failed, half failed,
            half tired (status 500), unauthorized, cut (the last line of the file), no schema, shuffled twice (each line
            twice, with a stranger, in another order), slow (answered at the third look). After its end all is ok.
        answer: the text for a request's body.
        hook: called with the name of each step, just before (`create`) and just after (`create done`) it is taken.
    """

    def __init__(
        self, *script: str, answer: Callable[[Body], str] | None = None, hook: Hook = lambda step: None
    ) -> None:
        self._script, self._answer, self.hook = deque(script), answer or (lambda _: json.dumps(CHAIN)), hook
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, Body] = {}
        self.charged: Counter[str] = Counter()
        self.submitted: list[list[str]] = []
        self.faults: deque[int] = deque()
        self._looks: Counter[str] = Counter()
        self._lock = threading.Lock()
        fake = self

        class BatchHandler(Handler):
            def do_POST(self) -> None:
                self._do(self.body())

            def do_GET(self) -> None:
                self._do(b"")

            def _do(self, data: bytes) -> None:
                path = self.path.partition("?")[0]
                step = fake._step(self.command, path)
                fake.hook(step)
                with fake._lock:
                    status, answer = fake._react(step, path, data, self.headers.get("Content-Type", ""))
                fake.hook(f"{step} done")
                self.answer(status, answer, {})

        super().__init__(BatchHandler)

    def _step(self, method: str, path: str) -> str:
        kind = path.split("/")[2]
        if kind == "files":
            return "upload" if method == "POST" else "download"
        return "create" if method == "POST" else ("list" if path.endswith("/batches") else "look")

    def _react(self, step: str, path: str, data: bytes, content_type: str) -> tuple[int, bytes]:
        if self.faults:
            status = self.faults.popleft()
            if status != 200:
                return status, json.dumps({"error": {"message": "not now", "code": None}}).encode()
        if step == "upload":
            name = f"file-{len(self.files)}"
            self.files[name] = _uploaded(data, content_type)
            return 200, json.dumps(
                {"id": name, "object": "file", "bytes": 1, "created_at": 0, "filename": "f", "purpose": "batch"}
            ).encode()
        if step == "download":
            return 200, self.files[path.split("/")[3]]
        if step == "create":
            return 200, self._create(json.loads(data))
        if step == "list":
            newest = list(self.batches.values())[::-1]
            return 200, json.dumps({"object": "list", "data": newest, "has_more": False}).encode()
        found = self.batches.get(path.split("/")[3])
        if found is None:
            return 404, json.dumps({"error": {"message": "no such batch", "code": None}}).encode()
        return 200, self._look(found)

    def _create(self, asked: Body) -> bytes:
        name = f"batch-{len(self.batches)}"
        requests = [json.loads(line) for line in self.files[asked["input_file_id"]].splitlines()]
        self.submitted.append([request["custom_id"] for request in requests])
        what = self._script.popleft() if self._script else "ok"
        self.batches[name] = {
            "id": name,
            "object": "batch",
            "created_at": 4_000_000_000,
            "status": "in_progress",
            "what": what,
            **{name: asked[name] for name in ("input_file_id", "endpoint", "completion_window", "metadata")},
        }
        return json.dumps(self.batches[name]).encode()

    def _look(self, batch: Body) -> bytes:
        name, what = batch["id"], batch["what"]
        self._looks[name] += 1
        if batch["status"] == "in_progress" and (what != "slow" or self._looks[name] > 2):
            self._work(batch, what)
        return json.dumps(batch).encode()

    def _work(self, batch: Body, what: str) -> None:
        if what == "refused":
            error = {"message": "the file is no good", "code": "invalid_json_line", "line": 1}
            batch.update(status="failed", errors={"object": "list", "data": [error]})
            return
        requests = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        half = len(requests) // 2 if what.startswith("half") else 0 if what in _ALL_FAIL else len(requests)
        answered = [self._answered(request) for request in requests[:half]]
        rest = [_OTHERS[what](request["custom_id"]) for request in requests[half:]] if what in _OTHERS else []
        counts = {"total": len(requests), "completed": half, "failed": sum("response" in one for one in rest)}
        if what == "half lost":
            self.charged.update(request["custom_id"] for request in requests[half:])
            counts["completed"] = len(requests)
        lines = [json.dumps(line).encode() for line in answered]
        if what == "shuffled twice":
            lines = [*reversed(lines), json.dumps({**answered[0], "custom_id": "stranger"}).encode(), *lines]
        text = b"\n".join(lines)[: -20 if what == "cut" else None]
        status = what.removeprefix("half ") if what in ("half expired", "half cancelled") else "completed"
        batch.update(status=status, request_counts=counts)
        if lines:
            batch["output_file_id"] = self._keep(text)
        if rest:
            batch["error_file_id"] = self._keep(b"\n".join(json.dumps(line).encode() for line in rest))

    def _answered(self, request: Line) -> Line:
        self.charged[request["custom_id"]] += 1
        message = {"role": "assistant", "content": self._answer(request["body"])}
        body = {
            "id": "c",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
        }
        response = {"status_code": 200, "request_id": "r", "body": body}
        return {"id": "b", "custom_id": request["custom_id"], "response": response, "error": None}

    def _keep(self, data: bytes) -> str:
        name = f"file-{len(self.files)}"
        self.files[name] = data
        return name


def _failed(status: int, message: str) -> Callable[[str], Line]:
    body = {"error": {"message": message, "code": None}}
    return lambda key: {"custom_id": key, "response": {"status_code": status, "body": body}, "error": None}


def _not_run(code: str) -> Callable[[str], Line]:
    return lambda key: {"custom_id": key, "error": {"code": code, "message": "not worked on"}}


_OTHERS: dict[str, Callable[[str], Line]] = {
    "half expired": _not_run("batch_expired"),
    "half cancelled": _not_run("batch_cancelled"),
    "half failed": _failed(400, "this picture is not allowed"),
    "half tired": _failed(500, "oh no"),
    "all failed": _failed(400, "this picture is not allowed"),
    "unauthorized": _failed(403, "not your model"),
    "no schema": _failed(400, "response_format is not supported"),
}
_ALL_FAIL = ("all failed", "unauthorized", "no schema")


def _uploaded(data: bytes, content_type: str) -> bytes:
    """The file of a form."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = email.message_from_bytes(head + data, policy=email.policy.HTTP)
    (part,) = [part for part in form.iter_parts() if part.get_filename()]
    return part.get_payload(decode=True) or b""
