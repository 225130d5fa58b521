"""The only reader of environment variables: addresses and keys, nothing that a result depends on in silence."""

import os
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Settings:
    """Where servers are, and the keys to them. Keys are in no repr, so they are in no log."""

    teacher_model: str = ""
    """SKELETONLLM_TEACHER_MODEL; empty means the offline kinematic teacher."""
    teacher_url: str = ""
    """OPENAI_BASE_URL; empty means the openai package's own default."""
    teacher_key: str = field(default="", repr=False)
    """OPENAI_API_KEY."""
    ray_address: str = ""
    """RAY_ADDRESS; empty means a Ray of this process."""


def read_settings() -> Settings:
    """The settings of this process's environment."""
    return Settings(
        teacher_model=os.environ.get("SKELETONLLM_TEACHER_MODEL", ""),
        teacher_url=os.environ.get("OPENAI_BASE_URL", ""),
        teacher_key=os.environ.get("OPENAI_API_KEY", ""),
        ray_address=os.environ.get("RAY_ADDRESS", ""),
    )
