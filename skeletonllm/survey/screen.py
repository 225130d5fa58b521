"""A survey on one screen of a terminal: a file as facts with sparklines, a folder as tables."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skeletonllm.skeleton.checks import LEVELS, REMEDIES
from skeletonllm.skeleton.clip import Clip
from skeletonllm.survey.collect import Group, Placed, Survey, motion_by_part

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

FPS_FROM = {
    "file": "the file says so",
    "format": "the format's convention",
    "declared": "as declared",
    "": "nobody says",
}
STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}
_BARS = "▁▂▃▄▅▆▇█"
_MOST_GROUPS, _MOST_CLASSES, _MOST_FINDINGS = 10, 12, 8


def screen_of(survey: Survey) -> "RenderableType":
    """All that a survey says, as one thing to print."""
    from rich.console import Group as Lines

    parts = list(_file(survey) if survey.kind == "file" and survey.clips else _folder(survey))
    return Lines(*parts)


def findings_table(placed: Sequence[Placed], max_per_kind: int, counts: Counter[tuple[str, str]]) -> "Table":
    """Findings with level, place, text and remedy; of each kind so many, the worst level first."""
    from rich.markup import escape

    table = _table("level", "what", "where, and what to do")
    shown: Counter[tuple[str, str]] = Counter()
    order = sorted(placed, key=lambda one: (LEVELS.index(one.finding.level), one.finding.kind))
    for one in order:
        key = (one.finding.level, one.finding.kind)
        shown[key] += 1
        if shown[key] <= max_per_kind:
            text = f"[b]{where_of(one)}[/b]\n{escape(one.finding.text)}"
            if one.finding.remedy and shown[key] == min(max_per_kind, counts[key]):
                text += f"\n[dim]→ {one.finding.remedy}[/dim]"
            table.add_row(_styled(one.finding.level), one.finding.kind, text)
        elif shown[key] == max_per_kind + 1:
            table.add_row("", "", f"[dim]and {counts[key] - max_per_kind} more of this kind[/dim]")
    return table


def where_of(placed: Placed) -> str:
    """The clip and, where its id does not say it, the file."""
    from rich.markup import escape

    file, clip_id = placed.file, placed.finding.clip_id
    stem = Path(file).with_suffix("").as_posix()
    return escape(file if stem == clip_id or clip_id == file else f"{file} {clip_id}".strip())


def total_text(survey: Survey) -> str:
    """Clips, where they come from, and how long they are."""
    things = "shards" if survey.kind == "data set" else "files"
    return f"{survey.clips} clips from {survey.recordings} {things}, {spoken(survey.seconds)}"


def spoken(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def sparkline(values: np.ndarray, top: float) -> str:
    """One bar per value, the highest at `top`."""
    places = np.clip(values / max(top, 1e-9) * (len(_BARS) - 1), 0, len(_BARS) - 1)
    return "".join(_BARS[round(float(place))] for place in places)


def seen_text(group: Group) -> str:
    """Whole frames without anybody, and joints that were not seen of people who were, told apart."""
    parts = []
    if group.lost:
        parts.append(f"nobody in {_share(group.lost / group.frames)} of the frames")
    unseen = 1 - group.seen_shares
    if unseen.any():
        worst = [joint for joint in np.argsort(-unseen, kind="stable")[:4] if unseen[joint] > 0]
        names = ", ".join(f"{group.topology.joint_names[joint]} {_share(float(unseen[joint]))}" for joint in worst)
        parts.append(f"{_share(float(unseen.mean()))} of the joints of people not seen ({names})")
    return "; ".join(parts) or "every joint in every frame"


def unseen_text(group: Group) -> str:
    """The same in few words: shares of joints and of frames."""
    unseen = float(1 - group.seen_shares.mean()) if group.possible else 0.0
    parts = [f"{_share(unseen)} of joints"] if unseen > 1e-9 else []
    parts += [f"{_share(group.lost / group.frames)} of frames"] if group.lost else []
    return ", ".join(parts) or "nothing"


def rate_text(group: Group, short: bool = False) -> str:
    """Frame rates and who says so."""

    def who(said: str) -> str:
        return (said or "unknown") if short else FPS_FROM.get(said, said)

    rates = group.rates.most_common()
    return _top([(f"{fps:.6g} fps ({who(said)})", count) for (fps, said), count in rates], most=2 if short else 4)


def people_text(group: Group) -> str:
    """How many persons the clips have."""
    return _top([(str(persons), count) for persons, count in sorted(group.persons.items())])


def space_text(group: Group) -> str:
    """The files' units and axes."""
    return _top([(space or "not said", count) for space, count in group.spaces.most_common()])


