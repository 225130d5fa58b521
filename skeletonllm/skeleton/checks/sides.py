"""Left and right against the joints' names: a body tells where its front is in two ways, and they must agree.

By name, the front is (right to left across shoulders and hips) x (hips to shoulders). By shape, toes and nose point to the
front, knees bend to it, and the forearm of a bent arm points to it. A recording in a mirror, or one whose left and right
are exchanged, has its toes behind.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skeletonllm.skeleton.checks.finding import Finding
from skeletonllm.skeleton.checks.landmarks import Body, Limb, dot, length

# How much each test says. Toes and nose are right in all of 3,100 recordings, knees and forearms of a Kinect are not.
WEIGHTS = {"toes": 1.0, "nose": 1.0, "forearms": 0.7, "knees": 0.2}
# Of true recordings none comes to -0.3 unless its toes or nose, where it has them, are beyond -0.15 the other way.
MIRRORED = -0.3
_TOES = -0.15
# Of several recordings of one kind, the mean tells where single ones cannot: true sets have 0.3 and more.
MIRRORED_SET = -0.15
_BENT_KNEE, _BENT_ELBOW = np.cos(np.radians(135)), np.cos(np.radians(130))
_FEWEST_FRAMES = 3


@dataclass(frozen=True)
class Sides:
    """How far the shape of a body points to the front that its joints' names say, -1 (against it) to 1.

    Args:
        tests: by test; those that the recording allows.
        score: their weighted sum; below 0, left and right are exchanged.
    """

    tests: dict[str, float]
    score: float

    @property
    def mirrored(self) -> bool:
        """Whether left and right are surely exchanged."""
        surest = [self.tests[name] for name in ("toes", "nose") if name in self.tests]
        return self.score <= MIRRORED and all(value <= _TOES for value in surest)

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:+.2f}" for name, value in self.tests.items())


def measure_sides(body: Body) -> Sides | None:
    """The tests of left and right; None where none can be made: in 2D, or without shoulders and hips."""
    marks = body.marks
    if body.clip.topology.dims == 2 or not (marks.shoulders and marks.hips):
        return None
    shoulders, hips = body.between(*marks.shoulders[::-1]), body.between(*marks.hips[::-1])
    up = body.up
    # Where a tracker has twisted the trunk, nobody knows where the front is.
    straight = 2 * dot(shoulders, hips) > length(shoulders) * length(hips)
    front = np.cross(shoulders + hips, up)
    far = length(front)
    usable = body.all_seen(*marks.trunk) & straight & (far > 0)
    front = front / np.where(usable, far, 1)[..., None]
    found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}

    def add(name: str, vectors: np.ndarray, where: np.ndarray) -> None:
        found.setdefault(name, []).append((dot(vectors, front)[where], length(vectors)[where]))

    for heel, toe in marks.feet:
        add("toes", body.between(heel, toe), usable & body.all_seen(heel, toe))
    if marks.nose is not None and marks.ears:
        add("nose", -_middle(body, marks.ears, marks.nose), usable & body.all_seen(marks.nose, *marks.ears))
    for arm in marks.arms:
        add("forearms", body.between(arm.hinge, arm.lower), usable & _bent(body, arm, _BENT_ELBOW))
    for leg in marks.legs:
        add("knees", _off_line(body, leg), usable & _bent(body, leg, _BENT_KNEE))
    tests = {}
    for name, parts in found.items():
        ahead, far = (np.concatenate(values) for values in zip(*parts, strict=True))
        if len(ahead) >= _FEWEST_FRAMES and far.sum() > 0:
            tests[name] = float(ahead.sum() / far.sum())
    return Sides(tests, sum(WEIGHTS[name] * value for name, value in tests.items())) if tests else None


def check_sides(body: Body, sides: Sides | None) -> Iterator[Finding]:
    """Whether left and right are exchanged."""
    if sides is not None and sides.mirrored:
        text = f"left and right are exchanged: by the names of shoulders and hips, these point backwards: {sides}"
        yield Finding(body.clip.clip_id, "error", "mirrored", text)


def _middle(body: Body, pair: tuple[int, ...], other: int) -> np.ndarray:
    """From a joint to the middle of two."""
    return body.places[:, :, pair].mean(2) - body.places[:, :, other]


def _bent(body: Body, limb: Limb, cosine: float) -> np.ndarray:
    """Where a limb is seen and bent by more than the angle of this cosine."""
    upper, lower = body.between(limb.hinge, limb.upper), body.between(limb.hinge, limb.lower)
    return body.all_seen(limb.upper, limb.hinge, limb.lower) & (
        dot(upper, lower) > cosine * length(upper) * length(lower)
    )


def _off_line(body: Body, limb: Limb) -> np.ndarray:
    """From the line between a limb's ends to its hinge."""
    line, hinge = body.between(limb.upper, limb.lower), body.between(limb.upper, limb.hinge)
    share = dot(hinge, line) / np.maximum(dot(line, line), 1e-12)
    return hinge - share[..., None] * line
