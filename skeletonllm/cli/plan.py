"""The verb `plan`: what training a recipe would do, why, and what it takes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from skeletonllm.cli.learn import Settings

if TYPE_CHECKING:
    from pipelines.train_plan import StagePlan, TrainPlan

_WORKDIR = Path("skeletonllm-work")
_COLORS = {"done": "green", "begun": "cyan", "stale": "yellow", "to do": "bold"}
_GIB, _MIB = 2**30, 2**20


def plan(
    recipe: Annotated[str | None, tyro.conf.Positional] = None,
    workdir: Path = _WORKDIR,
    stage: str | None = None,
    hold_out: str | None = None,
    seed: int | None = None,
    settings: Settings = None,
    probe: bool = False,
    json: bool = False,
) -> None:
    """Show what `train` would do: each stage done, stale and why, or to do; its examples, tokens, memory and hours.

    Needs no GPU and no weights, trains nothing and asks nobody. Of a backbone that is not on this machine only what does
    not depend on it is told.

    Args:
        recipe: a name of skeletonllm/recipes.py; by default that of the folder's last run.
        workdir: holds the clips.
        stage: only this one, as `train --stage` would train it on what is there.
        hold_out: which clips test; training does not see them.
        seed: of every random choice.
        settings: single settings of the recipe, as for `train`.
        probe: take twenty real steps of each stage that is not done, here, to tell its hours; nothing of them is kept.
        json: everything in JSON.
    """
    from pipelines import train_plan
    from pipelines.choices import choose
    from pipelines.workdir import Workdir
    from skeletonllm.log import set_up_logging

    if probe:
        set_up_logging()
    work = Workdir(workdir)
    choices = choose(work, recipe, hold_out, None, seed, settings)
    found = train_plan.plan(work, choices, work.newest("clips"), stage, probe)
    if json:
        _print_json(found)
    else:
        show_plan(found)


def show_plan(plan: "TrainPlan") -> None:
    """Print a plan: a table of the stages, why they are so, the weights by part, the teacher, how numbers came about."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    console.print(
        f"Recipe [bold]{escape(plan.recipe)}[/], held out {escape(plan.hold_out)}, "
        f"ranks {plan.world_size}, ZeRO {plan.zero_stage}."
    )
    console.print(_table(plan))
    for one in plan.stages:
        if one.state != "done" and (one.why or one.notes):
            console.print(f"[{_COLORS[one.state]}]{one.name}: {one.state}[/]")
            for line in (*one.why, *one.notes):
                console.print(f"  {escape(line)}")
    if plan.parameters:
        console.print(
            "Weights: " + ", ".join(f"{name} {_count(number)}" for name, number in plan.parameters.items()) + "."
        )
    if plan.teacher is not None:
        _show_teacher(plan.teacher, console)
    for note in plan.notes:
        console.print(escape(note))


def _table(plan: "TrainPlan") -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    is_probed = any(one.hours is not None for one in plan.stages)
    names = ("examples", "tokens\nclip+text", "tokens\nan epoch", "steps", "weights\nlearn", "memory\na rank")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in (*names, *(("time",) if is_probed else ())):
        table.add_column(name, justify="right", no_wrap=True)
    for one in plan.stages:
        took = (_time(one.hours),) if is_probed else ()
        table.add_row(one.name, Text(one.state, _COLORS[one.state]), *_cells(one), *took)
    return table


def _cells(one: "StagePlan") -> tuple[str, ...]:
    """A stage's numbers as texts; `?` for what is not known."""
    most = "<=" if one.is_most else ""
    text = "?" if one.text_tokens is None else f"{one.text_tokens:.0f}"
    memory = one.memory.total if one.memory is not None else None
    return (
        f"{most}{sum(one.examples.values()):,}",
        "?" if one.visual_tokens is None else f"{one.visual_tokens:,}+{text}",
        "?" if one.tokens_an_epoch is None else most + _count(round(one.tokens_an_epoch)),
        f"{most}{one.steps:,}",
        "?" if one.trained is None else _count(one.trained),
        "?" if memory is None else _bytes(memory),
    )


def _show_teacher(teacher: Any, console: Any) -> None:
    from rich.markup import escape

    console.print(f"Teacher: {escape(teacher.teacher)}, to be asked about {teacher.num_clips:,} clips.")
    if teacher.lines:
        total = teacher.lines[-1]
        cost, most = ("?" if one is None else f"{one:,.2f}" for one in (total.cost, total.most_cost))
        console.print(
            f"  {total.requests:,.0f} requests, {cost} USD expected, {most} at most; `chains --plan` says more."
        )
    for note in teacher.notes:
        console.print(f"  {escape(note)}")


def _count(number: int) -> str:
    for size, letter in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def _time(hours: float | None) -> str:
    if hours is None:
        return ""
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _bytes(number: int) -> str:
    return f"{number / _GIB:.1f} GiB" if number >= _GIB else f"{number / _MIB:.0f} MiB"


def _print_json(plan: "TrainPlan") -> None:
    import json

    from skeletonllm.plain import to_plain

    print(json.dumps(to_plain(plan), indent=2, ensure_ascii=False))
