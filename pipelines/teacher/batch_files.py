"""The two kinds of files of the Batch API: what is asked, a request a line, and what came of it, in any order.

A server is not believed: it may send a line twice, in another order, cut the file off, or name a request that nobody made.
Whatever it sends, each request ends in exactly one of four states, so that

    ok + failed + expired + missing = submitted
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "failed", "expired", "missing"]
STATES: tuple[State, ...] = ("ok", "failed", "expired", "missing")

ENDPOINT = "/v1/chat/completions"
# What OpenAI takes in one file, less some room.
MOST_REQUESTS = 50_000
MOST_BYTES = 190_000_000

_NOT_RUN = ("batch_expired", "batch_cancelled")
_REASON_LETTERS = 300


@dataclass(frozen=True)
class Outcome:
    """What came of one request.

    Args:
        state: `ok` answered; `failed` refused, and not charged; `expired` not worked on in time, and not charged;
            `missing` no line that can be read tells of it.
        completion: of `ok`, the chat completion.
        http_status: of `failed`, where it says so.
        reason: of all but `ok`.
    """

    state: State
    completion: dict[str, Any] = field(default_factory=dict)
    http_status: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Reconciled:
    """What came of all requests of a batch.

    Args:
        outcomes: of each key that was submitted, and of no other.
        num_unknown: lines that name a request which was not submitted.
        num_broken: lines that cannot be read.
        num_twice: lines about a request of which an earlier line told as much.
    """

    outcomes: dict[str, Outcome]
    num_unknown: int
    num_broken: int
    num_twice: int

    @property
    def counts(self) -> dict[State, int]:
        """How many requests are in each state; they add up to those that were submitted."""
        counts = Counter(outcome.state for outcome in self.outcomes.values())
        return {state: counts[state] for state in STATES}


def request_line(key: str, body: dict[str, Any]) -> bytes:
    """A request as a line of the file that is sent; the key comes back with the answer."""
    line = {"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def reconcile(keys: Collection[str], lines: Iterable[bytes | str]) -> Reconciled:
    """Put the lines of both result files beside what was submitted.

    Args:
        keys: of the requests that were submitted.
        lines: of the file of answers and the file of errors, in any order; neither has to be there.
    """
    found: dict[str, Outcome] = {}
    submitted, num_unknown, num_broken, num_twice = frozenset(keys), 0, 0, 0
    for line in lines:
        if not line.strip():
            continue
        read = _read(line)
        if read is None:
            num_broken += 1
        elif read[0] not in submitted:
            num_unknown += 1
        else:
            key, outcome = read
            before = found.get(key)
            num_twice += before is not None
            if before is None or STATES.index(outcome.state) < STATES.index(before.state):
                found[key] = outcome  # an answer is worth more than an error about the same request
    missing = Outcome("missing", reason="neither result file of the batch tells of this request")
    return Reconciled({key: found.get(key, missing) for key in keys}, num_unknown, num_broken, num_twice)


def _read(line: bytes | str) -> tuple[str, Outcome] | None:
    """The key and the outcome of a result line; None where it is none."""
    try:
        plain = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(plain, dict) or not isinstance(plain.get("custom_id"), str):
        return None
    key, error, response = plain["custom_id"], plain.get("error"), plain.get("response")
    if isinstance(error, dict) and error.get("code") in _NOT_RUN:
        return key, Outcome("expired", reason=_said(error, "not worked on in time"))
    status = response.get("status_code") if isinstance(response, dict) else None
    body = response.get("body") if isinstance(response, dict) else None
    status = status if isinstance(status, int) else None
    if status == 200 and not error:
        # A completion that cannot be read was charged all the same, so it is no failure: nobody knows of it.
        return (key, Outcome("ok", body)) if isinstance(body, dict) and _is_completion(body) else None
    if error or status is not None:
        inner = body.get("error") if isinstance(body, dict) else None
        return key, Outcome("failed", http_status=status, reason=_said(inner or error or body, f"status {status}"))
    return None


def _is_completion(body: dict[str, Any]) -> bool:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, dict) else None
    return isinstance(message, dict) and isinstance(message.get("content"), str | None)


def _said(error: Any, otherwise: str) -> str:
    """A server's words about an error, in one line; their form differs from server to server."""
    words = error.get("message") or error.get("code") if isinstance(error, dict) else error
    return " ".join(str(words or otherwise).split())[:_REASON_LETTERS]
