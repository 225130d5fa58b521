"""The only reader of environment variables: addresses and keys, nothing that a result depends on in silence."""

import os
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from skeletonllm.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Where servers are, and the keys to them. Keys are in no repr, so they are in no log."""

    teacher_model: str = ""
    """SKELETONLLM_TEACHER_MODEL; empty means the offline kinematic teacher."""
    teacher_url: str = ""
    """OPENAI_BASE_URL; empty means the OpenAI API itself."""
    teacher_key: str = field(default="", repr=False)
    """OPENAI_API_KEY."""
    ray_address: str = ""
    """RAY_ADDRESS; empty means a Ray of this process."""
    ray_has_token: bool = False
    """Whether RAY_AUTH_MODE is `token`."""
    ray_insecure: bool = False
    """Whether SKELETONLLM_RAY_INSECURE is 1: other machines' clusters may be joined without a token."""


def read_settings() -> Settings:
    """The settings of this process's environment.

    Raises:
        ConfigError: the key cannot be one; a teacher is named, and its address cannot be one or holds a password.
    """
    settings = Settings(
        teacher_model=_read("SKELETONLLM_TEACHER_MODEL"),
        teacher_url=_read("OPENAI_BASE_URL"),
        teacher_key=_read("OPENAI_API_KEY"),
        ray_address=_read("RAY_ADDRESS"),
        ray_has_token=_read("RAY_AUTH_MODE") == "token",
        ray_insecure=_read("SKELETONLLM_RAY_INSECURE") == "1",
    )
    if settings.teacher_model and settings.teacher_url:
        _check_address(settings.teacher_url)
    if not settings.teacher_key.isascii() or not settings.teacher_key.isprintable():
        raise ConfigError("OPENAI_API_KEY holds letters that no key has (not ASCII); copy it again")
    return settings


def _read(name: str) -> str:
    return os.environ.get(name, "").strip()  # a key from a file often ends in a newline, which no header may hold


def _check_address(url: str) -> None:
    """Addresses are logged and kept in manifests, so a password must not be in one; the message does not show it."""
    try:
        parts = urlsplit(url)
        host, has_user = parts.hostname, "@" in parts.netloc
    except ValueError:
        host, has_user, parts = None, False, urlsplit("")
    if has_user:
        raise ConfigError(
            "OPENAI_BASE_URL holds a user name or a password; give the address alone and the key in OPENAI_API_KEY"
        )
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigError(f"OPENAI_BASE_URL is {url!r}, must be an address like http://localhost:8000/v1")
