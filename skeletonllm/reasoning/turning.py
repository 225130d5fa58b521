"""Where a curve turns, and when a path sets out: what events, swings and leads are made of."""

from itertools import pairwise

import numpy as np
from jaxtyping import Float

_SWING_RATIO = 2.2  # the largest and the smallest of one row of swings
_SLOWEST_SWING_S = 0.6  # one way
_CORE = 0.85
_BEGUN = 0.1


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


def first_move(
    path: Float[np.ndarray, "frames 3"], tolerance: float, window: tuple[int, int]
) -> tuple[int, int] | None:
    """When a path leaves the place where a window begins: the frame in which it sets out, and the one in which it is away.

    None where it stays.
    """
    inside = path[window[0] : window[1] + 1] - path[window[0]]
    away = np.sqrt(np.einsum("...i,...i->...", inside, inside))
    if away.max() <= tolerance:
        return None
    gone = int((away > tolerance).argmax())
    at_start = (away[: gone + 1] <= 0.25 * tolerance).nonzero()[0]
    return window[0] + int(at_start[-1]), window[0] + gone


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
    # The hand comes from elsewhere into the first swing, and goes elsewhere out of the last one: they count as long as
    # the others.
    usual = int(np.median([end - begin for begin, end in pairwise(turns[first : last + 1])]))
    inner = turns[first + 1 : last]
    begins = max(trimmed[first][0], inner[0] - usual) if inner else trimmed[first][0]
    ends = min(trimmed[last - 1][1], inner[-1] + usual) if inner else trimmed[last - 1][1]
    return [begins, *inner, ends], float(np.mean(sizes[first:last]))


def trim(signal: Float[np.ndarray, " frames"], first: int, last: int) -> tuple[int, int]:
    """The frames in which most of a movement happens: the fewest that hold 85 % of the way.

    A movement that fades away, or begins with a slow lean, would else take frames in which nobody sees it.
    """
    way = signal[first : last + 1] - signal[first]
    if way[-1] < 0:
        way = -way
    reached = np.maximum.accumulate(way)
    ends = np.searchsorted(reached, way + _CORE * way[-1])
    lengths = np.where(ends < len(way), ends - np.arange(len(way)), len(way))
    start = int(lengths.argmin())
    begun, done = int((way > _BEGUN * way[-1]).argmax()) - 1, int((way >= (1 - _BEGUN) * way[-1]).argmax())
    start, end = max(start, begun), min(int(ends[start]), done)
    return first + start, first + max(start, end)
