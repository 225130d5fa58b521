"""From a file's own space to the project's: metres, right-handed, +y up. Units and axes are declared, known or fitted."""

import numpy as np
from jaxtyping import Float

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton.topology import SIDES, Topology

# CMU's unit is that of its ASF files: 1/0.45 inch.
UNITS_M = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "cmu": 0.0254 / 0.45, "ft": 0.3048}
BODY_M = (0.9, 2.0)  # neck to ankle of people, children included
USUAL_BODY_M = 1.35
_UNIT_ORDER = ("m", "cm", "cmu", "in", "mm")


def fit_unit(body_size: float) -> tuple[float, str]:
    """Metres per unit and the unit's name, such that a body (neck to ankle, in the file's unit) has human size.

    Of several known units the one that comes nearest to the usual body wins; where none fits, the body gets the usual
    size and the name is "fitted".
    """
    if body_size <= 0:
        return UNITS_M["cm"], "cm"
    fits = [unit for unit in _UNIT_ORDER if BODY_M[0] <= body_size * UNITS_M[unit] <= BODY_M[1]]
    if not fits:
        return USUAL_BODY_M / body_size, "fitted"
    best = min(fits, key=lambda unit: abs(np.log(body_size * UNITS_M[unit] / USUAL_BODY_M)))
    return UNITS_M[best], best


def find_up(positions: Float[np.ndarray, "persons frames joints 3"], topology: Topology) -> tuple[str, float]:
    """The axis that points up, such as "+z", and how sure that is: the share of frames (0 to 1) that say so.

    People stand, walk and sit with the head above the feet: each person and frame votes for the axis that lies nearest
    to the line from the lowest to the highest part of the body that is seen. Of somebody who lies all the time it says
    where the head is. ("+y", 0.0) where the topology names no parts that could say it, or they are never seen.

    Args:
        positions: in any unit and space; (0, 0, 0) and NaN mean "not seen".
        topology: what the joints are.
    """
    waist = _middle(positions, topology, ("hip", "pelvis"))
    top = _middle(positions, topology, ("head", "neck", "chest", "shoulder"))
    bottom = _middle(positions, topology, ("ankle", "knee"))
    top, bottom = waist if top is None else top, waist if bottom is None else bottom
    if top is None or bottom is None:
        return "+y", 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        body = (top - bottom).reshape(-1, 3)
    body = body[np.isfinite(body).all(-1) & (body != 0).any(-1)]
    if not len(body):
        return "+y", 0.0
    axis = np.abs(body).argmax(-1)
    downward = np.take_along_axis(body, axis[:, None], -1)[:, 0] < 0
    votes = np.bincount(2 * axis + downward, minlength=6)
    best = int(votes.argmax())
    return f"{'+-'[best % 2]}{'xyz'[best // 2]}", float(votes[best] / votes.sum())


def _middle(positions: np.ndarray, topology: Topology, parts: tuple[str, ...]) -> np.ndarray | None:
    """The middle of the left, central and right joint of the first part that is ever seen: `[persons, frames, 3]`."""
    for part in parts:
        joints = [joint for side in SIDES if (joint := topology.find(part, side)) is not None]
        places = positions[:, :, joints].astype(np.float64)
        seen = (np.isfinite(places) & (places != 0).any(-1, keepdims=True)).all(-1)
        if seen.any():
            count = seen.sum(-1)[..., None]
            total = np.where(seen[..., None], places, 0).sum(2)
            return np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return None


def upright(up: str) -> np.ndarray:
    """The rotation (3 x 3, to be applied from the left) that brings an axis such as "+z" to +y.

    Raises:
        ConfigError: it is no axis.
    """
    axes = {
        "+y": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
        "-y": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
        "+z": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
        "-z": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
        "+x": ((0, -1, 0), (1, 0, 0), (0, 0, 1)),
        "-x": ((0, 1, 0), (-1, 0, 0), (0, 0, 1)),
    }
    if up not in axes:
        raise ConfigError(f"up axis {up!r} is unknown; known are {', '.join(axes)}")
    return np.array(axes[up], np.float64)


def metres_per(unit: str) -> float:
    """Metres of one unit.

    Raises:
        ConfigError: the unit is unknown.
    """
    if unit not in UNITS_M:
        raise ConfigError(f"unit {unit!r} is unknown; known are {', '.join(UNITS_M)}")
    return UNITS_M[unit]
