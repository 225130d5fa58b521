"""Where a curve turns, and when a path sets out: what events, swings and leads are made of."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

_SWING_RATIO = 3.0  # the largest and the smallest of one row of swings
_SLOWEST_SWING_S = 0.6  # one way


def turning_points(signal: Float[np.ndarray, " frames"], tolerance: float) -> list[int]:
    """Frames where the signal turns by more than the tolerance, with the first and the last frame of its movement."""
    turns, low, high, direction = [], 0, 0, 0
    values = signal.tolist()  # plain floats: five times as fast one by one
    lowest = highest = values[0]
    for frame, value in enumerate(values):
        if value > highest:
            high, highest = frame, value
        if value < lowest:
            low, lowest = frame, value
        if direction <= 0 and value - lowest > tolerance:
            turns.append(low)
            direction, high, highest = 1, frame, value
        elif direction >= 0 and highest - value > tolerance:
            turns.append(high)
            direction, low, lowest = -1, frame, value
    if direction:
        turns.append(high if direction > 0 else low)
    return turns


def first_move(path: Float[np.ndarray, "frames 3"], tolerance: float, window: tuple[int, int]) -> int | None:
    """The frame of a window in which a path leaves the place where it begins; None where it stays."""
    inside = path[window[0] : window[1] + 1]
    away = np.sqrt(np.einsum("...i,...i->...", inside - inside[0], inside - inside[0]))
    if away.max() <= tolerance:
        return None
    left = int((away > tolerance).argmax())
    # Back to where it set out: the last frame that is still at the start.
    at_start = (away[: left + 1] <= 0.25 * tolerance).nonzero()[0]
    return window[0] + int(at_start[-1])


def find_swings(signal: Float[np.ndarray, " frames"], fps: float, tolerance: float) -> tuple[list[int], float]:
    """The longest row of quick turns to and fro of about one size: the frames of its turns, and its mean size.

    There is one turn more than swings. A movement out and back has two swings, with a wind-up three; only from four on
    is it a row.
    """
    turns = turning_points(signal, tolerance)
    sizes = [abs(float(signal[last] - signal[first])) for first, last in pairwise(turns)]
    trimmed = [trim(signal, first, last) for first, last in pairwise(turns)]
    best, start = (0, 0), 0
    for end, (first, last) in enumerate(trimmed, start=1):
        if (last - first) / fps > _SLOWEST_SWING_S:
            start = end
            continue
        while max(sizes[start:end]) > _SWING_RATIO * min(sizes[start:end]):
            start += 1
        best = max(best, (start, end), key=lambda row: row[1] - row[0])
    first, last = best
    if last == first:
        return [], 0.0
    inner = turns[first + 1 : last]
    return [trimmed[first][0], *inner, trimmed[last - 1][1]], float(np.mean(sizes[first:last]))


def trim(signal: Float[np.ndarray, " frames"], first: int, last: int) -> tuple[int, int]:
    """The frames of a movement without the rest before and after it: from 5 % to 95 % of the way."""
    way = (signal[first : last + 1] - signal[first]) / (signal[last] - signal[first])
    left = int(np.nonzero(way <= 0.05)[0][-1])
    right = left + int(np.nonzero(way[left:] >= 0.95)[0][0])
    return first + left, first + right
