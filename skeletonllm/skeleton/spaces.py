"""From a file's own space to the project's: metres, right-handed, +y up. Units and axes are declared, known or fitted."""

import numpy as np

from skeletonllm.errors import ConfigError

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
