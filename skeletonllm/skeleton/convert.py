"""A clip with the joints of another topology, and what is lost on the way: nothing is padded in silence.

A joint of the target is kept (the source has it), averaged (the middle of two), placed (on the line of the trunk or of a
bone, where anatomy says so) or not seen.
"""

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.recognise import joint_key
from skeletonllm.skeleton.topology import Topology

# Words for the same place. `spine` is matched by its height on the trunk, limbs by their order on the limb.
_SAME = ({"nose", "face"}, {"mouth"}, {"eye"}, {"ear"}, {"headtip", "headsite"})
_THIRD = 1 / 3  # of the way from between the shoulders to a shoulder lies the collar bone's joint
_SAME_HEIGHT = 0.09  # shares of the trunk: joints of the spine that lie nearer are one

Point = dict[int, float]  # joints of the source and their weights, which sum to 1


@dataclass(frozen=True)
class Made:
    """How one joint of the target is made.

    Args:
        joint: its name.
        how: see above.
        source: names of the source's joints that it is made of.
    """

    joint: str
    how: Literal["kept", "averaged", "placed", "not seen"]
    source: tuple[str, ...]


@dataclass(frozen=True)
class Losses:
    """What became of each joint.

    Args:
        joints: of the target, in its order.
        lost: joints of the source that nothing was made of.
        blurred: joints of the source that are in averages or placed joints only.
        rotations: whether the clip had rotations that are lost.
    """

    joints: tuple[Made, ...]
    lost: tuple[str, ...]
    blurred: tuple[str, ...]
    rotations: bool

    @property
    def is_lossless(self) -> bool:
        """Whether each joint is kept and no rotation is lost."""
        return not (self.lost or self.blurred or self.rotations) and all(made.how == "kept" for made in self.joints)


def convert(clip: Clip, topology: Topology) -> tuple[Clip, Losses]:
    """The clip with the joints of a topology, in the same place, and what was lost.

    A joint that is made of several is as sure as the least sure of them. The dimensions stay those of the clip.

    Args:
        clip: any.
        topology: the target.
    """
    points = points_of(clip.topology, topology)
    shape = (*clip.positions.shape[:2], topology.num_joints)
    positions, confidence = np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32)
    for joint, point in enumerate(points):
        if point:
            sources, weights = list(point), np.array(list(point.values()))
            confidence[:, :, joint] = clip.confidence[:, :, sources].min(-1)
            mixed = np.einsum("ptjc,j->ptc", clip.positions[:, :, sources].astype(np.float64), weights)
            positions[:, :, joint] = np.where((confidence[:, :, joint] > 0)[..., None], mixed, 0)
    same = all(point == {joint: 1.0} for joint, point in enumerate(points)) and clip.topology.num_joints == len(points)
    rotations = clip.rotations if same else None
    target = topology if topology.dims == clip.topology.dims else replace(topology, dims=clip.topology.dims)
    losses = _losses(clip.topology, topology, points, clip.rotations is not None and rotations is None)
    return replace(clip, topology=target, positions=positions, confidence=confidence, rotations=rotations), losses


def points_of(source: Topology, target: Topology) -> list[Point | None]:
    """What each joint of the target is made of; None where the source cannot say."""
    if (source.joint_names, source.parts) == (target.joint_names, target.parts):
        return [{joint: 1.0} for joint in range(source.num_joints)]
    has = {key: joint for joint, key in reversed(list(enumerate(landmarks(source))))}
    trunk = _trunk(source, has)
    return [_point(key, has, trunk, target, joint) for joint, key in enumerate(landmarks(target))]


def landmarks(topology: Topology) -> list[tuple[str, str, str]]:
    """What each joint is on the body, in words that all topologies share: side, part and which of the part.

    Formats call the ankle foot, the wrist hand, the collar bone shoulder: the order along the limb tells which is which.
    """
    rank = {joint: place for place, joint in enumerate(topology.order)}
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for joint in topology.order:
        part = {"hand": "wrist", "foot": "ankle"}.get(topology.parts[joint], topology.parts[joint])
        groups[topology.sides[joint], part].append(joint)
    found: list[tuple[str, str, str]] = [("", "", "")] * topology.num_joints
    for (side, part), joints in groups.items():
        joints.sort(key=rank.__getitem__)
        if part in ("shoulder", "hip"):  # the last is the ball joint
            for number, joint in enumerate(reversed(joints)):
                found[joint] = (side, part, str(number))
        elif part in ("wrist", "ankle"):
            _name_ends(topology, side, part, joints, found)
        else:
            for number, joint in enumerate(joints):
                which = _word(topology, joint) if part in ("face", "head") and number else str(number)
                found[joint] = (side, part, _word(topology, joint) if part == "face" else which)
    return found


def _name_ends(topology: Topology, side: str, part: str, joints: list[int], found: list[tuple[str, str, str]]) -> None:
    """Wrist and hand, ankle and foot: the joint that the limb ends in comes first, then the others by their words."""
    first = next(
        (joint for joint in joints if topology.parts[joint] == part and _hangs_on_limb(topology, joint)), joints[0]
    )
    found[first] = (side, part, "0")
    used: set[str] = set()
    for joint in joints:
        if joint == first:
            continue
        word = _word(topology, joint)
        if part == "ankle" and "heel" not in word and "small" not in word:
            word = "foot" if "foot" not in used else word
        if part == "wrist" and "hand" in word and "hand" not in used and "thumb" not in word and "tip" not in word:
            word = "hand"
        used.add(word)
        found[joint] = (side, part, word)


