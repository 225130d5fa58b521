"""Charts as SVG, drawn from numbers alone."""

from collections.abc import Sequence

_WIDTH, _HEIGHT, _PAD = 320.0, 120.0, 24.0


def learning_curve(steps: Sequence[int], losses: Sequence[float]) -> str:
    """The points of an SVG polyline: running mean of the loss over the steps, in a box of 320 x 120."""
    if len(steps) < 2:
        return ""
    smooth, shown = losses[0], []
    for loss in losses:
        smooth += 0.1 * (loss - smooth)
        shown.append(smooth)
    top = max(shown) or 1.0
    every = max(1, len(steps) // 200)
    points = []
    for step, loss in list(zip(steps, shown, strict=True))[::every]:
        x = _PAD + (step - steps[0]) / (steps[-1] - steps[0]) * (_WIDTH - 2 * _PAD)
        y = _HEIGHT - _PAD - loss / top * (_HEIGHT - 2 * _PAD)
        points.append(f"{x:.1f},{y:.1f}")
    return " ".join(points)


def confusion_table(
    candidates: Sequence[str], counts: Sequence[Sequence[int]]
) -> list[tuple[str, list[tuple[int, float]], str]]:
    """Rows of a confusion matrix: action, cells as (count, share of the row), recall as text."""
    rows = []
    for number, action in enumerate(candidates):
        total = sum(counts[number])
        cells = [(count, count / total if total else 0.0) for count in counts[number]]
        rows.append((action, cells, f"{100 * counts[number][number] / total:.0f} %" if total else "–"))
    return rows