def _file(survey: Survey) -> "Iterator[RenderableType]":
    from rich.markup import escape

    clip = survey.samples[0]
    group = next(iter(survey.groups.values()))
    table = _facts()
    table.add_row("file", f"[b]{escape(str(survey.path))}[/b]")
    table.add_row("format", f"{clip.source.format} [dim]{escape(survey.about)}; known by its content[/dim]")
    for one in survey.groups.values():
        dims = f"{one.topology.dims}D"
        table.add_row("topology", f"{escape(one.topology.name)} [dim]{one.topology.num_joints} joints, {dims}[/dim]")
    table.add_row("clips", str(survey.clips))
    table.add_row("people", people_text(group))
    table.add_row("frames", f"{sum(one.frames for one in survey.groups.values())}, {spoken(survey.seconds)}")
    table.add_row("rate", rate_text(group))
    table.add_row("space", escape(space_text(group)))
    table.add_row("seen", escape(seen_text(group)))
    table.add_row("action", escape(_classes(survey)))
    if clip.captions:
        table.add_row(
            "caption",
            escape(clip.captions[0])
            + (f" [dim]and {len(clip.captions) - 1} more[/dim]" if len(clip.captions) > 1 else ""),
        )
    for name, values in (("subject", clip.source.subject), ("camera", clip.source.camera)):
        if values and survey.clips == 1:
            table.add_row(name, escape(values))
    yield table
    yield from _sparklines(clip, survey.clips)
    yield from _findings(survey)


def _sparklines(clip: Clip, clips: int) -> "Iterator[RenderableType]":
    motion = motion_by_part(clip)
    if motion:
        top = max(float(values.max()) for values in motion.values())
        table = _facts()
        for part, values in motion.items():
            table.add_row(part, f"[cyan]{sparkline(values, top)}[/cyan] [dim]up to {values.max():.1f} m/s[/dim]")
        yield f"\n[b]Movement[/b] [dim]over {clip.duration_s:.1f} s" + (
            f", {clip.clip_id}[/dim]" if clips > 1 else "[/dim]"
        )
        yield table


def _folder(survey: Survey) -> "Iterator[RenderableType]":
    from rich.markup import escape

    head = f"[b]{escape(str(survey.path))}[/b] [dim]{survey.kind}[/dim]"
    yield head + (f" [dim]{escape(survey.about)}[/dim]" if survey.about else "")
    rejected = f", [red]{len(survey.rejected)} rejected[/red]" if survey.rejected else ""
    yield f"{total_text(survey)}{rejected}"
    table = _table("format", "clips", "people", "time", "rate", "space", "not seen", numbers=("clips", "time"))
    table.columns[0].no_wrap = True
    groups = sorted(survey.groups.values(), key=lambda group: -group.clips)
    for group in groups[:_MOST_GROUPS]:
        name = f"{escape(group.format)}\n{escape(group.topology.name)}\n"
        table.add_row(
            f"{name}[dim]{group.topology.num_joints} joints, {group.topology.dims}D[/dim]",
            str(group.clips),
            people_text(group),
            spoken(group.seconds),
            rate_text(group, short=True),
            escape(space_text(group)),
            escape(unseen_text(group)),
        )
    if survey.groups:
        yield table
        if len(groups) > _MOST_GROUPS:
            more = sum(group.clips for group in groups[_MOST_GROUPS:])
            yield f"[dim]and {len(groups) - _MOST_GROUPS} more kinds with {more} clips; --html shows them all[/dim]\n"
        facts = _facts()
        facts.add_row("classes", escape(_classes(survey)))
        facts.add_row("subjects", escape(_named(survey.subjects)))
        facts.add_row("cameras", escape(_named(survey.cameras)))
        if survey.captions:
            facts.add_row("captions", f"{survey.captions} clips have one")
        shortest, usual, longest = np.quantile(survey.durations_s, (0, 0.5, 1))
        facts.add_row("durations", f"{spoken(shortest)} to {spoken(longest)}, half of them under {spoken(usual)}")
        yield facts
    yield from _findings(survey)