def _hangs_on_limb(topology: Topology, joint: int) -> bool:
    parent = topology.parents[joint]
    return parent == -1 or topology.parts[parent] in ("elbow", "knee")


def _word(topology: Topology, joint: int) -> str:
    word = joint_key(topology.joint_names[joint])[1]
    return next((min(group) for group in _SAME if word in group), word)


def _point(
    key: tuple[str, str, str],
    has: dict[tuple[str, str, str], int],
    trunk: list[tuple[float, Point]],
    target: Topology,
    joint: int,
) -> Point | None:
    side, part, which = key
    if part == "spine" and side == "center":
        return _on_trunk(trunk, _heights(target)[joint])
    if key in has:
        return {has[key]: 1.0}
    if side == "center" and part in ("pelvis", "neck", "chest") and which == "0":
        return _middle(has, "hip" if part == "pelvis" else "shoulder")
    if side == "center" and part == "head" and which == "0":
        return _middle(has, "face", "ear") or _middle(has, "face", "eye") or _one(has, "center", "face", "face")
    if side != "center" and part == "shoulder" and which == "1":
        return _collar(has, side)
    return None


def _one(has: dict[tuple[str, str, str], int], side: str, part: str, which: str) -> Point | None:
    joint = has.get((side, part, which))
    return None if joint is None else {joint: 1.0}


def _middle(has: dict[tuple[str, str, str], int], part: str, which: str = "0") -> Point | None:
    left, right = has.get(("left", part, which)), has.get(("right", part, which))
    return None if left is None or right is None else {left: 0.5, right: 0.5}


def _collar(has: dict[tuple[str, str, str], int], side: str) -> Point | None:
    """The joint of the collar bone: on the line from between the shoulders to the shoulder."""
    shoulder, between = has.get((side, "shoulder", "0")), _middle(has, "shoulder")
    if shoulder is None or between is None:
        return None
    return _mixed(between, {shoulder: 1.0}, _THIRD)


def _trunk(source: Topology, has: dict[tuple[str, str, str], int]) -> list[tuple[float, Point]]:
    """The line from pelvis (0) to between the shoulders (1), with the joints of the spine on their heights."""
    low = _one(has, "center", "pelvis", "0") or _middle(has, "hip")
    high = _one(has, "center", "chest", "0") or _middle(has, "shoulder") or _one(has, "center", "neck", "0")
    if low is None or high is None:
        return []
    heights = _heights(source)
    inner = [(height, {joint: 1.0}) for joint, height in heights.items() if 0 < height < 1]
    return sorted([(0.0, low), *inner, (1.0, high)], key=lambda pair: pair[0])


def _heights(topology: Topology) -> dict[int, float]:
    """How high each joint of the spine lies between pelvis (0) and chest (1): evenly spread, as far as names can say."""
    spine = [
        joint for joint in topology.order if topology.parts[joint] == "spine" and topology.sides[joint] == "center"
    ]
    return {joint: (number + 1) / (len(spine) + 1) for number, joint in enumerate(spine)}


def _on_trunk(trunk: list[tuple[float, Point]], height: float) -> Point | None:
    """A joint of the spine: the source's own at this height, else a place on the line between its neighbours."""
    if not trunk:
        return None
    nearest = min(trunk, key=lambda pair: abs(pair[0] - height))
    if abs(nearest[0] - height) < _SAME_HEIGHT and len(nearest[1]) == 1 and nearest[0] not in (0, 1):
        return nearest[1]
    below = max((pair for pair in trunk if pair[0] <= height), key=lambda pair: pair[0])
    above = min((pair for pair in trunk if pair[0] >= height), key=lambda pair: pair[0])
    share = 0.0 if above[0] == below[0] else (height - below[0]) / (above[0] - below[0])
    return _mixed(below[1], above[1], share)


def _mixed(start: Point, end: Point, share: float) -> Point:
    mixed: dict[int, float] = defaultdict(float)
    for point, weight in ((start, 1 - share), (end, share)):
        for joint, part in point.items():
            mixed[joint] += weight * part
    return dict(mixed)


def _losses(source: Topology, target: Topology, points: list[Point | None], rotations: bool) -> Losses:
    joints = []
    kept: set[int] = set()
    used: set[int] = set()
    for name, part, point in zip(target.joint_names, target.parts, points, strict=True):
        if point is None:
            joints.append(Made(name, "not seen", ()))
            continue
        names = tuple(source.joint_names[joint] for joint in point)
        used |= point.keys()
        if len(point) == 1 and (part != "head" or source.parts[next(iter(point))] != "face"):
            kept |= point.keys()
            joints.append(Made(name, "kept", names))
        else:
            even = len(point) == 2 and set(point.values()) == {0.5} and part != "spine"
            joints.append(Made(name, "averaged" if even else "placed", names))
    everything = range(source.num_joints)
    return Losses(
        tuple(joints),
        tuple(source.joint_names[joint] for joint in everything if joint not in used),
        tuple(source.joint_names[joint] for joint in everything if joint in used - kept),
        rotations,
    )
