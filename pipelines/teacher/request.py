"""What a teacher is asked, and what it answers. A request is a fact: its key is the hash of what was really sent."""

from dataclasses import dataclass
from typing import Any

from skeletonllm.plain import digest


@dataclass(frozen=True)
class TeacherRequest:
    """One question to one model behind one address."""

    model: str
    messages: tuple[dict[str, Any], ...]
    sampling: dict[str, Any]
    base_url: str = ""

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON of all of it."""
        return digest(
            {
                "model": self.model,
                "messages": list(self.messages),
                "sampling": self.sampling,
                "base_url": self.base_url,
            }
        )


@dataclass(frozen=True)
class TeacherReply:
    """What came back, and what it took."""

    key: str
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    attempt: int
    received_at: str
