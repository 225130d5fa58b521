"""The verb `ingest`: recordings to shards, or the plan of it, and tables of what was left out."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from pipelines.ingest_plan import Plan

_READING = Reading()
_MOST_ROWS = 12
_DONE = {"keep": "kept", "rebuild": "made again", "new": "new", "drop": "dropped"}


def ingest(
    source: Annotated[Path, tyro.conf.Positional],
    workdir: Path = Path("skeletonllm-work"),
    into: str | None = None,
    executor: Literal["ray", "inline"] = "inline",
    name: str = "clips",
    plan: bool = False,
    json: bool = False,
    fresh: bool = False,
    max_rejected: float = 0.1,
    reading: ReadingArgument = _READING,
) -> None:
    """Read every recording below a folder into Arrow shards. Only what changed since the last time is read again.

    Args:
        source: holds recordings in any known format, and their labels: file names, class folders or labels.csv.
        workdir: where the data set is kept, in its folder `data`.
        into: keep it here instead: a folder, or a place in an object store such as s3://bucket/data.
        executor: `ray` uses all cores, or the cluster that RAY_ADDRESS names.
        name: of the data set; each name grows by itself.
        plan: only say what would be done, and why; writes nothing.
        json: say the plan in JSON.
        fresh: distribute the recordings over shards anew, as if none had been ingested before.
        max_rejected: share of the files that may be rejected.
        reading: what the recordings do not say themselves; with --format only recordings of that format are read.
    """
    from pipelines import ingest as pipeline
    from pipelines.workdir import Workdir
    from skeletonllm.log import set_up_logging

    set_up_logging()
    root = Workdir(workdir).data if into is None else into
    config = pipeline.IngestConfig(max_rejected=max_rejected, **vars(reading))
    if plan or json:
        show_plan(pipeline.plan(source, root, config, name, fresh), as_json=json)
        return
    clips = pipeline.run(source, root, config, executor, name, fresh)
    show_data_set(clips.path)


def show_plan(plan: "Plan", as_json: bool = False) -> None:
    """Print a plan: like steps together, as a table, or all of them in JSON."""
    from rich.console import Console

    from pipelines.card import bytes_text
    from skeletonllm.plain import to_plain

    if as_json:
        print(json.dumps(to_plain(plan), indent=2, ensure_ascii=False))
        return
    groups: dict[tuple[str, str], list[int]] = {}
    for step in plan.steps:
        sums = groups.setdefault((step.action, step.why), [0, 0, 0])
        sums[:] = [a + b for a, b in zip(sums, (1, step.recordings, step.bytes), strict=True)]
    table = _table("", "shards", "recordings", "size", "why", numbers=("shards", "recordings", "size"))
    shown: Counter[str] = Counter()
    for (action, why), (shards, recordings, size) in groups.items():
        shown[action] += 1
        if shown[action] <= _MOST_ROWS:
            table.add_row(_DONE[action], f"{shards:,}", f"{recordings:,}", bytes_text(size), _plain(why))
    console = Console()
    console.print(table)
    for action, rows in shown.items():
        if rows > _MOST_ROWS:
            console.print(f"... and {rows - _MOST_ROWS} more reasons why shards are {_DONE[action]} (--json has all)")
    to_make = [sum(pair) for pair in zip(plan.total("rebuild"), plan.total("new"), strict=True)]
    if plan.is_done:
        print(f"Nothing to do: {plan.folder} is there already.")
    else:
        print(f"Shards to write: {to_make[0]:,}; recordings to read: {to_make[1]:,} ({bytes_text(to_make[2])}).")
        print(f"The data set will be {plan.folder}.")
    if plan.goes_on_from is not None:
        print(f"Goes on from {plan.goes_on_from}, which had rejected {plan.rejected_before} files.")


def show_data_set(folder: str) -> None:
    """Print what an ingest has made, and what it had to leave out."""
    from rich.console import Console

    from skeletonllm.shards.manifest import read_manifest
    from skeletonllm.shards.reader import ShardReader

    manifest = read_manifest(folder)
    print(f"{manifest.num_rows} clips, {manifest.num_rejected} files rejected, {folder}")
    for name in ("formats", "actions", "subjects"):
        values = manifest.statistics.get(name, {})
        counts = ", ".join(f"{key or 'unknown'} {count}" for key, count in values.items())
        print(f"  {name}: {counts}")
    if not manifest.num_rejected:
        return
    rows = ShardReader(folder).rejected()
    table = _table("rejected", "file and reason")
    for row in rows[:_MOST_ROWS]:
        place = f"{row['file']} ({row['place']})" if row["place"] else row["file"]
        reason = row["reason"].removeprefix(row["file"]).lstrip(":, ")
        table.add_row(_plain(row["kind"]), _plain(f"{place}: {reason}"))
    Console().print(table)
    kinds = ", ".join(f"{kind or 'other'} {count}" for kind, count in Counter(row["kind"] for row in rows).items())
    print(f"rejected: {kinds}; all with their reasons in {folder}/rejected-*.arrow")


def _table(*columns: str, numbers: tuple[str, ...] = ()):
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        is_number = column in numbers
        table.add_column(column, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return table


def _plain(text: str):
    """Text of strangers: never markup."""
    from rich.text import Text

    return Text("".join(letter if letter.isprintable() else "?" for letter in text))
