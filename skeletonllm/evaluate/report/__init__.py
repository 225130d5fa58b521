"""One self-contained `report.html`: numbers, confusions, pictures and checked chains, from plain values."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skeletonllm.evaluate.metrics import Accuracy
from skeletonllm.evaluate.report.charts import confusion_table, learning_curve
from skeletonllm.plain import to_plain, write_whole

if TYPE_CHECKING:
    from rich.table import Table

RESULTS = "results.json"


@dataclass(frozen=True)
class System:
    """One student's results on the held-out clips.

    Args:
        name: for people.
        held_out: on the clips of the test split.
        cross_format: on the formats that training never saw; None where there are none.
        by_format: on the test clips of each format.
        chain_label: share of held-out clips whose written chain ends in the right label; None where none was asked for.
    """

    name: str
    held_out: Accuracy
    cross_format: Accuracy | None
    by_format: dict[str, Accuracy]
    chain_label: Accuracy | None = None


@dataclass(frozen=True)
class Example:
    """One clip of the gallery."""

    title: str
    learned: bytes
    fixed: bytes
    truth: str
    predicted: str
    predicted_fixed: str
    captions: tuple[str, ...]
    written: str
    explained: str


@dataclass(frozen=True)
class ShownStep:
    """A step of a teacher's chain with its verdict."""

    text: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class ShownChain:
    """A teacher's chain as people read it."""

    clip_id: str
    action: str
    summary: str
    steps: tuple[ShownStep, ...]
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """The loss of one stage over its steps."""

    stage: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class ReportData:
    """All that the report shows.

    Args:
        title: of the page.
        command: that made it.
        systems: the learned renderer first, then those it is compared with.
        p_value: of the difference between the first two on the same clips.
        candidates: the actions, in the order of the confusion matrix.
        confusion: counts of the first system, true by answer.
        gallery: clips of each format.
        chains: a few of the teacher's.
        chain_rate: accepted and all chains.
        step_counts: the teacher's steps by verdict.
        teacher: who it was.
        curves: of the stages.
        data: facts about the data set, name and value.
        rejected: file and reason.
        times: seconds that each stage trained.
        versions: of the code and its main packages.
    """

    title: str
    command: str
    systems: tuple[System, ...]
    p_value: float | None
    candidates: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    gallery: tuple[Example, ...]
    chains: tuple[ShownChain, ...]
    chain_rate: tuple[int, int]
    step_counts: dict[str, int]
    teacher: str
    curves: tuple[Curve, ...]
    data: tuple[tuple[str, str], ...]
    rejected: tuple[tuple[str, str], ...]
    times: tuple[tuple[str, float], ...]
    versions: tuple[tuple[str, str], ...]


def write_report(data: ReportData, path: Path) -> None:
    """Write the page, and its numbers as `results.json` beside it."""
    from jinja2 import Environment

    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = lambda share: f"{100 * share:.1f} %"
    environment.filters["image"] = lambda gif: "data:image/gif;base64," + base64.b64encode(gif).decode()
    here = files("skeletonllm.evaluate.report")
    template = environment.from_string((here / "template.html").read_text())
    page = template.render(
        data=data,
        style=(here / "style.css").read_text(),
        confusion=confusion_table(data.candidates, data.confusion),
        curves=[(curve, learning_curve(curve.steps, curve.losses)) for curve in data.curves],
    )
    write_whole(path.with_name(RESULTS), json.dumps(_numbers(data), indent=2, ensure_ascii=False) + "\n")
    write_whole(path, page)


def _numbers(data: ReportData) -> dict[str, Any]:
    """The report without its pictures."""
    plain = to_plain(data)
    for key in ("gallery", "curves"):
        plain.pop(key)
    return plain


def summary_table_of(report: Path) -> "Table":
    """The report's main numbers as a table for the terminal."""
    from rich.table import Table

    numbers = json.loads(report.with_name(RESULTS).read_text())
    table = Table(title=numbers["title"], title_justify="left")
    table.add_column("measure")
    for name in ("result", "95 % interval", "times chance"):
        table.add_column(name, justify="right")
    for system in numbers["systems"]:
        for key, label in (("held_out", "held-out accuracy"), ("cross_format", "unseen-format accuracy")):
            if system[key] is not None:
                table.add_row(f"{label}, {system['name']}", *_cells(system[key]))
    accepted, asked = numbers["chain_rate"]
    table.add_row(
        f"verified chains, teacher {numbers['teacher']}", f"{accepted / max(asked, 1):.1%}", f"of {asked}", ""
    )
    for name, seconds in numbers["times"]:
        table.add_row(f"time, {name}", f"{seconds:.0f} s", "", "")
    table.caption = f"Report: {report}"
    return table


def _cells(plain: dict[str, Any]) -> Sequence[str]:
    found = Accuracy(**plain)
    return f"{found.value:.1%}", f"{found.low:.1%} to {found.high:.1%}", f"{found.times_chance:.1f}"
