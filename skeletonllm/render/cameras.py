"""Where the cameras of a clip stand: how far it is turned for each frame, and what each frame shows of it.

A camera that goes around is a body that turns before a camera that stands still, so everything else knows one camera only.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int

from skeletonllm.render.camera import fit_to_clip
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.prepare import PreparedClip
from skeletonllm.skeleton.kinematics import quaternion_product

# What the fixed camera sees: a canonical body with its arms up and a step to each side.
_FIXED_CENTER_M = (0.0, -0.1, 0.0)
_FIXED_HALF_WIDTH_M = 1.5


@dataclass(frozen=True)
class Views:
    """How each frame is seen.

    Args:
        yaws: how far the body is turned about the vertical, radians.
        center_m: what the camera looks at.
        half_width_m: how much it sees to each side.
    """

    yaws: Float[np.ndarray, " frames"]
    center_m: Float32[np.ndarray, "frames 3"]
    half_width_m: Float32[np.ndarray, " frames"]


def place_cameras(
    clip: PreparedClip,
    config: RenderConfig,
    view: Int[np.ndarray, " frames"],
    phase: Float[np.ndarray, " frames"],
    generator: torch.Generator | None,
) -> Views:
    """The cameras of one clip. Frames of one camera show the same place; a 2D clip cannot be turned.

    Args:
        clip: in its canonical place.
        config: which cameras.
        view: number of the camera that takes the frame.
        phase: place of the frame in the clip, 0 to 1.
        generator: given in training: the jitter is drawn from it.
    """
    # Cameras share half a turn: from behind, an orthographic one sees the same outlines again.
    starts = np.zeros(config.num_views)
    orbit = 0.0
    if clip.topology.dims == 3:
        starts = _first_yaw(clip, config, generator) + np.arange(config.num_views) * np.pi / config.num_views
        orbit = config.orbit_yaw if config.view == "orbit" else 0.0
    last = clip.positions.shape[1] - 1
    way = orbit * (np.arange(last + 1) / max(1, last) - 0.5)
    centers, half_widths = zip(*(_seen(clip, config, start + way) for start in starts), strict=True)
    center, half_width = np.stack(centers)[view], np.stack(half_widths)[view]
    if generator is not None and config.camera_jitter:
        right, up, zoom = config.camera_jitter * (2 * torch.rand(3, generator=generator).numpy() - 1)
        center[:, 0] += right * half_width
        center[:, 1] += up * half_width
        half_width = half_width * (1 + zoom)
    return Views(starts[view] + orbit * (phase - 0.5), center, half_width)


def _first_yaw(clip: PreparedClip, config: RenderConfig, generator: torch.Generator | None) -> float:
    # Several persons already stand side by side.
    yaw = config.view_yaw if len(clip.positions) == 1 else 0.0
    if generator is not None and config.yaw_jitter:
        yaw += float((2 * torch.rand((), generator=generator) - 1) * config.yaw_jitter)
    return yaw


def _seen(clip: PreparedClip, config: RenderConfig, yaws: np.ndarray) -> tuple[np.ndarray, np.float32]:
    """Centre and half width of a camera before which each frame of the whole clip is turned so far."""
    if config.view == "fixed":
        return np.array(_FIXED_CENTER_M, np.float32), np.float32(_FIXED_HALF_WIDTH_M)
    if not yaws.any():
        return clip.center_m, clip.half_width_m
    return fit_to_clip(turned(clip.positions, yaws), clip.confidence)


def turned(
    points: Float[np.ndarray, "persons frames points 3"], yaws: Float[np.ndarray, " frames"]
) -> Float[np.ndarray, "persons frames points 3"]:
    """Points turned about +y, each frame by its own angle (radians; +z goes to +x)."""
    if not yaws.any():
        return points
    return points @ rotations_y(yaws).transpose(0, 2, 1)


def rotations_y(yaws: Float[np.ndarray, " frames"]) -> Float32[np.ndarray, "frames 3 3"]:
    """Turns about +y as matrices."""
    cos, sin = np.cos(yaws).astype(np.float32), np.sin(yaws).astype(np.float32)
    none, one = np.zeros_like(cos), np.ones_like(cos)
    return np.stack((cos, none, sin, none, one, none, -sin, none, cos), -1).reshape(-1, 3, 3)


def turned_rotations(
    rotations: Float[np.ndarray, "persons frames points 4"], yaws: Float[np.ndarray, " frames"]
) -> Float[np.ndarray, "persons frames points 4"]:
    """Rotations (quaternions, wxyz) followed by a turn about +y, each frame by its own angle."""
    if not yaws.any():
        return rotations
    none = np.zeros_like(yaws)
    turns = np.stack((np.cos(yaws / 2), none, np.sin(yaws / 2), none), -1).astype(np.float32)
    return quaternion_product(turns[:, None], rotations)
