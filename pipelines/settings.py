"""The only reader of environment variables: addresses and keys, nothing that a result depends on in silence."""

import functools
import logging
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from skeletonllm.answer.address import Rules, check_key, check_url
from skeletonllm.errors import ConfigError

logger = logging.getLogger(__name__)

_KEY, _KEY_FILE = "OPENAI_API_KEY", "OPENAI_API_KEY_FILE"
_LONGEST_KEY = 8192
_SWITCH = {"": False, "0": False, "1": True}


@dataclass(frozen=True)
class Settings:
    """Where servers are, and the keys to them. Keys are in no repr, so they are in no log."""

    teacher_model: str = ""
    """SKELETONLLM_TEACHER_MODEL; empty means the offline kinematic teacher."""
    teacher_url: str = ""
    """OPENAI_BASE_URL; empty means the OpenAI API itself."""
    teacher_key: str = field(default="", repr=False)
    """OPENAI_API_KEY, or what is in the file OPENAI_API_KEY_FILE."""
    teacher_api_version: str = ""
    """OPENAI_API_VERSION; given, the server is spoken to as Azure does."""
    ledger_url: str = field(default="", repr=False)
    """SKELETONLLM_LEDGER_URL, which may hold a password; empty means a SQLite file in the work folder."""
    prices_file: str = ""
    """SKELETONLLM_PRICES; empty means `prices.toml` in the work folder, if there is one."""
    ray_address: str = ""
    """RAY_ADDRESS; empty means a Ray of this process."""
    ray_has_token: bool = False
    """Whether RAY_AUTH_MODE is `token`."""
    ray_insecure: bool = False
    """Whether SKELETONLLM_RAY_INSECURE is 1: other machines' clusters may be joined without a token."""
    rules: Rules = field(default_factory=Rules)
    """SKELETONLLM_TEACHER_HOSTS, with commas between them, and SKELETONLLM_TEACHER_INSECURE."""


def read_settings() -> Settings:
    """The settings of this process's environment; keys are read where they are used, and travel nowhere.

    Raises:
        ConfigError: the key cannot be one or cannot be read; a teacher is named, and its address may not be asked.
    """
    settings = Settings(
        teacher_model=_read("SKELETONLLM_TEACHER_MODEL"),
        teacher_url=_read("OPENAI_BASE_URL"),
        teacher_key=_read_key(),
        teacher_api_version=_read("OPENAI_API_VERSION"),
        ledger_url=_read("SKELETONLLM_LEDGER_URL"),
        prices_file=_read("SKELETONLLM_PRICES"),
        ray_address=_read("RAY_ADDRESS"),
        ray_has_token=_read("RAY_AUTH_MODE") == "token",
        ray_insecure=_switch("SKELETONLLM_RAY_INSECURE"),
        rules=Rules(_list("SKELETONLLM_TEACHER_HOSTS"), _switch("SKELETONLLM_TEACHER_INSECURE")),
    )
    if settings.teacher_model and settings.teacher_url:
        check_url(settings.teacher_url, "OPENAI_BASE_URL", settings.rules)
    return settings


def _read(name: str) -> str:
    return os.environ.get(name, "").strip()  # a key from a file often ends in a newline, which no header may hold


def _list(name: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in _read(name).split(",") if word.strip())


def _switch(name: str) -> bool:
    if _read(name) not in _SWITCH:
        raise ConfigError(f"{name} is {_read(name)!r}, must be 1 or 0")
    return _SWITCH[_read(name)]


def _read_key() -> str:
    """The key, of the environment or of the file that it names. No message shows what was found."""
    key, file = _read(_KEY), _read(_KEY_FILE)
    if key and file:
        raise ConfigError(f"{_KEY} and {_KEY_FILE} are both set, and only one can be meant; unset one of them")
    if not file:
        check_key(key, _KEY)
        return key
    where = f"{_KEY_FILE} {file}"
    try:
        with Path(file).open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            data = opened.read(_LONGEST_KEY + 1)
    except OSError as error:
        raise ConfigError(
            f"{where}: cannot be read ({error.strerror}); name a file that holds the key alone"
        ) from error
    key = data.decode("latin-1").strip()
    if not key or len(data) > _LONGEST_KEY:
        raise ConfigError(f"{where}: it is {'longer than a key' if key else 'empty'}, must hold the key alone")
    check_key(key, where)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        _warn_of_readers(file)
    return key


@functools.cache
def _warn_of_readers(file: str) -> None:
    logger.warning("%s: others on this machine may read this key; run: chmod 600 %s", file, file)
