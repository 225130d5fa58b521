"""An explanation as one PNG: the bodies and the map, for slides and papers."""

import io
from pathlib import Path
from typing import Any

from skeletonllm.errors import DataError
from skeletonllm.evaluate.saliency.drawing import CELL_HEIGHT, MAP_LEFT, STRIP_HEIGHT, STRIP_WIDTH, map_of, strip_of
from skeletonllm.evaluate.saliency.explain import Explanation
from skeletonllm.plain import write_whole

_SCALE = 2
_HEADER, _BETWEEN = 44.0, 14.0
_PAPER, _INK, _SOFT = "#ffffff", "#1b1d22", "#5c6370"
GROUND, STICK, RIM = "#14182a", "#7d8596", "#e8eaee"


def write_picture(explanation: Explanation, path: Path) -> None:
    """Write the picture, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        write_whole(path, picture_of(explanation))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); make room or choose another place") from error


def picture_of(explanation: Explanation) -> bytes:
    """The picture as a PNG file."""
    from PIL import Image, ImageDraw

    chart = map_of(explanation)
    size = (STRIP_WIDTH, _HEADER + STRIP_HEIGHT + _BETWEEN + chart.height)
    image = Image.new("RGB", (round(size[0] * _SCALE), round(size[1] * _SCALE)), _PAPER)
    pen = ImageDraw.Draw(image)
    _write_header(pen, explanation)
    _draw_strip(pen, explanation, _HEADER)
    _draw_map(pen, explanation, _HEADER + STRIP_HEIGHT + _BETWEEN)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _write_header(pen: Any, explanation: Explanation) -> None:
    share = 100 * explanation.shares[explanation.answer]
    _text(
        pen, 8.0, 12.0, f"Why “{explanation.answer}” ({share:.0f} %) and not “{explanation.against}”", "lm", 14.0, _INK
    )
    _text(pen, 8.0, 31.0, f"{explanation.clip.clip_id}: light joints matter much, dark ones little", "lm", 10.0, _SOFT)


def _draw_strip(pen: Any, explanation: Explanation, top: float) -> None:
    pen.rectangle(_scaled(0.0, top, STRIP_WIDTH, top + STRIP_HEIGHT), fill=GROUND)
    for moment in strip_of(explanation):
        for x1, y1, x2, y2 in moment.sticks:
            pen.line(_scaled(x1, top + y1, x2, top + y2), fill=STICK, width=2 * _SCALE)
        for dot in moment.dots:
            box = (dot.x - dot.radius, top + dot.y - dot.radius, dot.x + dot.radius, top + dot.y + dot.radius)
            pen.ellipse(_scaled(*box), fill=dot.color, outline=RIM, width=1)
        _text(pen, moment.x, top + STRIP_HEIGHT - 12, moment.label, "mm", 10.0, RIM)


def _draw_map(pen: Any, explanation: Explanation, top: float) -> None:
    chart = map_of(explanation)
    for line in chart.lines:
        y = top + line.y
        _text(pen, MAP_LEFT - 6, y + CELL_HEIGHT / 2, line.name, "rm", 10.0, _SOFT)
        for cell in line.cells:
            pen.rectangle(_scaled(cell.x, y, cell.x + cell.width, y + CELL_HEIGHT - 0.6), fill=cell.color)
    for x, label in chart.ticks:
        _text(pen, x, top + chart.height - 14, label, "mm", 10.0, _SOFT)


def _text(pen: Any, x: float, y: float, text: str, anchor: str, size: float, color: str) -> None:
    from PIL import ImageFont

    # Names come from files: a line break in one must not run over the drawing.
    text = " ".join(text.split())
    pen.text((x * _SCALE, y * _SCALE), text, font=ImageFont.load_default(size * _SCALE), fill=color, anchor=anchor)


def _scaled(*values: float) -> list[float]:
    return [value * _SCALE for value in values]
