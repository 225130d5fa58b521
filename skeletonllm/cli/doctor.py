"""The verb `doctor`: whether this machine can run what it is asked to, and what to do where it cannot. `env` only lists."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from skeletonllm.cli.checkup import Finding

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def doctor(workdir: Path = Path("skeletonllm-work"), online: bool = False, json: bool = False) -> int:
    """Check this machine: packages, ports, keys, memory, limits, GPUs, compiler, clock. Exit code 1: something is wrong.

    Keys are looked for and never printed.

    Args:
        workdir: where runs are kept; its disk must have room.
        online: ask the teacher's address for a sign of life too; nothing is paid for.
        json: print the findings as JSON.
    """
    from skeletonllm.cli.checkup import check_all
    from skeletonllm.plain import to_plain

    findings = check_all(workdir, online)
    if json:
        from json import dumps

        print(dumps(to_plain(findings), indent=2, ensure_ascii=False))
    else:
        from rich.console import Console

        console = Console()
        console.print(_table(findings))
        console.print(_total(findings))
    return int(any(one.level == "fault" for one in findings))


def _table(findings: "list[Finding]") -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for one in findings:
        advice = f"\n[dim]→ {escape(one.advice)}[/dim]" if one.advice else ""
        table.add_row(f"[{_STYLES[one.level]}]{one.level}[/]", f"[b]{one.what}[/b]", escape(one.found) + advice)
    return table


def _total(findings: "list[Finding]") -> str:
    counts = {level: sum(one.level == level for one in findings) for level in _STYLES}
    faults = f"{counts['fault']} fault{'' if counts['fault'] == 1 else 's'}"
    warnings = f"{counts['warning']} warning{'' if counts['warning'] == 1 else 's'}"
    return f"\n{faults}, {warnings}, {counts['ok']} ok"
