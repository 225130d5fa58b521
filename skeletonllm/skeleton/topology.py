"""Joints, their parents, and what each joint is on the body. Knows no file format and no clip."""

import re
from dataclasses import dataclass, replace
from functools import cached_property

from skeletonllm.errors import DataError

# The closed vocabulary that every topology shares; the renderer knows a joint by this, never by its number.
BODY_PARTS = (
    "pelvis",
    "spine",
    "chest",
    "neck",
    "head",
    "face",
    "shoulder",
    "elbow",
    "wrist",
    "hand",
    "hip",
    "knee",
    "ankle",
    "foot",
)
SIDES = ("left", "center", "right")

# The nearest joint that can stand in where a topology lacks the one that is asked for.
_STAND_INS = {
    "wrist": ("hand",),
    "hand": ("wrist",),
    "ankle": ("foot",),
    "foot": ("ankle",),
    "chest": ("neck", "spine"),
    "neck": ("chest",),
    "head": ("face",),
    "face": ("head",),
}

# First match wins, so the special words stand before the general ones ("forearm" before "ear" and "arm").
_PART_WORDS = (
    ("elbow", ("elbow", "forearm", "lowerarm")),
    ("neck", ("necknose",)),
    ("face", ("face", "nose", "eye", "ear", "mouth")),
    ("head", ("head",)),
    ("neck", ("neck",)),
    ("wrist", ("wrist",)),
    ("foot", ("foot", "toe", "heel")),
    ("hand", ("hand", "finger", "thumb", "index", "pinky", "middle", "ring", "palm")),
    ("chest", ("spineshoulder", "shouldercenter", "chest", "thorax", "spine3", "torsohead")),
    ("shoulder", ("shoulder", "clavicle", "collar", "upperarm", "arm")),
    ("pelvis", ("pelvis", "hips", "spinebase", "hipcenter", "root", "midhip", "waist")),
    ("spine", ("spine", "lowerback", "belly", "abdomen", "torso", "ab")),
    ("ankle", ("ankle",)),
    ("hip", ("upleg", "upperleg", "thigh", "hip")),
    ("knee", ("knee", "lowerleg", "leg", "shin", "calf", "tibia")),
)

_SIDE_PATTERNS = {
    "left": re.compile(r"left|_l(?=_|\b|\d|$)|^l_|^l(?=[A-Z])|^L(?=[A-Z])|(?<=[a-z])L$|\bl\b"),
    "right": re.compile(r"right|_r(?=_|\b|\d|$)|^r_|^r(?=[A-Z])|^R(?=[A-Z])|(?<=[a-z])R$|\br\b"),
}


def side_of(joint_name: str) -> str:
    """Which side of the body a joint's name speaks of: `left`, `right` or `center`."""
    name = joint_name.rsplit(":", 1)[-1]
    name = re.sub(r"left", "left", re.sub(r"right", "right", name, flags=re.IGNORECASE), flags=re.IGNORECASE)
    # "Bip01 L Thigh", "Hand_L", "hand.R": a letter that stands alone.
    name = re.sub(r"(?<![A-Za-z0-9])[LR](?![A-Za-z0-9])", lambda letter: letter[0].lower(), name)
    for side, pattern in _SIDE_PATTERNS.items():
        if pattern.search(name):
            return side
    return "center"


def part_of(joint_name: str) -> str:
    """The body part that a joint's name speaks of, one of `BODY_PARTS`.

    Raises:
        DataError: no known word is in the name.
    """
    word = re.sub(r"[^a-z0-9]", "", joint_name.rsplit(":", 1)[-1].lower()).removeprefix("armature")
    for part, words in _PART_WORDS:
        if any(known in word for known in words):
            # "LeftHip" is a hip, "Hips" and "hip_center" are the pelvis; a lone "hip" (Human3.6M) is too.
            if part == "hip" and side_of(joint_name) == "center":
                return "pelvis"
            return part
    raise DataError(
        f"joint {joint_name!r}: no body part is known by this name; expected a name with one of "
        f"{', '.join(BODY_PARTS)} or a usual alias of one in it; rename the joint or give a topology"
    )


def _part_or_none(joint_name: str) -> str | None:
    try:
        return part_of(joint_name)
    except DataError:
        return None


