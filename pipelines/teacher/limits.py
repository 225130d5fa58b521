"""How fast, how many at once and up to what a teacher is asked. None of it changes what is asked."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pipelines.teacher.faults import duration_s
from pipelines.teacher.ledger import Bound, Caps, Pace
from pipelines.teacher.request import TeacherReply
from skeletonllm.errors import ConfigError

# Turns are a little rarer than allowed, so that a turn that was missed by a moment can be made up for, and requests of one
# process never come faster than allowed meanwhile.
_SHARE_OF_TURNS = 0.975
_SHARE_AT_MOST = 0.99


@dataclass(frozen=True)
class Limits:
    """What a run may take, and how fast. None is no limit.

    Args:
        max_cost: USD, over all runs that make the same data set; needs the model's price.
        max_tokens: in and out together, likewise.
        max_requests: that were or may have been charged, likewise.
        requests_per_minute: over all processes that share the ledger; a lower limit that the server names wins.
        tokens_per_minute: likewise.
        at_once: requests under way at most, of one process. It begins with a few, and takes more while all is well.
        batch: ask by the Batch API: at half the price, within a day.
        replay: take replies from the ledger alone and ask nobody.
    """

    max_cost: float | None = None
    max_tokens: int | None = None
    max_requests: int | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    at_once: int = 16
    batch: bool = False
    replay: bool = False

    def __post_init__(self) -> None:
        for name in ("max_cost", "max_tokens", "max_requests"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConfigError(f"{name} is {value}, must not be negative")
        for name in ("requests_per_minute", "tokens_per_minute", "at_once"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} is {value}, must be positive")

    @property
    def caps(self) -> Caps:
        """What the ledger keeps to."""
        return Caps(self.max_cost, self.max_tokens, self.max_requests)


class Gate:
    """Lets so many requests in at once: more while all is well, half as many when the server is too busy.

    Args:
        most: never more.
        first: to begin with. One alone learns from the headers what is allowed, before the others come.
    """

    def __init__(self, most: int, first: int = 1) -> None:
        self._most, self._allowed, self._inside = float(most), float(first), 0
        self._changed = threading.Condition()
        self._is_starting = True  # doubles each round trip, until the first sign of trouble
        self._slowed_at = 0.0

    @contextmanager
    def entered(self) -> Iterator[float]:
        """Waits for room; yields when that was."""
        with self._changed:
            while self._inside + 1 > self._allowed:
                self._changed.wait()
            self._inside += 1
        try:
            yield time.monotonic()
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify()

    def went_well(self) -> None:
        """One more at once, or a part of one."""
        with self._changed:
            before = int(self._allowed)
            self._allowed = min(self._most, self._allowed + (1.0 if self._is_starting else 1.0 / self._allowed))
            self._changed.notify(int(self._allowed) - before + 1)

    def slow_down(self, entered_at: float) -> None:
        """Half as many, once for all requests that were under way together."""
        with self._changed:
            if entered_at > self._slowed_at:
                self._slowed_at = time.monotonic()
                self._is_starting = False
                self._allowed = max(1.0, self._allowed / 2)


class Pacer:
    """Keeps requests and tokens a minute below what is set and what the server's headers name.

    Args:
        name: of whoever shares the limits: the address and the model.
        limits: as set.
    """

    def __init__(self, name: str, limits: Limits) -> None:
        self._name, self._lock = name, threading.Lock()
        self._requests, self._tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._bound_tokens = self._real_tokens = 0
        self._paused_until = self._last_at = 0.0

    def pace(self, bound: Bound) -> Pace:
        """What the next request is to be counted as. Tokens are those that requests really took, on average."""
        with self._lock:
            share = self._real_tokens / self._bound_tokens if self._bound_tokens else 1.0
            requests, tokens = (one and one * _SHARE_OF_TURNS for one in (self._requests, self._tokens))
            return Pace(self._name, requests, tokens, bound.tokens * share, self._paused_until)

    def wait_s(self, send_at: float) -> float:
        """How much longer to hold a request that has leave for a moment; the server may have asked for a pause since."""
        return max(send_at, self._paused_until) - time.time()

    def hold(self) -> None:
        """Keep a moment's distance from the request before, of whichever thread."""
        with self._lock:
            now = time.monotonic()
            apart_s = 60.0 / (self._requests * _SHARE_AT_MOST) if self._requests else 0.0
            self._last_at = max(now, self._last_at + apart_s)
            wait_s = self._last_at - now
        time.sleep(wait_s)

    def pause(self, seconds: float) -> None:
        """Send nothing for so long."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.time() + seconds)

    def took(self, bound: Bound, reply: TeacherReply) -> None:
        """Learn how much of what was reserved is really taken."""
        with self._lock:
            self._bound_tokens += bound.tokens
            self._real_tokens += reply.prompt_tokens + reply.completion_tokens

    def read(self, headers: Mapping[str, str]) -> None:
        """Learn from a response what is allowed, and whether nothing is left for now."""
        with self._lock:
            self._requests = _lower(self._requests, headers.get("x-ratelimit-limit-requests"))
            self._tokens = _lower(self._tokens, headers.get("x-ratelimit-limit-tokens"))
        for what in ("requests", "tokens"):
            if headers.get(f"x-ratelimit-remaining-{what}") == "0":
                self.pause(duration_s(headers.get(f"x-ratelimit-reset-{what}")) or 0.0)


def _lower(limit: float | None, told: str | None) -> float | None:
    seconds = duration_s(told)  # a number is one here too
    return limit if not seconds else min(limit or seconds, seconds)
