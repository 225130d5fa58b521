"""How clips become frames, as plain data. Imports nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from skeletonllm.errors import ConfigError


@dataclass(frozen=True)
class RenderConfig:
    """How clips become frames."""

    renderer: Literal["draction", "skeleton_2d"] = "draction"
    """`draction` learns what to show; `skeleton_2d` draws the same for ever."""
    num_frames: int = 12
    size_px: int = 224
    """Width and height."""
    gaussians_per_bone: int = 10
    thickness_m: float = 0.035
    """Radius of a limb on the canonical body."""
    camera: Literal["orthographic", "perspective"] = "orthographic"
    backend: Literal["reference"] = "reference"
    modulator: bool = True
    """Whether motion changes what is drawn; without it only the colours of the parts are learned."""
    hidden: int = 64
    """Width of the modulator's layers."""
    view_yaw: float = 0.0
    """A single person who starts facing the camera is turned this far to the picture's right, radians. About 0.5 shows
    what moves forward, at the price of looking less like 2D recordings, which cannot be turned."""
    yaw_jitter: float = 0.0
    """In training each clip is turned about the vertical by up to this angle, radians."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "size_px", "hidden"):
            if getattr(self, name) < 1:
                raise ConfigError(f"render.{name} is {getattr(self, name)}, must be at least 1")
        for name in ("gaussians_per_bone", "yaw_jitter"):
            if getattr(self, name) < 0:
                raise ConfigError(f"render.{name} is {getattr(self, name)}, must not be negative")
        if not self.thickness_m > 0:
            raise ConfigError(f"render.thickness_m is {self.thickness_m}, must be positive")
