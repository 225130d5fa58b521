"""The report's main numbers as a table for the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

from skeletonllm.evaluate.metrics import Accuracy
from skeletonllm.evaluate.report.data import ReportData

if TYPE_CHECKING:
    from rich.table import Table


def summary_table(data: ReportData, report: Path | None = None) -> "Table":
    """One row for each measure: accuracies with interval and times chance, verified chains, the time of each step.

    Args:
        data: what the report shows.
        report: where it lies; said below the table.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(data.title, style="bold"), title_justify="left", caption_justify="left")
    table.add_column("measure")
    for name in ("result", "95 % interval", "x chance"):
        table.add_column(name, justify="right", no_wrap=True)
    for system in data.systems:
        table.add_row(Text(f"held-out accuracy, {system.name}"), *_cells(system.held_out))
    for system in data.systems:
        if system.cross_format is not None:
            unseen = ", ".join(data.unseen_formats) or "unseen format"
            table.add_row(Text(f"cross-format ({unseen}), {system.name}"), *_cells(system.cross_format))
    chance = data.systems[0].held_out.chance
    table.add_row("chance", f"{chance:.1%}", "", "1.0", end_section=True)
    accepted, asked = data.chain_rate
    if asked:
        table.add_row(
            Text(f"verified chains, teacher {data.teacher}"),
            *(f"{accepted / asked:.1%}", f"{accepted} of {asked}", ""),
            end_section=True,
        )
    for name, seconds in data.times:
        table.add_row(Text(f"time, {name}"), spoken_time(seconds), "", "")
    if data.times:
        table.add_row("time, all of these", spoken_time(data.total_s), "", "", style="bold")
    if report is not None:
        table.caption = Text(f"Report: {report}", overflow="fold")
    return table


def spoken_time(seconds: float) -> str:
    """`4.2 s`, `1 min 05 s` or `2 h 07 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _cells(found: Accuracy) -> tuple[str, str, str]:
    return f"{found.value:.1%}", f"{100 * found.low:.1f}–{found.high:.1%}", f"{found.times_chance:.1f}"
