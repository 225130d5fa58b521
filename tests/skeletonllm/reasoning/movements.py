"""Hand-made clips for the reasoning tests: a standing figure, of which one joint is moved by a curve."""

from dataclasses import replace

import numpy as np

from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES

NUM_FRAMES = 60


def standing(topology: str = "kinect_v1_20", noise_m: float = 0.0, seed: int = 0) -> Clip:
    """The first frame of a performance, held for two seconds."""
    clip = sensors.convert(perform("bow", 0, 0, 0, fps=30.0), TOPOLOGIES[topology])
    positions = np.repeat(clip.positions[:1, :1], NUM_FRAMES, axis=1)
    positions = positions + np.random.default_rng(seed).normal(scale=noise_m or 1e-9, size=positions.shape)
    if clip.topology.dims == 2:
        positions[..., 2] = 0
    confidence = np.ones(positions.shape[:3], np.float32)
    return replace(
        clip, clip_id="standing", action="test", positions=positions.astype(np.float32), confidence=confidence
    )


def with_move(clip: Clip, part: str, side: str, metres: tuple[float, float, float], curve: np.ndarray) -> Clip:
    """The clip with one joint moved along (left, up, forward) by the curve, `[frames]` of 0 to 1."""
    joint = clip.topology.find(part, side)
    positions = clip.positions.copy()
    positions[0, :, joint] += (curve[:, None] * np.array(metres)).astype(np.float32)
    return replace(clip, positions=positions)


def ramp(first: int, last: int) -> np.ndarray:
    """0 before the first frame, 1 after the last one, a line between."""
    return np.clip((np.arange(NUM_FRAMES) - first) / (last - first), 0, 1)


def performances(performers: int = 2) -> list[Clip]:
    """Every action of the simulator."""
    from skeletonllm.skeleton.performers import ACTIONS

    return [perform(action, performer, 0, 0, fps=30.0) for action in ACTIONS for performer in range(performers)]
