"""Which joints of a topology the checks look at, and the few sums that they share."""

import functools
from dataclasses import dataclass

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topology import Topology

# Share of the body's mass that moves with a joint; arms and legs by segment, the trunk by its four corners.
_MASSES = {"shoulder": 0.16, "hip": 0.16, "head": 0.08, "knee": 0.10, "ankle": 0.06, "elbow": 0.03, "wrist": 0.02}


@dataclass(frozen=True)
class Limb:
    """Three joints of an arm or a leg: upper end, hinge, lower end."""

    upper: int
    hinge: int
    lower: int


@dataclass(frozen=True)
class Landmarks:
    """Joints by their place on the body; what a topology lacks is empty or None.

    Args:
        shoulders: left and right, or empty.
        hips: left and right, or empty.
        legs: hip, knee, ankle.
        arms: shoulder, elbow, wrist.
        feet: (heel or ankle, toe) on each side.
        nose: of a topology with a face.
        ears: left and right.
        head: or what stands in for it.
        masses: of each joint, summing to 1, for the centre of mass; None where arms, legs or trunk are missing.
    """

    shoulders: tuple[int, ...]
    hips: tuple[int, ...]
    legs: tuple[Limb, ...]
    arms: tuple[Limb, ...]
    feet: tuple[tuple[int, int], ...]
    nose: int | None
    ears: tuple[int, ...]
    head: int | None
    masses: tuple[float, ...] | None

    @property
    def trunk(self) -> tuple[int, ...]:
        """Shoulders and hips."""
        return (*self.shoulders, *self.hips)

    @property
    def ankles(self) -> tuple[int, ...]:
        """The lower ends of the legs."""
        return tuple(leg.lower for leg in self.legs)


@functools.lru_cache(1024)
def landmarks_of(topology: Topology) -> Landmarks:
    """The landmarks of a topology."""

    def pair(part: str) -> tuple[int, ...]:
        found = [topology.find(part, side) for side in ("left", "right")]
        return () if None in found else tuple(joint for joint in found if joint is not None)

    def limbs(*parts: str) -> tuple[Limb, ...]:
        found = [[topology.find(part, side) for part in parts] for side in ("left", "right")]
        return tuple(Limb(*joints) for joints in found if None not in joints and len(set(joints)) == len(joints))  # pyright: ignore[reportArgumentType]

    feet = tuple(foot for side in ("left", "right") if (foot := _foot(topology, side)) is not None)
    face = [joint for joint in range(topology.num_joints) if topology.parts[joint] == "face"]
    nose = next((joint for joint in face if topology.sides[joint] == "center"), None)
    ears = tuple(joint for joint in face if "ear" in topology.joint_names[joint].lower())
    return Landmarks(
        shoulders=pair("shoulder"),
        hips=pair("hip"),
        legs=limbs("hip", "knee", "ankle"),
        arms=limbs("shoulder", "elbow", "wrist"),
        feet=feet,
        nose=nose,
        ears=ears if len(ears) == 2 else (),
        head=topology.find("head"),
        masses=_masses(topology),
    )


def _foot(topology: Topology, side: str) -> tuple[int, int] | None:
    """Heel (or ankle) and toe of a side; None where the topology has no two joints there."""
    joints = [j for j in topology.order if topology.sides[j] == side and topology.parts[j] in ("ankle", "foot")]
    heel = next((joint for joint in joints if "heel" in topology.joint_names[joint].lower()), None)
    toes = [joint for joint in joints[1:] if joint != heel]
    return (joints[0] if heel is None else heel, toes[0]) if toes else None


def _masses(topology: Topology) -> tuple[float, ...] | None:
    masses = np.zeros(topology.num_joints)
    for part, mass in _MASSES.items():
        sides = ("center",) if part == "head" else ("left", "right")
        for side in sides:
            joint = topology.find(part, side)
            if joint is None:
                return None
            masses[joint] += mass
    return tuple(masses / masses.sum())


@dataclass(frozen=True)
class Body:
    """A clip, or some of its frames, as the checks see it.

    Args:
        clip: the clip.
        marks: landmarks of its topology.
        places: positions, metres, `[persons, frames, joints, 3]`.
        seen: `[persons, frames, joints]`.
        present: whether anything of a person was seen, `[persons, frames]`.
    """

    clip: Clip
    marks: Landmarks
    places: np.ndarray
    seen: np.ndarray
    present: np.ndarray

    @classmethod
    def of(cls, clip: Clip, every: int = 1) -> "Body":
        """The clip, or every so many frames of it, with what all checks need."""
        seen = clip.confidence[:, ::every] > 0
        return cls(clip, landmarks_of(clip.topology), clip.positions[:, ::every], seen, np.asarray(seen.any(-1)))

    @functools.cached_property
    def steps(self) -> np.ndarray:
        """How far each joint moves to the next frame, metres `[persons, frames - 1, joints]`; 0 where not seen in both."""
        moved = np.diff(self.places, axis=1)
        far = np.sqrt(np.einsum("pfjc,pfjc->pfj", moved, moved))
        return np.where(self.seen[:, 1:] & self.seen[:, :-1], far, 0)

    @functools.cached_property
    def up(self) -> np.ndarray:
        """From hips to shoulders, metres `[persons, frames, 3]`."""
        shoulders, hips = self.marks.shoulders, self.marks.hips
        return self.places[:, :, shoulders].mean(2) - self.places[:, :, hips].mean(2)

    def all_seen(self, *joints: int) -> np.ndarray:
        """Where all these joints were seen, `[persons, frames]`."""
        return np.asarray(self.seen[:, :, joints].all(-1))

    def between(self, start: int, end: int) -> np.ndarray:
        """From one joint to another, metres `[persons, frames, 3]`."""
        return self.places[:, :, end] - self.places[:, :, start]


def quantile(values: np.ndarray, share: float) -> float:
    """The value below which a share of all lie; much quicker than numpy's, which interpolates. 0 of nothing."""
    if not values.size:
        return 0.0
    place = int(share * (values.size - 1))
    return float(np.partition(values, place, axis=None).flat[place])


def length(vectors: np.ndarray) -> np.ndarray:
    """Lengths along the last axis."""
    return np.sqrt(np.einsum("...c,...c->...", vectors, vectors))


def dot(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Scalar products along the last axis."""
    return np.einsum("...c,...c->...", one, other)
