"""Which topology a recording has: by the names of its joints, else by their number and by how they lie and move.

Bones are short, as many as needed to hold the joints together, keep their length and are alike on both sides. So under the
right topology the bones are hardly longer than the shortest tree over the same joints; under a wrong one, several times.
"""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology, side_of

# Over 98 real recordings of ten topologies in 3D the right one misfits by 0.07 to 0.78 and the next by 0.23 more or
# worse; noise misfits by 0.98 or more under each.
_MAX_MISFIT = 0.9
_MIN_LEAD = 0.15
_CHANGE_WEIGHT = 3  # bones that change their length are none, however short they are
_MAX_FRAMES = 64  # more of a recording say nothing new
_NUMBERED = re.compile(r"(?:joint|joints|j|kp|keypoint|point|p|landmark|lm|marker|node)?\d+")
# Words for one joint. A word stands for itself where a topology has both, such as wrist and hand.
_SYNONYMS = (
    {"pelvis", "hips", "hip", "hipcenter", "midhip", "root", "spinebase", "waist"},
    {"chest", "spineshoulder", "shouldercenter", "thorax", "upperchest"},
    {"spine", "spinemid", "torso", "belly", "abdomen"},
    {"shoulder", "arm", "upperarm"},
    {"elbow", "forearm", "lowerarm"},
    {"wrist", "hand"},
    {"hip", "upleg", "upperleg", "thigh"},
    {"knee", "leg", "lowerleg", "shin", "calf"},
    {"ankle", "foot"},
    {"foot", "toe", "toes", "toebase"},
    {"collar", "clavicle", "shoulder"},
)


@dataclass(frozen=True)
class Candidate:
    """A topology that a recording may have.

    Args:
        topology: it.
        joints: which of the recording's joints each joint of the topology is.
        reasons: what speaks for and against it.
        misfit: how badly its bones fit the positions; 0 is a perfect fit.
    """

    topology: Topology
    joints: tuple[int, ...]
    reasons: tuple[str, ...]
    misfit: float = 0.0


def names_say_nothing(names: Sequence[str]) -> bool:
    """Whether joints are only numbered, as `joint3` or `17`."""
    return all(_NUMBERED.fullmatch(re.sub(r"[^a-z0-9]", "", name.lower())) for name in names)


def by_names(names: Sequence[str]) -> list[Candidate]:
    """The registered topologies that have exactly these joints, those in the same order first."""
    found = []
    for topology in TOPOLOGIES.values():
        joints = match_names(names, topology)
        if joints is not None and len(names) == topology.num_joints:
            same = joints == tuple(range(len(names)))
            found.append(Candidate(topology, joints, ("its joints have these names" + ", in this order" * same,)))
    return sorted(found, key=lambda candidate: candidate.joints != tuple(range(len(names))))


def match_names(names: Sequence[str], topology: Topology) -> tuple[int, ...] | None:
    """Which of the names each joint of a topology has, by name or by a usual alias; None where one is not among them."""
    if set(topology.joint_names) <= set(names):
        return tuple(names.index(joint) for joint in topology.joint_names)
    given = [joint_key(name) for name in names]
    wanted = [joint_key(name) for name in topology.joint_names]
    if len(set(given)) < len(given) or len(set(wanted)) < len(wanted):
        return None
    joints = []
    for side, word in wanted:
        # An alias counts where the recording lacks the word itself, and the topology does not use the alias otherwise.
        keys = [(side, word), *((side, other) for other in _aliases(word) if (side, other) not in wanted)]
        has = [key for key in keys if key in given]
        if not has or ((side, word) != has[0] and len(has) > 1):
            return None
        joints.append(given.index(has[0]))
    return tuple(joints) if len(set(joints)) == len(joints) else None


def nearest_names(names: Sequence[str]) -> list[str]:
    """The registered topologies that share most names with these, with what is missing: for an error message."""
    given = {joint_key(name) for name in names}
    told = []
    for topology in TOPOLOGIES.values():
        wanted = {joint_key(name): name for name in topology.joint_names}
        shared = len(given & wanted.keys())
        if shared * 2 >= len(wanted):
            lacking = [name for key, name in wanted.items() if key not in given]
            more = len(given - wanted.keys())
            told.append(
                (shared, f"{topology.name} (not found: {', '.join(lacking[:4]) or 'none'}; {more} joints more)")
            )
    return [text for _, text in sorted(told, reverse=True)[:3]]


