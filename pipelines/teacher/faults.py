"""What can go wrong with one request, and what follows: a kind, and a policy for each kind."""

import contextlib
import datetime
import email.utils
import math
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True)
class Policy:
    """What follows a kind of fault.

    Args:
        tries: how often one request may meet it; then that request ends, with the reason.
        in_doubt: whether the server may have charged all the same.
        slows: whether fewer requests are to be under way at once.
        ends_all: whether asking others makes no sense either.
    """

    tries: int = 1
    in_doubt: bool = False
    slows: bool = False
    ends_all: bool = False


POLICIES = {
    # It says so itself, and how long to wait. A request that waits for its turn is not at fault, so there are many tries.
    "rate limit": Policy(tries=40, slows=True),
    "server error": Policy(tries=6, slows=True),
    "unreachable": Policy(tries=6),  # refused or not found: not one byte was sent
    "no completion": Policy(tries=6),  # a proxy's page, or an error under status 200
    # Sent, and nothing whole came back. The ledger allows one more try; each counts as spent.
    "lost": Policy(tries=2, in_doubt=True, slows=True),
    "refused": Policy(ends_all=True),  # key, quota, address, model: the same for every request
    "other form": Policy(tries=4),  # it does not know an option, which is left out from then on
    "bad request": Policy(),  # this one is too long, or its content is not allowed
}


@dataclass(frozen=True)
class Fault:
    """One attempt without a reply.

    Args:
        kind: one of `POLICIES`.
        reason: in a sentence.
        status: of HTTP, where the server answered.
        wait_s: how long the server asks to wait, where it says so.
    """

    kind: str
    reason: str
    status: int | None = None
    wait_s: float | None = None

    @property
    def policy(self) -> Policy:
        """What follows."""
        return POLICIES[self.kind]


def kind_of_status(status: int, code: str | None) -> str:
    """The kind of fault that a status of HTTP and the server's error code name."""
    if code in ("insufficient_quota", "billing_hard_limit_reached", "model_not_found", "invalid_api_key"):
        return "refused"
    if status in (408, 409, 425, 429):
        return "rate limit"
    if status in (502, 504, 520, 522, 524):
        return "lost"  # said by a proxy: the server behind it may be at work, and charge
    if status >= 500:
        return "server error"
    if status in (400, 413, 422):
        return "bad request"
    return "refused"


def backoff_s(tries: int, first_s: float) -> float:
    """How long to wait after so many tries: twice as long each time, and never the same for all who wait."""
    return min(first_s * 2 ** (tries - 1), LONGEST_BACKOFF_S) * random.uniform(0.5, 1.0)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """How long a server asks to wait, by its headers: milliseconds, seconds or a date; None where it does not say."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(TypeError, ValueError):
            seconds = float(headers.get(name, "")) / unit
            return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(TypeError, ValueError):
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())
    return None


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(text: Any) -> float | None:
    """Seconds of `x-ratelimit-reset-*`: `6m0s`, `1.5s`, `20ms` or a bare number of seconds; None where it is none."""
    text = str(text or "").strip()
    with contextlib.suppress(ValueError):
        seconds = float(text)
        return seconds if 0 <= seconds < math.inf else None
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
