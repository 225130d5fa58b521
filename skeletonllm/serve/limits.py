"""How much a server takes on, and how it says no."""

from dataclasses import dataclass
from typing import Any

from skeletonllm.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """What one server accepts. All is bounded, so memory is."""

    max_body_mb: int = 16
    """Of a request, in MiB."""
    max_waiting: int = 64
    """Requests accepted at once, the ones under way included; more are told to come back (503)."""
    max_batch: int = 16
    """Requests that the model answers together."""
    max_frames: int = 10_000
    """Frames of a clip that is sent."""
    max_pictures: int = 64
    """Pictures of a request."""
    max_new_tokens: int = 1024
    """Of an answer."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}, must be at least 1")

    @property
    def max_body_bytes(self) -> int:
        """Of a request."""
        return self.max_body_mb << 20


class Refusal(Exception):
    """A request that is not answered, in the shape that OpenAI's clients understand.

    Args:
        message: where, what is, what should be, what to do.
        status: of HTTP.
        param: the field that is wrong.
        code: for programs.
        retry_after_s: when to come back.
    """

    def __init__(
        self, message: str, status: int = 400, param: str | None = None, code: str | None = None, retry_after_s: int = 0
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code = message, status, param, code
        self.retry_after_s = retry_after_s

    def to_dict(self) -> dict[str, Any]:
        """The body of the response."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