@dataclass(frozen=True)
class Topology:
    """Joints and parents of one format.

    Args:
        name: as in the registry, or made from the file.
        joint_names: one per joint.
        parents: index of each joint's parent, -1 at the root.
        parts: body part of each joint, from `BODY_PARTS`.
        mirror: pairs (left joint, right joint).
        dims: 3, or 2 for a format that has image coordinates only.
    """

    name: str
    joint_names: tuple[str, ...]
    parents: tuple[int, ...]
    parts: tuple[str, ...]
    mirror: tuple[tuple[int, int], ...] = ()
    dims: int = 3

    def __post_init__(self) -> None:
        num_joints = len(self.joint_names)
        if not num_joints == len(self.parents) == len(self.parts):
            raise DataError(
                f"topology {self.name}: {num_joints} joint names, {len(self.parents)} parents and {len(self.parts)} "
                "parts; they must be as many"
            )
        if self.parents.count(-1) != 1:
            raise DataError(f"topology {self.name}: {self.parents.count(-1)} roots (parent -1); exactly 1 is needed")
        for joint in range(num_joints):
            seen, at = set(), joint
            while at != -1:
                if at in seen or not 0 <= at < num_joints:
                    raise DataError(
                        f"topology {self.name}: the parents of joint {joint} ({self.joint_names[joint]}) do not lead "
                        f"to the root: {sorted(seen)}"
                    )
                seen.add(at)
                at = self.parents[at]
        unknown = sorted(set(self.parts) - set(BODY_PARTS))
        if unknown:
            raise DataError(f"topology {self.name}: unknown body parts {unknown}; known are {', '.join(BODY_PARTS)}")

    @classmethod
    def from_names(
        cls, name: str, joint_names: tuple[str, ...], parents: tuple[int, ...], dims: int = 3, inherit: bool = False
    ) -> "Topology":
        """A topology whose parts and mirror pairs are read from its joints' names.

        Args:
            name: of the topology.
            joint_names: one per joint.
            parents: index of each joint's parent, -1 at the root.
            dims: 3, or 2 for image coordinates.
            inherit: whether a joint whose name says nothing is of its nearest named ancestor's part (a ponytail is of
                the head, a tip of the hand), and of the pelvis where it has none; otherwise it is refused.

        Raises:
            DataError: a name says nothing; with `inherit`, no name says anything.
        """
        pairs = _mirror_pairs(joint_names)
        if not inherit:
            return cls(name, joint_names, parents, tuple(map(part_of, joint_names)), pairs, dims)
        parts = [_part_or_none(joint) for joint in joint_names]
        if not any(parts):
            part_of(joint_names[0])
        topology = cls(name, joint_names, parents, tuple(part or "pelvis" for part in parts), pairs, dims)
        for joint in topology.order:  # safe: a topology's parents lead to its root
            above = parents[joint]
            parts[joint] = parts[joint] or (parts[above] if above != -1 else "pelvis")
        return replace(topology, parts=tuple(part or "pelvis" for part in parts))

    @property
    def num_joints(self) -> int:
        """Joints of one person."""
        return len(self.joint_names)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """Pairs (parent joint, child joint), in the order of the child."""
        return tuple((parent, child) for child, parent in enumerate(self.parents) if parent != -1)

    @cached_property
    def sides(self) -> tuple[str, ...]:
        """`left`, `center` or `right` for each joint, from the mirror pairs."""
        sides = ["center"] * self.num_joints
        for left, right in self.mirror:
            sides[left], sides[right] = "left", "right"
        return tuple(sides)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The joints sorted so that each parent stands before its children."""
        depth = {}
        for joint in range(self.num_joints):
            at, steps = joint, 0
            while self.parents[at] != -1:
                at, steps = self.parents[at], steps + 1
            depth[joint] = steps
        return tuple(sorted(range(self.num_joints), key=lambda joint: (depth[joint], joint)))

    def find(self, part: str, side: str = "center") -> int | None:
        """The joint that is `part` on `side`, or its nearest stand-in; None where the topology has neither.

        Of several (all joints of a hand are `hand`) the one nearest to the root is taken; of two shoulders or hips on a
        side (a collar bone and the ball joint) the one farthest from it.
        """
        rank = {joint: place for place, joint in enumerate(self.order)}
        for wanted in (part, *_STAND_INS.get(part, ())):
            found = [j for j in range(self.num_joints) if self.parts[j] == wanted and self.sides[j] == side]
            if found:
                return (max if wanted in ("shoulder", "hip") else min)(found, key=rank.__getitem__)
        return None


def _mirror_pairs(joint_names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    def key(name: str) -> str:
        bare = re.sub(r"left|right", "", name, flags=re.IGNORECASE)
        if bare == name:
            bare = re.sub(r"(^|_)[lrLR](?=_|$)|^[lrLR](?=[A-Z])|(?<=[a-z])[LR]$", r"\1", name)
        return bare

    left = {key(n): j for j, n in enumerate(joint_names) if side_of(n) == "left"}
    right = {key(n): j for j, n in enumerate(joint_names) if side_of(n) == "right"}
    return tuple((left[k], right[k]) for k in left if k in right)
