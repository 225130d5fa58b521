"""Stick figures of a clip: moments from the front and one from the side, as SVG for pages and as pixels for sheets.

Left limbs, right limbs and trunk have their own colours; people face the viewer in front views and look to the right in
side views, whatever the recording's axes were.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.kinematics import canonicalise

_PAD = 0.08  # around the figures, of a cell's width
# The order of drawing: of two that cross, the left limb lies above the right one, and the first person above others.
STROKES = ("center other", "right other", "left other", "center", "right", "left")


@dataclass(frozen=True)
class Cell:
    """One moment: bones in a unit square (x right, y down), by side of the body.

    Args:
        bones: ends `[bones, 2, 2]` of each of `STROKES`: side of the body, and ` other` for persons beside the first.
        view: `front` or `side`.
    """

    bones: dict[str, np.ndarray]
    view: str


def cells_of(clip: Clip, front: int = 6, side: int = 2) -> list[Cell]:
    """The moments of a clip, spread over it; 2D clips have no side view."""
    shown = canonicalise(clip)
    views = [("front", count) for count in (front,) if count]
    if clip.topology.dims == 3 and side:
        views.append(("side", side))
    elif clip.topology.dims == 2:
        views = [("front", front + side)]
    scale, floor = _frame(shown)
    cells = []
    for view, count in views:
        for frame in _moments(clip, count):
            cells.append(_cell(shown, frame, view, scale, floor))
    return cells


def _moments(clip: Clip, count: int) -> list[int]:
    """Frames in which somebody is seen, spread over the clip."""
    seen = np.flatnonzero((clip.confidence > 0).any((0, 2)))
    return [int(seen[int((place + 0.5) * len(seen) / count)]) for place in range(count)]


def _frame(clip: Clip) -> tuple[float, float]:
    """The size of what a cell must hold, metres, and the height of its lower edge."""
    seen = clip.confidence > 0
    people = np.where(seen[..., None], clip.positions, np.nan)
    with np.errstate(invalid="ignore"):
        tall = np.nanquantile(people[..., 1], (0.002, 0.998))
        wide = 0.0
        for axis in (0, 2):
            middle = _middle(clip, axis)
            wide = max(wide, 2 * float(np.nanquantile(np.abs(people[..., axis] - middle[None, :, None]), 0.998)))
    size = max(float(tall[1] - tall[0]), wide, 1e-3) / (1 - 2 * _PAD)
    return size, float(tall[0] + tall[1] - size) / 2


def _middle(clip: Clip, axis: int) -> np.ndarray:
    """Where the people are along an axis, `[frames]`; 0 where nobody is seen."""
    seen = clip.confidence > 0
    return np.where(seen, clip.positions[..., axis], 0).sum((0, 2)) / np.maximum(seen.sum((0, 2)), 1)


def _cell(clip: Clip, frame: int, view: str, size: float, floor: float) -> Cell:
    axis = 0 if view == "front" else 2
    across = clip.positions[:, frame, :, axis] - _middle(clip, axis)[frame]
    places = np.stack((across / size + 0.5, 1 - (clip.positions[:, frame, :, 1] - floor) / size), axis=-1)
    bones: dict[str, list[np.ndarray]] = {stroke: [] for stroke in STROKES}
    for person in range(clip.num_persons):
        for parent, child in clip.topology.bones:
            if (clip.confidence[person, frame, [parent, child]] > 0).all():
                bones[clip.topology.sides[child] + (" other" if person else "")].append(places[person, [parent, child]])
    return Cell({side: np.array(ends).reshape(-1, 2, 2) for side, ends in bones.items()}, view)


def svg_of(clip: Clip, front: int = 6, side: int = 2, height: int = 120) -> str:
    """The moments side by side as one SVG; its strokes have the classes of `STROKES`."""
    cells = cells_of(clip, front, side)
    width = round(height * 0.72)
    parts = []
    for place, cell in enumerate(cells):
        x = place * width + (width - height) / 2
        paths = "".join(
            f'<path class="{name}" d="{_path(cell.bones[name], x, height)}"/>'
            for name in STROKES
            if len(cell.bones[name])
        )
        parts.append(f'<g class="{cell.view}">{paths}</g>')
    return (
        f'<svg class="people" viewBox="0 0 {len(cells) * width} {height}" role="img" '
        f'aria-label="stick figures">{"".join(parts)}</svg>'
    )


def _path(ends: np.ndarray, x: float, height: int) -> str:
    points = np.clip(ends, -9, 9) * height + [x, 0]
    return "".join(f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}" for a, b in points)


def draw_cells(
    cells: Sequence[Cell], size_px: int, colours: dict[str, tuple[int, int, int]], background: tuple
) -> np.ndarray:
    """The moments side by side as pixels, `[size_px, width, 3]` uint8, smooth edges."""
    from PIL import Image, ImageDraw

    over = 3
    width = round(size_px * 0.72)
    image = Image.new("RGB", (len(cells) * width * over, size_px * over), background)
    pen = ImageDraw.Draw(image)
    for place, cell in enumerate(cells):
        x = (place * width + (width - size_px) / 2) * over
        for name in STROKES:
            for start, end in np.clip(cell.bones[name], -9, 9) * size_px * over + [x, 0]:
                pen.line([*start, *end], fill=colours[name], width=max(1, round(size_px * over / 55)), joint="curve")
                for point in (start, end):
                    r = size_px * over / 90
                    pen.ellipse([point[0] - r, point[1] - r, point[0] + r, point[1] + r], fill=colours[name])
    return np.asarray(image.resize((len(cells) * width, size_px), Image.Resampling.LANCZOS))
