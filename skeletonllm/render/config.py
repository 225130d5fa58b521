"""How clips become frames, as plain data. Imports nothing heavy."""

import math
from dataclasses import dataclass
from typing import Literal

from skeletonllm.errors import ConfigError

Cue = Literal["place", "depth", "velocity", "acceleration", "speed", "phase", "confidence", "person"]


@dataclass(frozen=True)
class RenderConfig:
    """How clips become frames."""

    renderer: Literal["draction", "skeleton_2d", "skeleton_3d_velocity", "jtm", "paper"] = "draction"
    """`draction` learns what to show; the next three draw the same for ever; `paper` is the paper's released renderer with
    the weights of a file."""
    paper_weights: str = ""
    """With `paper`: the safetensors file."""
    num_frames: int = 12
    """Frames of a clip, over all views."""
    size_px: int = 224
    """Width and height."""
    gaussians_per_bone: int = 10
    thickness_m: float = 0.035
    """Radius of a limb on the canonical body."""
    backend: Literal["reference", "cpu", "gsplat", "auto"] = "cpu"
    """The rasteriser: `cpu` is a fast kernel, built at first use; `reference` plain torch; `gsplat` needs CUDA. `auto`
    takes `gsplat` for tensors on a GPU, else `cpu`, and says so in the log."""
    antialiased: bool = False
    """Gaussians narrower than a pixel become fainter instead of wider, as in gsplat's mode of this name."""

    camera: Literal["orthographic", "perspective"] = "orthographic"
    view: Literal["fitted", "fixed", "orbit"] = "fitted"
    """`fitted` shows the whole clip; `fixed` the same metres of every clip; `orbit` is fitted and goes around."""
    num_views: int = 1
    """Cameras around the body; each gets an equal share of the frames, one camera's after the other's."""
    view_yaw: float = 0.0
    """A single person who starts facing the camera is turned this far to the picture's right, radians. About 0.5 shows
    what moves forward, at the price of looking less like 2D recordings, which cannot be turned."""
    orbit_yaw: float = math.pi / 2
    """How far an orbiting camera goes around from the first frame to the last, radians."""
    yaw_jitter: float = 0.0
    """In training each clip is turned about the vertical by up to this angle, radians."""
    camera_jitter: float = 0.0
    """In training the camera zooms and moves aside by up to this share of what it sees."""

    modulator: bool = True
    """Whether motion changes what is drawn; without it only the colours of the parts are learned."""
    hidden: int = 64
    """Width of the modulator's layers."""
    cues_off: tuple[Cue, ...] = ()
    """What the modulator is not told, for ablation."""
    temporal: Literal["none", "gru", "convolution"] = "none"
    """What the modulator knows of earlier frames: nothing, all (GRU), or the last two (causal convolution)."""
    start: Literal["designed", "random"] = "designed"
    """Weights before training: `designed` already shows sides, limbs and motion; `random` is for comparison."""
    legibility: float = 0.0
    """Weight of a penalty on frames that cannot be read (nothing drawn, no contrast) in the training loss."""

    def __post_init__(self) -> None:
        for name in ("num_frames", "size_px", "hidden", "num_views"):
            if getattr(self, name) < 1:
                raise ConfigError(f"render.{name} is {getattr(self, name)}, must be at least 1")
        for name in ("gaussians_per_bone", "yaw_jitter", "camera_jitter", "legibility"):
            if getattr(self, name) < 0:
                raise ConfigError(f"render.{name} is {getattr(self, name)}, must not be negative")
        if not self.thickness_m > 0:
            raise ConfigError(f"render.thickness_m is {self.thickness_m}, must be positive")
        if self.camera_jitter >= 0.5:
            raise ConfigError(f"render.camera_jitter is {self.camera_jitter}, must be below 0.5")
        if self.num_frames % self.num_views:
            raise ConfigError(
                f"render.num_frames is {self.num_frames}, which {self.num_views} views cannot share; choose a multiple"
            )
        if (self.renderer == "paper") != bool(self.paper_weights):
            raise ConfigError(
                f"render.renderer is {self.renderer!r} and render.paper_weights {self.paper_weights!r}: the file of the "
                "released weights goes with the renderer 'paper' and with no other"
            )