def _findings(survey: Survey) -> "Iterator[RenderableType]":
    from rich.markup import escape

    if not survey.counts:
        yield "\n[green]Nothing suspicious[/green]"
        return
    yield "\n[b]Findings[/b] [dim]skeletonllm validate lists them all[/dim]"
    table = _table("level", "clips", "what", "for example, and what to do", numbers=("clips",))
    first: dict[tuple[str, str], Placed] = {}
    for one in survey.findings:
        first.setdefault((one.finding.level, one.finding.kind), one)
    for level, kind, count in ordered(survey.counts)[:_MOST_FINDINGS]:
        example = first[level, kind]
        where = f"[b]{where_of(example)}[/b]\n" if survey.clips != 1 else ""
        advice = f"\n[dim]→ {REMEDIES[kind]}[/dim]" if REMEDIES[kind] else ""
        text = f"{where}{escape(example.finding.text)}{advice}"
        table.add_row(_styled(level), str(count), kind, text)
    yield table


def ordered(counts: Counter[tuple[str, str]]) -> list[tuple[str, str, int]]:
    """Level, kind and count, the worst level and then the most frequent kind first."""
    found = [(level, kind, count) for (level, kind), count in counts.items()]
    return sorted(found, key=lambda one: ([*LEVELS].index(one[0]), -one[2], one[1]))  # pyright: ignore[reportArgumentType]


def _styled(level: str) -> str:
    return f"[{STYLES[level]}]{level}[/]"


def _classes(survey: Survey) -> str:
    known = Counter({action: count for action, count in survey.actions.items() if action})
    if not known:
        return "unknown"
    if survey.clips == 1:
        return next(iter(known))
    unknown = f"; {survey.actions['']} clips without" if survey.actions[""] else ""
    shown = ", ".join(f"{action} {count}" for action, count in known.most_common(_MOST_CLASSES))
    more = f", and {len(known) - _MOST_CLASSES} more" if len(known) > _MOST_CLASSES else ""
    return f"{len(known)}: {shown}{more}{unknown}"


def _named(counts: Counter[str]) -> str:
    known = [name for name in counts if name]
    if not known:
        return "unknown"
    shown = ", ".join(sorted(known)[:_MOST_CLASSES])
    return f"{len(known)}: {shown}" + (", ..." if len(known) > _MOST_CLASSES else "")


def _top(counted: Sequence[tuple[str, int]], most: int = 3) -> str:
    if len(counted) == 1:
        return counted[0][0]
    shown = "; ".join(f"{name} ({count})" for name, count in counted[:most])
    return shown + (f"; and {len(counted) - most} others" if len(counted) > most else "")


def _share(share: float) -> str:
    if 0 < share < 0.001:
        return "under 0.1%"
    return f"{share:.0%}" if share == 1 or 0.1 <= share < 0.995 else f"{share:.1%}"


def _facts() -> "Table":
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    return table


def _table(*columns: str, numbers: Sequence[str] = ()) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", show_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left")
    return table
