"""What a renderer needs of a clip that does not change from step to step: done once, kept by whoever draws it again."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32

from skeletonllm.render.camera import fit_to_clip, side_view_yaw
from skeletonllm.render.turns import file_turns, unit_or_nothing
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import canonicalise, point, quaternion_product, rotate_y
from skeletonllm.skeleton.topology import Topology

# Farther than this nothing is a place: numbers stay finite through squares in float32.
_FARTHEST_M = 1e6
# A body of which half lies nearer together is measured in another unit.
_SMALLEST_M = 1e-3
# A joint farther than this many camera half widths from the camera's centre is as far off the picture as it can be.
_FARTHEST_HALF_WIDTHS = 20.0
# Where a part of a 2D body stands in front of its trunk, canonical metres: people hold their hands before themselves. It
# decides who hides whom, whatever the order of the joints in a format.
_LIFTS_M = {"face": 0.02, "knee": 0.01, "ankle": 0.02, "foot": 0.03, "elbow": 0.04, "wrist": 0.06, "hand": 0.08}
# Persons of a 2D clip stand one behind the other, the smaller ones farther away.
_BETWEEN_PERSONS_M = 0.2


@dataclass(frozen=True)
class PreparedClip:
    """A clip in its canonical place, before its frames are picked.

    Args:
        topology: joints and parents.
        positions: canonical metres, unseen joints filled in time.
        confidence: 0 to 1.
        roots: the pelvis of each person, canonical metres.
        turns: quaternions (wxyz) from the T-pose to the frame, where the file has rotations, never far from those of the
            frame before; else they are found for the picked frames only.
        fps: frames per second.
        center_m: what the camera looks at.
        half_width_m: how much it sees to each side.
    """

    topology: Topology
    positions: Float32[np.ndarray, "persons frames joints 3"]
    confidence: Float32[np.ndarray, "persons frames joints"]
    roots: Float32[np.ndarray, "persons frames 3"]
    turns: Float32[np.ndarray, "persons frames joints 4"] | None
    fps: float
    center_m: Float32[np.ndarray, " 3"]
    half_width_m: np.float32

    @property
    def num_bytes(self) -> int:
        """Of its arrays."""
        arrays = (self.positions, self.confidence, self.roots, self.turns)
        return sum(array.nbytes for array in arrays if array is not None)


def prepare(clip: Clip) -> PreparedClip:
    """Put a clip in its canonical place and a camera in front of it.

    A single person faces the camera at the start. Persons who would hide each other are seen from the side. What has two
    dimensions gets a third one, small and the same for all formats.
    """
    body = canonicalise(_sound(clip))
    if body.topology.dims == 2:
        body = replace(body, positions=_lifted(body))
    positions, rotations = body.positions, body.rotations
    roots = point(body, "pelvis")
    roots = positions.mean(2) if roots is None else roots
    yaw = side_view_yaw(roots, body.confidence.max(-1)) if body.topology.dims == 3 else 0.0
    if yaw:
        positions, roots = rotate_y(positions, yaw), rotate_y(roots, yaw)
        if rotations is not None:
            turn = np.array([np.cos(yaw / 2), 0, np.sin(yaw / 2), 0], np.float32)
            rotations = quaternion_product(turn, rotations).astype(np.float32)
    center, half_width = fit_to_clip(positions, body.confidence)
    reach = _FARTHEST_HALF_WIDTHS * half_width
    positions = np.clip(positions, center - reach, center + reach)
    turns = None
    if rotations is not None:
        turns = _one_sign(file_turns(positions, body.confidence, body.topology, rotations))
    return PreparedClip(
        topology=body.topology,
        positions=positions.astype(np.float32),
        confidence=body.confidence,
        roots=np.clip(roots, center - reach, center + reach).astype(np.float32),
        turns=turns,
        fps=body.fps,
        center_m=center,
        half_width_m=half_width,
    )


def _sound(clip: Clip) -> Clip:
    """The clip with numbers that can be computed with; its own where they are so already."""
    confidence = np.clip(np.nan_to_num(clip.confidence, nan=0, posinf=1, neginf=0), 0, 1)
    rotations = None if clip.rotations is None else unit_or_nothing(clip.rotations)
    sound = replace(clip, confidence=confidence, rotations=rotations)
    return replace(sound, positions=_in_reach(sound))


def _in_reach(clip: Clip) -> Float32[np.ndarray, "persons frames joints 3"]:
    """The places in a unit in which they can be computed with; their own where that is so, as nearly always."""
    seen = clip.positions[clip.confidence > 0].astype(np.float64)
    if not len(seen):
        return np.zeros_like(clip.positions)
    middle = np.median(seen, axis=0)
    away = np.abs(seen - middle).max(-1)
    size = float(np.median(away)) or float(away.max()) or 1.0
    if np.abs(seen).max() <= _FARTHEST_M and size >= _SMALLEST_M:
        return np.clip(clip.positions, -_FARTHEST_M, _FARTHEST_M)
    return np.clip((clip.positions - middle) / size, -_FARTHEST_M, _FARTHEST_M).astype(np.float32)


def _lifted(body: Clip) -> Float32[np.ndarray, "persons frames joints 3"]:
    """A 2D body, or several, with a depth for every joint."""
    seen = body.confidence > 0
    high = np.where(seen, body.positions[..., 1], -np.inf).max((1, 2))
    low = np.where(seen, body.positions[..., 1], np.inf).min((1, 2))
    from_largest = np.argsort(np.argsort(low - high, kind="stable"))
    lifts = np.array([_LIFTS_M.get(part, 0.0) for part in body.topology.parts])
    positions = body.positions.copy()
    positions[..., 2] = lifts - _BETWEEN_PERSONS_M * from_largest[:, None, None]
    return positions


def _one_sign(turns: np.ndarray) -> np.ndarray:
    """The same rotations, with no jump from q to -q between frames."""
    dots = (turns[:, 1:] * turns[:, :-1]).sum(-1)
    signs = np.cumprod(np.where(dots < 0, -1, 1), axis=1)
    return np.concatenate((turns[:, :1], turns[:, 1:] * signs[..., None]), 1).astype(np.float32)
