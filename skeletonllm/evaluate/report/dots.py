"""Means with their intervals as a page: a dot plot, one row per system, and the same numbers as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from skeletonllm.evaluate.metrics import SeedMean
from skeletonllm.evaluate.report.charts import nice_ticks

_WIDTH, _LEFT, _RIGHT, _ROW, _TOP = 860.0, 210.0, 836.0, 46.0, 30.0


@dataclass(frozen=True)
class _Row:
    """A system in the plot, SVG units."""

    name: str
    y: float
    mean: float
    low: float
    high: float
    each: tuple[float, ...]


def dots_page(
    title: str,
    told: str,
    systems: Sequence[tuple[str, SeedMean]],
    chance: float,
    heads: Sequence[str],
    table: Sequence[Sequence[str]],
    note: str = "",
) -> str:
    """One self-contained HTML file; the first system stands out, all texts are escaped.

    Args:
        title: of the page.
        told: a sentence on what was measured.
        systems: name and accuracy of each row, from above.
        chance: accuracy of guessing.
        heads: of the table below the plot.
        table: its rows.
        note: a remark on the table.
    """
    from jinja2 import Environment
    from markupsafe import Markup

    ticks = nice_ticks(max([chance, *(max(mean.high, *mean.each) for _, mean in systems)]) or 1.0)
    height = _TOP + _ROW * len(systems) + 34

    def at(share: float) -> float:
        return round(_LEFT + share / ticks[-1] * (_RIGHT - _LEFT), 1)

    rows = [
        _Row(name, _TOP + _ROW * number + 14, at(mean.mean), at(mean.low), at(mean.high), tuple(map(at, mean.each)))
        for number, (name, mean) in enumerate(systems)
    ]
    own = files("skeletonllm.evaluate.report")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string((own / "dots.html").read_text()).render(
        title=title,
        told=told,
        style=Markup((own / "style.css").read_text()),
        width=_WIDTH,
        height=height,
        left=_LEFT,
        top=_TOP,
        ticks=[{"x": at(tick), "label": f"{100 * tick:g} %"} for tick in ticks],
        chance=at(chance),
        rows=rows,
        heads=heads,
        table=table,
        note=note,
    )
