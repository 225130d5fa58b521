"""Numbers to what the page draws: points of curves, shades of cells, bars in order. Texts stay texts, for the template."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skeletonllm.evaluate.metrics import recalls
from skeletonllm.evaluate.report.data import Curve, Example, ReportData

BOX = {"width": 340, "height": 170, "left": 34, "right": 332, "top": 10, "bottom": 146}  # of a curve, SVG units
_MAX_POINTS = 240
_WINDOW = 25  # the running mean is taken over this part of a curve


@dataclass(frozen=True)
class DrawnCurve:
    """A stage's loss inside the `BOX`.

    Args:
        stage: its name.
        every: points of an SVG polyline, the loss of each step.
        smooth: the same of its running mean.
        x_ticks: place and label.
        y_ticks: place and label.
        first: the running mean at the beginning.
        last: the running mean at the end.
    """

    stage: str
    every: str
    smooth: str
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    first: float
    last: float


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: clips, and their share of the row."""

    count: int
    share: float
    right: bool


@dataclass(frozen=True)
class Row:
    """A true action: its cells, its clips, and the share of them that was recognised."""

    action: str
    cells: tuple[Cell, ...]
    total: int
    recall: float | None


@dataclass(frozen=True)
class Confusion:
    """One kind of mistake."""

    action: str
    answered: str
    count: int
    total: int


def draw_curve(curve: Curve) -> DrawnCurve | None:
    """The loss over the steps, and its running mean; None for fewer than two steps."""
    if len(curve.steps) < 2 or curve.steps[-1] == curve.steps[0]:
        return None
    smooth = running_mean(curve.losses)
    first, last = curve.steps[0], curve.steps[-1]
    # A few wild steps must not flatten all the others.
    ticks = nice_ticks(max(float(np.quantile(curve.losses, 0.98)), max(smooth)) or 1.0)
    top = ticks[-1]

    def point(step: int, loss: float) -> tuple[float, float]:
        x = BOX["left"] + (step - first) / (last - first) * (BOX["right"] - BOX["left"])
        return x, BOX["bottom"] - min(loss, top) / top * (BOX["bottom"] - BOX["top"])

    def line(losses: Sequence[float]) -> str:
        every = max(1, len(losses) // _MAX_POINTS)
        kept = [*range(0, len(losses) - 1, every), len(losses) - 1]
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in (point(curve.steps[n], losses[n]) for n in kept))

    x_ticks = tuple((point(step, 0.0)[0], str(step)) for step in (first, (first + last) // 2, last))
    y_ticks = tuple((point(first, tick)[1], f"{tick:g}") for tick in ticks)
    return DrawnCurve(curve.stage, line(curve.losses), line(smooth), x_ticks, y_ticks, smooth[0], smooth[-1])


def running_mean(losses: Sequence[float]) -> list[float]:
    """Mean of each loss and its neighbours on both sides, so that it does not lag; narrower at the two ends."""
    half = max(1, len(losses) // (2 * _WINDOW))
    sums = np.concatenate(([0.0], np.cumsum(losses, dtype=np.float64)))
    reach = [min(half, place, len(losses) - 1 - place) for place in range(len(losses))]
    return [float(sums[n + r + 1] - sums[n - r]) / (2 * r + 1) for n, r in enumerate(reach)]


def nice_ticks(top: float) -> list[float]:
    """0 and two to five round numbers above it, the last at or just above `top`."""
    unit = 10 ** math.floor(math.log10(top / 2))  # top is 2 to 20 of these
    step = unit * next(factor for factor in (1, 2, 5) if top / (factor * unit) <= 5)
    return [float(f"{number * step:.6g}") for number in range(max(2, math.ceil(top / step - 1e-9)) + 1)]


def confusion_rows(candidates: Sequence[str], counts: Sequence[Sequence[int]]) -> list[Row]:
    """The rows of a confusion matrix, as they are drawn."""
    rows = []
    for number, action in enumerate(candidates):
        total = sum(counts[number])
        cells = tuple(
            Cell(count, count / total if total else 0.0, place == number) for place, count in enumerate(counts[number])
        )
        rows.append(Row(action, cells, total, cells[number].share if total else None))
    return rows


def top_confusions(candidates: Sequence[str], counts: Sequence[Sequence[int]], limit: int = 8) -> list[Confusion]:
    """The most frequent mistakes; equal ones by their share of the action, then in the candidates' order."""
    found = [
        Confusion(candidates[true], candidates[answer], count, sum(row))
        for true, row in enumerate(counts)
        for answer, count in enumerate(row)
        if true != answer and count
    ]
    return sorted(found, key=lambda one: (-one.count, -one.count / one.total))[:limit]


def recall_bars(data: ReportData) -> list[tuple[str, int, list[float | None]]]:
    """Action, its clips, and the recall of each system that has a confusion matrix; the hardest action first."""
    known = [np.array(system.confusion, np.int64) for system in data.systems if system.confusion]
    if not known:
        return []
    rates = [recalls(matrix).tolist() for matrix in known]
    bars = [
        (action, int(known[0][place].sum()), [None if math.isnan(rate[place]) else rate[place] for rate in rates])
        for place, action in enumerate(data.candidates)
    ]
    return sorted((bar for bar in bars if bar[1]), key=lambda bar: bar[2][0] or 0.0)


def fitting(gallery: Sequence[Example], budget_bytes: int) -> list[Example]:
    """The examples whose pictures fit: the last of the format with the most is left out until the rest does."""
    kept = list(gallery)
    while sum(len(one.learned) + len(one.fixed) for one in kept) > budget_bytes:
        formats = [one.format for one in kept]
        fullest = max(formats, key=formats.count)
        del kept[len(kept) - 1 - formats[::-1].index(fullest)]
    return kept
