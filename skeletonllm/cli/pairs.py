"""Confusable pairs as a table for the terminal."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table

from skeletonllm.mining.merge import EVIDENCE_KINDS


def pairs_table(rows: Sequence[dict[str, Any]]) -> Table:
    """The partners of each action with their scores.

    A kind of evidence that never spoke has no column; where it did not speak about an action, there is a dash.

    Args:
        rows: of a data set of pairs.
    """
    shown = [kind for kind in EVIDENCE_KINDS if any(row[kind] is not None for row in rows)]
    table = Table(caption="of all that the action may be taken for, the share of this one", caption_justify="left")
    for name in ("action", "taken for"):
        table.add_column(name)
    for name in ("score", *shown):
        table.add_column(name, justify="right")
    if "student" in shown:
        table.add_column("mistaken", justify="right")
    before = None
    for row in rows:
        again = row["action"] == before
        if not again:
            table.add_section()
        cells = [_share(row[name]) for name in ("score", *shown)]
        if "student" in shown:
            cells.append("-" if row["mistaken"] is None else str(row["mistaken"]))
        table.add_row("" if again else escape(row["action"]), escape(row["confused_with"]), *cells)
        before = row["action"]
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