def by_geometry(positions: Float[np.ndarray, "persons frames joints dims"]) -> list[Candidate]:
    """The registered topologies with this number of joints, the best fit first.

    Args:
        positions: in any unit; NaN where a joint was not seen.
    """
    count = positions.shape[2]
    candidates = []
    same = [topology for topology in TOPOLOGIES.values() if topology.num_joints == count]
    distances = _distances(positions) if same else None
    for topology in same:
        misfit, reason = _misfit(topology, *distances) if distances is not None else (np.inf, "nothing is seen")
        candidates.append(Candidate(topology, tuple(range(count)), (f"it has {count} joints", reason), misfit))
    return sorted(candidates, key=lambda candidate: candidate.misfit)


def sure_one(candidates: Sequence[Candidate]) -> Candidate | None:
    """The first candidate of `by_geometry`, if it fits and is clearly ahead of the next."""
    if not candidates or candidates[0].misfit > _MAX_MISFIT:
        return None
    if len(candidates) > 1 and candidates[1].misfit - candidates[0].misfit < _MIN_LEAD:
        return None
    return candidates[0]


def _distances(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The usual distance of every two joints, and how much it changes; None where joints lie nowhere or on one point."""
    frames = positions.reshape(-1, *positions.shape[2:]).astype(np.float64)
    frames = frames[np.isfinite(frames).all(-1).mean(-1) > 0.5]
    if not len(frames):
        return None
    frames = frames[np.unique(np.linspace(0, len(frames) - 1, _MAX_FRAMES).astype(int))]
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of two joints that are never seen together
        apart = np.linalg.norm(frames[:, :, None] - frames[:, None], axis=-1)
        usual = np.nanmedian(apart, 0)
        change = np.nanmedian(np.abs(apart - usual), 0)
    usual, change = np.nan_to_num(usual, posinf=0), np.nan_to_num(change, posinf=0)
    return (usual, change) if usual.max() > 0 else None


def _misfit(topology: Topology, usual: np.ndarray, change: np.ndarray) -> tuple[float, str]:
    parents, children = np.array(topology.bones).T
    length = usual[parents, children].sum()
    seen = usual.any(1)
    shortest = _shortest_tree(usual[np.ix_(seen, seen)])
    if not length or not shortest:
        return float("inf"), "its bones have no length"
    longer = length / shortest
    varies = change[parents, children].sum() / length
    uneven = _unevenness(topology, usual)
    reason = (
        f"its bones are {longer:.2f} times as long as the shortest tree over the joints, "
        f"change by {varies:.0%} and differ by {uneven:.0%} between left and right"
    )
    return float(longer - 1 + _CHANGE_WEIGHT * varies + uneven), reason


def _unevenness(topology: Topology, usual: np.ndarray) -> float:
    """By which share the bones of the left and the right differ."""
    other = {**dict(topology.mirror), **{right: left for left, right in topology.mirror}}
    pairs = [(bone, (other.get(bone[0], bone[0]), other.get(bone[1], bone[1]))) for bone in topology.bones]
    lengths = np.array([(usual[bone], usual[mirrored]) for bone, mirrored in pairs if bone != mirrored])
    return float(np.abs(lengths[:, 0] - lengths[:, 1]).sum() / lengths.sum()) if lengths.sum() > 0 else 0.0


def _shortest_tree(usual: np.ndarray) -> float:
    """The length of the shortest tree over all joints. Source: Prim (1957)."""
    inside = np.zeros(len(usual), bool)
    inside[0] = True
    nearest, total = usual[0].copy(), 0.0
    for _ in range(len(usual) - 1):
        joint = int(np.where(inside, np.inf, nearest).argmin())
        total += nearest[joint]
        inside[joint] = True
        nearest = np.minimum(nearest, usual[joint])
    return float(total)


def joint_key(name: str) -> tuple[str, str]:
    """Side and bare word of a joint's name: `LShoulder`, `shoulder_left` and `Shoulder.L` are one."""
    plain = re.sub(r"[\s.\-]+", "_", name.rsplit(":", 1)[-1].strip())
    side = side_of(plain)
    bare = re.sub(r"left|right", "", plain, flags=re.IGNORECASE)
    if bare == plain and side != "center":
        bare = re.sub(r"(^|_)[lrLR](?=_|$)|^[lrLR](?=[A-Z])|(?<=[a-z])[LR]$", r"\1", plain)
    word = re.sub(r"[^a-z0-9]", "", bare.lower())
    if side == "center" and word[:1] in ("l", "r") and word[1:] in _WORDS:
        return "left" if word[0] == "l" else "right", word[1:]
    return side, word


_WORDS = frozenset().union(*_SYNONYMS, ("eye", "ear", "toe", "heel", "thumb", "index", "pinky", "bigtoe", "smalltoe"))


def _aliases(word: str) -> list[str]:
    return sorted({other for group in _SYNONYMS if word in group for other in group if other != word})
