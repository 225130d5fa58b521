"""One labelled movement, in the project's one space: metres, right-handed, +y up, seconds."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32

from skeletonllm.errors import DataError
from skeletonllm.skeleton.topology import Topology


@dataclass(frozen=True)
class Source:
    """Where a clip comes from: what protocols split on and what lineage needs. Unknown fields are empty.

    Args:
        dataset: its name.
        format: a name of `skeletonllm.skeleton.formats`.
        subject: who moves.
        camera: which camera or sensor.
        setup: how the cameras stood.
        repetition: which of several takes.
        file: below the folder that was read.
        sha256: of the file's bytes.
        fps_from: who says how many frames a second has: `file`, `format` (its convention) or `declared` (the user).
        space: the file's own unit and axes, and how they are known, such as "cm, +y up (by the body's size)".
    """

    dataset: str = ""
    format: str = ""
    subject: str = ""
    camera: str = ""
    setup: str = ""
    repetition: str = ""
    file: str = ""
    sha256: str = ""
    fps_from: str = ""
    space: str = ""


@dataclass(frozen=True)
class Clip:
    """One labelled movement of one or more persons.

    Args:
        clip_id: unique in its data set.
        topology: joints and parents.
        positions: metres, right-handed, +y up. Finite everywhere; 0 where a joint was not seen.
        confidence: 0 (not seen) to 1.
        fps: frames per second.
        action: the class, where it is known.
        captions: free descriptions.
        rotations: unit quaternions (wxyz), parent to world, where the file has them; 0 for a joint without.
        source: where it comes from.

    Raises:
        DataError: a shape, a number or the frame rate cannot be.
    """

    clip_id: str
    topology: Topology
    positions: Float32[np.ndarray, "persons frames joints 3"]
    confidence: Float32[np.ndarray, "persons frames joints"]
    fps: float
    action: str | None = None
    captions: tuple[str, ...] = ()
    rotations: Float32[np.ndarray, "persons frames joints 4"] | None = None
    source: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        if not self.fps > 0:
            raise DataError(f"clip {self.clip_id}: fps is {self.fps}, must be positive; give it with --fps")
        persons, frames, joints, _ = self.positions.shape
        if 0 in (persons, frames):
            raise DataError(
                f"clip {self.clip_id}: {persons} persons and {frames} frames; at least one of each is needed"
            )
        if joints != self.topology.num_joints:
            raise DataError(
                f"clip {self.clip_id}: {joints} joints, but topology {self.topology.name} has "
                f"{self.topology.num_joints}"
            )
        if self.confidence.shape != (persons, frames, joints):
            raise DataError(
                f"clip {self.clip_id}: confidence has shape {self.confidence.shape}, "
                f"must be {(persons, frames, joints)}"
            )
        if not np.isfinite(self.positions).all():
            raise DataError(f"clip {self.clip_id}: a position is not finite; a joint not seen is 0 with confidence 0")

    @property
    def num_persons(self) -> int:
        """Persons in the clip."""
        return self.positions.shape[0]

    @property
    def num_frames(self) -> int:
        """Frames in the clip."""
        return self.positions.shape[1]

    @property
    def duration_s(self) -> float:
        """From the first frame's time to the last one's."""
        return (self.num_frames - 1) / self.fps


def mask_unseen(
    positions: Float32[np.ndarray, "persons frames joints 3"],
    confidence: Float32[np.ndarray, "persons frames joints"] | None = None,
) -> tuple[Float32[np.ndarray, "persons frames joints 3"], Float32[np.ndarray, "persons frames joints"]]:
    """Positions and confidences under the rule that (0, 0, 0) and anything not finite mean "not seen"."""
    if not np.isfinite(positions).all():
        positions = np.where(np.isfinite(positions).all(-1, keepdims=True), positions, 0)
    # Coordinate by coordinate: numpy is slow at reducing an axis of three.
    seen = (positions[..., 0] != 0) | (positions[..., 1] != 0) | (positions[..., 2] != 0)
    if confidence is None:
        return positions.astype(np.float32), seen.astype(np.float32)
    kept = np.where(seen, np.clip(np.nan_to_num(confidence), 0, 1), 0).astype(np.float32)
    if (kept > 0).sum() < seen.sum():
        positions = np.where((kept > 0)[..., None], positions, 0)
    return positions.astype(np.float32), kept


def drop_empty_persons(clip_id: str, persons: Iterable[int], confidence: np.ndarray) -> list[int]:
    """Those of `persons` who are seen in at least one frame.

    Raises:
        DataError: nobody is.
    """
    kept = [person for person in persons if (confidence[person] > 0).any()]
    if not kept:
        raise DataError(f"clip {clip_id}: no joint of any person was seen in any frame")
    return kept
