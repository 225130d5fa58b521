"""What is said between the ledger and those who ask: caps, bounds, leave to send, and what was spent."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caps:
    """What a budget may come to, over all runs that share it; None is no limit. Cost is in USD."""

    max_cost: float | None = None
    max_tokens: int | None = None
    max_requests: int | None = None


@dataclass(frozen=True)
class Bound:
    """What a request can take at most: tokens in and out together, and USD."""

    tokens: int
    cost: float


@dataclass(frozen=True)
class Attempt:
    """Leave to send a request once.

    Args:
        id: of the row.
        key: of the request. It is also the idempotency key: a server that knows such keys charges once for all attempts.
        number: 1 for the first.
        bound: what is reserved.
        send_at: not before, in seconds since 1970; 0 where nobody asked for a pace.
    """

    id: int
    key: str
    number: int
    bound: Bound
    send_at: float = 0.0


@dataclass(frozen=True)
class Pace:
    """How fast a server may be asked, by all processes together.

    Args:
        name: of whoever shares it.
        requests: a minute; None is no limit.
        tokens: a minute; None is no limit.
        counted_tokens: how many of them the request counts as.
        paused_until: as this process was told by the server, in seconds since 1970.
    """

    name: str
    requests: float | None
    tokens: float | None
    counted_tokens: float
    paused_until: float


@dataclass(frozen=True)
class Wait:
    """Not now, but perhaps in a moment: why."""

    reason: str


@dataclass(frozen=True)
class Totals:
    """What was spent. In doubt and reserved are part of the first three.

    Args:
        requests: that were or may have been charged.
        tokens: of them.
        cost: of them, USD.
        in_doubt: how many requests nobody knows of whether they were charged.
        in_doubt_cost: of these, USD.
        reserved: how many requests are under way.
        reserved_cost: of these, USD.
        failed: attempts that were not charged.
        settled: requests with a reply.
    """

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0
    in_doubt: int = 0
    in_doubt_cost: float = 0.0
    reserved: int = 0
    reserved_cost: float = 0.0
    failed: int = 0
    settled: int = 0
