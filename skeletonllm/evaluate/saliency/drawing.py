"""Where the map of an explanation and its strip of bodies are drawn: places and colours, for the page and the picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skeletonllm.evaluate.saliency.explain import Explanation
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES

# In units of the SVG; the picture has more pixels.
CELL_HEIGHT, MAP_LEFT, MAP_WIDTH = 15.0, 130.0, 620.0
STRIP_WIDTH, STRIP_HEIGHT = MAP_LEFT + MAP_WIDTH + 8, 190.0
_GAP, _BELOW_MAP, _ABOVE_BODY, _BELOW_BODY = 6.0, 26.0, 18.0, 30.0
_MOST_MOMENTS, _MOST_OF_SEVERAL = 8, 4  # of one person, of several
_TRUNK, _HEAD, _ARM, _LEG = range(4)
_REGIONS = {
    **dict.fromkeys(("pelvis", "spine", "chest"), _TRUNK),
    **dict.fromkeys(("neck", "head", "face"), _HEAD),
    **dict.fromkeys(("shoulder", "elbow", "wrist", "hand"), _ARM),
    **dict.fromkeys(("hip", "knee", "ankle", "foot"), _LEG),
}
_RAMP = ((20, 24, 40), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


@dataclass(frozen=True)
class Cell:
    """A place of the map: where, how wide, its colour, and what it says."""

    x: float
    width: float
    color: str
    text: str


@dataclass(frozen=True)
class Line:
    """A row of the map: a joint of a person, and its cells."""

    name: str
    y: float
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Map:
    """Joints by limb: trunk, head, left arm, right arm, left leg, right leg, with a gap between them.

    Args:
        lines: from top to bottom.
        height: with the times below.
        ticks: places of times, and what they say.
    """

    lines: tuple[Line, ...]
    height: float
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Dot:
    """A joint of the strip."""

    x: float
    y: float
    radius: float
    color: str
    text: str


@dataclass(frozen=True)
class Moment:
    """All persons at one frame that the student sees.

    Args:
        x: middle.
        label: the time.
        sticks: bones whose ends are both seen: x, y, x, y.
        dots: joints that are seen, those that matter most last, so that they lie above the others.
    """

    x: float
    label: str
    sticks: tuple[tuple[float, float, float, float], ...]
    dots: tuple[Dot, ...]


def name_of(explanation: Explanation, person: int, joint: int) -> str:
    """The joint, and whose it is where there are several persons."""
    name = explanation.clip.topology.joint_names[joint]
    return f"{name}, person {person + 1}" if len(explanation.saliency) > 1 else name


def map_of(explanation: Explanation) -> Map:
    """The map of joints over time."""
    topology, saliency = explanation.clip.topology, explanation.saliency
    limbs = [_limb(topology.parts[joint], topology.sides[joint]) for joint in range(topology.num_joints)]
    order = sorted(range(topology.num_joints), key=lambda j: (limbs[j], BODY_PARTS.index(topology.parts[j]), j))
    lines, y, before = [], 0.0, None
    for person in range(len(saliency)):
        for joint in order:
            y += _GAP if before not in (None, (person, limbs[joint])) else 0
            before = (person, limbs[joint])
            lines.append(Line(name_of(explanation, person, joint), y, _cells(explanation, person, joint)))
            y += CELL_HEIGHT
    return Map(tuple(lines), y + _BELOW_MAP, _ticks(explanation.times_s))


def strip_of(explanation: Explanation) -> tuple[Moment, ...]:
    """The bodies at some of the frames that the student sees, as its camera shows them, each moment in its own middle."""
    joints, seen = explanation.joints[..., :2].astype(np.float64), explanation.seen
    most = _MOST_MOMENTS if len(joints) == 1 else _MOST_OF_SEVERAL
    picked = _moments(explanation, most)
    low, high = _extent(joints, seen, picked)
    each = STRIP_WIDTH / len(picked)
    room = np.array((0.84 * each, STRIP_HEIGHT - _ABOVE_BODY - _BELOW_BODY))
    scale = float((room / np.maximum((high - low).max(0), 1e-6)).min())
    return tuple(
        _moment(
            explanation,
            frame,
            (joints[:, frame] - (low[place] + high[place]) / 2) * (scale, -scale)
            + ((place + 0.5) * each, _ABOVE_BODY + room[1] / 2),
            (place + 0.5) * each,
        )
        for place, frame in enumerate(picked)
    )


def color_of(share: float) -> str:
    """Dark for 0, yellow for 1; as CSS and Pillow read it."""
    at = min(max(share, 0.0), 1.0) ** 0.7 * (len(_RAMP) - 1)
    low = min(int(at), len(_RAMP) - 2)
    mixed = [round(a + (b - a) * (at - low)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True)]
    return f"rgb({mixed[0]},{mixed[1]},{mixed[2]})"


def _limb(part: str, side: str) -> tuple[int, int]:
    region = _REGIONS[part]
    return region, SIDES.index(side) if region in (_ARM, _LEG) else 0


def _largest(explanation: Explanation) -> float:
    return float(explanation.saliency.max()) or 1.0


def _says(explanation: Explanation, person: int, frame: int, joint: int) -> str:
    value, time = float(explanation.saliency[person, frame, joint]), explanation.times_s[frame]
    return f"{name_of(explanation, person, joint)} at {time:.2f} s: {value:.4f} per cm"


def _cells(explanation: Explanation, person: int, joint: int) -> tuple[Cell, ...]:
    width, top = MAP_WIDTH / len(explanation.times_s), _largest(explanation)
    return tuple(
        Cell(
            MAP_LEFT + frame * width,
            width,
            color_of(float(explanation.saliency[person, frame, joint]) / top),
            _says(explanation, person, frame, joint),
        )
        for frame in range(len(explanation.times_s))
    )


def _ticks(times_s: Sequence[float]) -> tuple[tuple[float, str], ...]:
    width, step = MAP_WIDTH / len(times_s), max(1, round(len(times_s) / 8))
    return tuple(
        (MAP_LEFT + (frame + 0.5) * width, f"{time:.1f} s") for frame, time in enumerate(times_s) if frame % step == 0
    )


def _moments(explanation: Explanation, most: int) -> list[int]:
    """The frame that matters most in each of equal parts of the clip."""
    weights = explanation.saliency.sum((0, 2))
    parts = np.array_split(np.arange(len(weights)), min(len(weights), most))
    return [int(part[weights[part].argmax()]) for part in parts]


def _extent(joints: np.ndarray, seen: np.ndarray, picked: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Corners of what is seen at each picked frame; `y` is common to all, so that a jump is seen to leave the ground."""
    low, high = np.zeros((2, len(picked), 2))
    for place, frame in enumerate(picked):
        visible = joints[:, frame][seen[:, frame]]
        if len(visible):
            low[place], high[place] = visible.min(0), visible.max(0)
    everything = joints[:, picked][seen[:, picked]]
    if len(everything):
        low[:, 1], high[:, 1] = everything[:, 1].min(), everything[:, 1].max()
    return low, high


def _moment(explanation: Explanation, frame: int, places: np.ndarray, x: float) -> Moment:
    shares, seen = explanation.saliency[:, frame] / _largest(explanation), explanation.seen[:, frame]
    sticks = [
        (*places[person, start].tolist(), *places[person, end].tolist())
        for person in range(len(places))
        for start, end in explanation.clip.topology.bones
        if seen[person, start] and seen[person, end]
    ]
    dots = [
        Dot(
            float(places[person, joint, 0]),
            float(places[person, joint, 1]),
            2.2 + 3.3 * float(shares[person, joint]),
            color_of(float(shares[person, joint])),
            _says(explanation, person, frame, joint),
        )
        for person, joint in sorted(np.argwhere(seen).tolist(), key=lambda one: float(shares[one[0], one[1]]))
    ]
    return Moment(x, f"{explanation.times_s[frame]:.1f} s", tuple(sticks), tuple(dots))
