"""What a teacher is asked, and what it answers. A request is a fact: its key is the hash of what was really asked."""

import functools
from dataclasses import dataclass, field
from typing import Any

from skeletonllm.plain import digest
from skeletonllm.reasoning.chain import CHAIN_SCHEMA


@dataclass(frozen=True)
class TeacherRequest:
    """One question to one model behind one address.

    Args:
        model: as the server calls it.
        messages: of the chat-completions protocol.
        sampling: such as `temperature` and `max_tokens`.
        base_url: of the server; two servers may give one name to two models.
        prompt_version: of the words, for the record; the words themselves are in the messages.
        schema: JSON schema of the answer.
    """

    model: str
    messages: tuple[dict[str, Any], ...]
    sampling: dict[str, Any]
    base_url: str = ""
    prompt_version: str = ""
    schema: dict[str, Any] = field(default_factory=lambda: CHAIN_SCHEMA)

    @functools.cached_property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of all of it, and of the form that the answer must have."""
        return digest(
            {
                "model": self.model,
                "messages": list(self.messages),
                "sampling": self.sampling,
                "base_url": self.base_url,
                "schema": self.schema,
            }
        )


@dataclass(frozen=True)
class TeacherReply:
    """What came back, and what it took.

    Args:
        key: of the request.
        text: as the model wrote it.
        finish_reason: `stop`, or `length` where it was cut twice.
        prompt_tokens: of all calls that it took.
        completion_tokens: of all calls that it took.
        attempt: which try brought it.
        received_at: UTC, ISO 8601.
        cost: of this request alone, USD: as the server says, else by the price; None where neither is known.
    """

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    attempt: int
    received_at: str
    cost: float | None = None
