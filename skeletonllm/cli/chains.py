"""The verb `chains`: the teacher's reasoning about the training clips, or the plan of asking for it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skeletonllm.cli.learn import quiet

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.teach_plan import TeachPlan

_WORKDIR = Path("skeletonllm-work")


def chains(
    workdir: Path = _WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: tuple[str, ...] | None = None,
    teacher: str | None = None,
    max_per_action: int | None = None,
    max_cost: float | None = None,
    max_tokens: int | None = None,
    max_requests: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    at_once: int = 16,
    batch: bool = False,
    replay: bool = False,
    plan: bool = False,
    show: int = 3,
) -> None:
    """Ask the teacher for reasoning chains of the training clips and check each step against the joints.

    The teacher is the server that SKELETONLLM_TEACHER_MODEL, OPENAI_BASE_URL and OPENAI_API_KEY name; without them the
    offline one. Replies are kept: kill it at any moment and run it again, and nothing is paid for twice. Writes a page with
    chains beside their pictures.

    Args:
        workdir: holds the clips.
        recipe: a name of skeletonllm/recipes.py; by default that of the folder's last run.
        hold_out: which clips test; no chain is made of them.
        cross_format: formats or data sets that training must not see; no chain is made of them.
        teacher: a model of the server, or `kinematic` for the offline one; by default what the environment names.
        max_per_action: ask about so many clips of an action at most, per shard.
        max_cost: USD that may be spent on this data set, over all runs; never exceeded. Prices are in prices.toml.
        max_tokens: that it may take, in and out together, likewise.
        max_requests: that may be made for it, likewise.
        requests_per_minute: at most; a lower limit that the server names wins.
        tokens_per_minute: at most, likewise.
        at_once: requests under way at most. It begins with a few, and takes more while all is well.
        batch: ask by the Batch API: half the price, within a day.
        replay: take replies from the ledger alone and ask nobody.
        plan: only say what would be asked, why, and what it would cost; asks nobody.
        show: print so many chains.
    """
    quiet()
    from flows.build_teacher_chains import build_teacher_chains, plan_of
    from pipelines.teach import Limits

    asked: dict[str, Any] = {
        "workdir": str(workdir),
        "recipe": recipe,
        "hold_out": hold_out,
        "cross_format": None if cross_format is None else list(cross_format),
        "teacher": teacher,
        "max_per_action": max_per_action,
    }
    limits: dict[str, Any] = {
        "max_cost": max_cost,
        "max_tokens": max_tokens,
        "max_requests": max_requests,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "at_once": at_once,
        "batch": batch,
        "replay": replay,
    }
    if plan:
        show_plan(plan_of(**asked, limits=Limits(**limits)))
    else:
        built: Any = build_teacher_chains(**asked, **limits)
        _show_chains(built.path, show)


def show_plan(plan: "TeachPlan") -> None:
    """Print a plan: a table of requests, and how its numbers came about."""
    from rich.console import Console

    console = Console()
    console.print(f"The teacher is {plan.teacher}.", markup=False, highlight=False)
    if plan.is_done:
        print(f"Nothing to do: {plan.folder} is there already.")
        return
    print(f"Clips to be asked about: {plan.num_clips:,}.")
    if plan.lines:
        console.print(plan_table(plan))
    for note in plan.notes:
        console.print(note, markup=False, highlight=False)
    print(f"The data set will be {plan.folder}.")


def plan_table(plan: "TeachPlan") -> "Table":
    """The requests of a plan."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from pipelines.teach_plan import HEADS, cells

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in HEADS:
        is_number = head not in (HEADS[0], HEADS[-1])
        table.add_column(head, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for line in plan.lines[:-1]:
        table.add_row(*cells(line))
    table.add_section()
    table.add_row(*cells(plan.lines[-1]))
    return table


def _show_chains(built: str, show: int) -> None:
    from pipelines.gallery import PAGE, teacher_of
    from skeletonllm.reasoning.chain import ReasoningChain, chain_text
    from skeletonllm.shards.reader import ShardReader

    reader = ShardReader(built)
    rows = reader.table().to_pylist()
    for row in rows[:show]:
        print(f"\n{row['clip_id']} ({row['verdict']}, teacher {row['teacher']})")
        print(chain_text(ReasoningChain.from_dict(json.loads(row["chain"]))))
    accepted = sum(row["verdict"] == "accepted" for row in rows)
    print(f"\nThe teacher was {teacher_of(reader.manifest)}.")
    print(f"{accepted} of {len(rows)} chains accepted, {reader.manifest.num_rejected} without a chain; {reader.folder}")
    print(f"Beside their pictures: {reader.folder}/{PAGE}")
