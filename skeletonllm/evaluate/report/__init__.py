"""One self-contained `report.html`: numbers, confusions, pictures and checked chains, from plain values."""

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.metrics import balanced_accuracy
from skeletonllm.evaluate.report import charts
from skeletonllm.evaluate.report.data import (
    CountTable,
    Curve,
    Example,
    ReportData,
    ShownChain,
    ShownStep,
    System,
)
from skeletonllm.evaluate.report.page import page_environment
from skeletonllm.evaluate.report.table import summary_table
from skeletonllm.plain import from_plain, to_plain, write_whole

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "RESULTS",
    "CountTable",
    "Curve",
    "Example",
    "ReportData",
    "ShownChain",
    "ShownStep",
    "System",
    "read_results",
    "render_page",
    "summary_table",
    "summary_table_of",
    "write_report",
]

RESULTS = "results.json"
_PICTURES_BYTES = 3_900_000  # of all GIFs: base64 makes 5.2 MB of them
_DENSE = 24  # more actions than these, and the matrix has no room for its counts
_MATRIX_REM = 48.0  # width that the cells of a dense matrix share


def write_report(data: ReportData, path: Path) -> None:
    """Write the page, and its numbers as `results.json` beside it; each appears whole or not at all.

    Raises:
        ConfigError: there is no system to report on.
        DataError: a file cannot be written.
    """
    page = render_page(data)
    numbers = to_plain(replace(data, gallery=(), curves=()))
    text = json.dumps(numbers, indent=2, ensure_ascii=False) + "\n"
    for file, content in ((path.with_name(RESULTS), text), (path, page)):
        try:
            # Labels may come from file names, which need not be UTF-8.
            write_whole(file, content.encode("utf-8", "replace"))
        except OSError as error:
            raise DataError(f"{file}: cannot be written ({error}); make room or choose another place") from error


def render_page(data: ReportData) -> str:
    """The page as text. Every name, label and caption in it is data and is escaped.

    Raises:
        ConfigError: there is no system to report on, or a confusion matrix is not of the candidates.
    """
    _check(data)
    style = (files("skeletonllm.evaluate.report") / "style.css").read_text("utf-8")
    return page_environment("gif").get_template("template.html").render(**_values(data, style))


def _check(data: ReportData) -> None:
    if not data.systems:
        raise ConfigError("report: no system; there must be at least the one with the learned renderer")
    size = len(data.candidates)
    for name, matrix in ((system.name, system.confusion) for system in data.systems):
        if matrix and [len(row) for row in matrix] != [size] * size:
            raise ConfigError(
                f"report: the confusion matrix of {name} has {len(matrix)} rows of {len(matrix[0])}, "
                f"must have {size} of {size}: one for each candidate"
            )


def _values(data: ReportData, style: str) -> dict[str, Any]:
    """What the template shows beside the data itself."""
    shown = charts.fitting(data.gallery, _PICTURES_BYTES)
    formats = list(dict.fromkeys(example.format for example in shown))
    size = len(data.candidates)
    confusion = data.systems[0].confusion or ((0,) * size,) * size
    matrix = np.array(confusion, np.int64).reshape(size, size)
    totals = matrix.sum(1)
    return {
        "data": data,
        "style": style,
        "first": data.systems[0],
        "formats": sorted(data.systems[0].by_format, key=lambda name: (name in data.unseen_formats, name)),
        "rows": charts.confusion_rows(data.candidates, confusion),
        "dense": size > _DENSE,
        "cell_rem": min(0.95, max(0.62, _MATRIX_REM / max(1, size))),
        "confusions": charts.top_confusions(data.candidates, data.systems[0].confusion),
        "bars": charts.recall_bars(data),
        "balanced": balanced_accuracy(matrix),
        "majority": float(totals.max() / totals.sum()) if totals.sum() else 0.0,
        "curves": [drawn for curve in data.curves if (drawn := charts.draw_curve(curve))],
        "box": charts.BOX,
        "gallery": [(name, [one for one in shown if one.format == name]) for name in formats],
        "num_hidden": len(data.gallery) - len(shown),
        "num_rejected": len(data.rejected) if data.num_rejected is None else data.num_rejected,
    }


def read_results(report: Path) -> ReportData:
    """The numbers of a written report; its gallery and curves are empty.

    Raises:
        DataError: `results.json` is not beside it, or damaged.
    """
    path = report.with_name(RESULTS)
    try:
        return from_plain(ReportData, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); evaluate again") from error


def summary_table_of(report: Path) -> "Table":
    """The main numbers of a written report as a table for the terminal."""
    return summary_table(read_results(report), report)
