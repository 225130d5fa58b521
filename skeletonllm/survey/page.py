"""A survey as one self-contained HTML file: pictures, statistics, findings; nothing is fetched from anywhere."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from skeletonllm.errors import DataError
from skeletonllm.evaluate.report.charts import nice_ticks
from skeletonllm.evaluate.report.page import page_environment
from skeletonllm.plain import write_whole
from skeletonllm.skeleton.checks import REMEDIES
from skeletonllm.skeleton.clip import Clip
from skeletonllm.survey.collect import Group, Survey
from skeletonllm.survey.draw import svg_of
from skeletonllm.survey.screen import (
    ordered,
    people_text,
    rate_text,
    seen_text,
    space_text,
    spoken,
    total_text,
)

_MOST_CARDS, _MOST_BARS, _MOST_ROWS, _MOST_REJECTED = 48, 60, 24, 200
_MOST_EXAMPLES = 12  # of each kind of finding
_BINS = 24
_PACKAGE = "skeletonllm.survey"


@dataclass(frozen=True)
class Bar:
    """One bar: a name, how many, and its share of the longest."""

    name: str
    count: int
    share: float


@dataclass(frozen=True)
class Histogram:
    """Durations in equal bins; the last holds everything longer.

    Args:
        bars: `(left, width, height)` of each bin as shares of the plot, and its label.
        ticks: place as a share, and label.
    """

    bars: tuple[tuple[float, float, float, str], ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Picture:
    """A clip as stick figures, with what is known of it."""

    clip: Clip
    svg: str
    facts: str


def write_page(survey: Survey, path: Path) -> None:
    """Write the page; it appears whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    try:
        # Names of files need not be UTF-8.
        write_whole(path, render_page(survey).encode("utf-8", "replace"))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); make room or choose another place") from error


def render_page(survey: Survey) -> str:
    """The page as text. Every name, label and caption in it is data and is escaped."""
    environment = page_environment(package=_PACKAGE)
    environment.filters["time"] = spoken
    style = (files("skeletonllm.evaluate.report") / "style.css").read_text("utf-8")
    own = (files(_PACKAGE) / "survey.css").read_text("utf-8")
    return environment.get_template("survey.html").render(**_values(survey), style=style + own)


def _values(survey: Survey) -> dict[str, Any]:
    """What the template shows."""
    groups = sorted(survey.groups.values(), key=lambda group: -group.clips)
    known = Counter({name: count for name, count in survey.actions.items() if name})
    return {
        "survey": survey,
        "title": survey.path.resolve().name or str(survey.path),
        "total": total_text(survey),
        "groups": [(group, _words(group), _joints(group)) for group in groups],
        "levels": [(level, survey.level(level)) for level in ("error", "warning", "note")],
        "kinds": _kinds(survey),
        "gallery": _gallery(survey),
        "classes": _bars(known),
        "num_classes": len(known),
        "unlabelled": survey.actions[""],
        "subjects": sorted(name for name in survey.subjects if name),
        "cameras": sorted(name for name in survey.cameras if name),
        "rates": _bars(
            Counter(f"{fps:.6g} fps" for group in groups for (fps, _), n in group.rates.items() for _ in range(n))
        ),
        "histogram": _histogram(survey.durations_s),
        "pairs": _pairs(survey),
        "rejected": survey.rejected[:_MOST_REJECTED],
        "most_examples": _MOST_EXAMPLES,
    }


def _words(group: Group) -> dict[str, str]:
    return {
        "people": people_text(group),
        "rate": rate_text(group),
        "space": space_text(group),
        "seen": seen_text(group),
        "time": spoken(group.seconds),
    }


def _joints(group: Group) -> list[tuple[str, float]]:
    """Each joint's name and how often it was seen."""
    return list(zip(group.topology.joint_names, group.seen_shares.tolist(), strict=True))


def _kinds(survey: Survey) -> list[dict[str, Any]]:
    """Findings by kind: level, count, remedy, some examples and a picture."""
    by_kind = defaultdict(list)
    for one in survey.findings:
        by_kind[one.finding.level, one.finding.kind].append(one)
    return [
        {
            "level": level,
            "kind": kind,
            "count": count,
            "remedy": REMEDIES[kind],
            "thing": {"unreadable": "file", "damaged": "shard"}.get(kind, "clip"),
            "examples": by_kind[level, kind][:_MOST_EXAMPLES],
            "svg": svg_of(survey.examples[kind], 4, 1) if kind in survey.examples and level != "note" else "",
        }
        for level, kind, count in ordered(survey.counts)
    ]


def _gallery(survey: Survey) -> list[tuple[str, list[Picture]]]:
    """Sample clips by format and topology, as many as fit, every group in turn."""
    by_group: dict[str, list[Clip]] = defaultdict(list)
    for clip in survey.samples:
        by_group[f"{clip.source.format or 'unknown'}, {clip.topology.name}"].append(clip)
    room = max(2, _MOST_CARDS // max(1, len(by_group)))
    return [(name, [_picture(clip) for clip in _spread(clips, room)]) for name, clips in by_group.items()]


def _picture(clip: Clip) -> Picture:
    facts = [f"{clip.num_frames} frames", f"{clip.fps:.6g} fps"]
    if clip.num_persons > 1:
        facts.append(f"{clip.num_persons} persons")
    if clip.source.subject:
        facts.append(clip.source.subject)
    return Picture(clip, svg_of(clip, 4, 2), " · ".join(facts))


def _spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    if len(clips) <= count:
        return list(clips)
    return [clips[int(place)] for place in np.linspace(0, len(clips) - 1, count)]


def _bars(counts: Counter[str]) -> list[Bar]:
    top = max(counts.values(), default=1)
    return [Bar(name, count, count / top) for name, count in counts.most_common(_MOST_BARS)]


def _histogram(durations_s: Sequence[float]) -> Histogram | None:
    if len(durations_s) < 2:
        return None
    values = np.array(durations_s)
    # A few very long clips must not squeeze all others into one bin.
    ticks = nice_ticks(max(float(np.quantile(values, 0.98)), 1e-3))
    top = ticks[-1]
    edges = np.linspace(0, top, _BINS + 1)
    counts, _ = np.histogram(np.minimum(values, top), edges)
    bars = tuple(
        (
            place / _BINS,
            1 / _BINS,
            float(count / counts.max()),
            f"{edges[place]:.3g} to {edges[place + 1]:.3g} s{' and more' if place == _BINS - 1 else ''}: {count} clips",
        )
        for place, count in enumerate(counts)
    )
    return Histogram(bars, tuple((tick / top, f"{tick:g} s") for tick in ticks))


def _pairs(survey: Survey) -> dict[str, Any] | None:
    """Subjects by classes: counts and their share of the largest; None where it would say nothing."""
    subjects = [name for name, _ in survey.subjects.most_common() if name]
    actions = [name for name, _ in survey.actions.most_common(_MOST_BARS) if name]
    if len(subjects) < 2 or len(actions) < 2:
        return None
    shown = sorted(subjects[:_MOST_ROWS])
    top = max(survey.pairs[subject, action] for subject in shown for action in actions)
    rows = [
        (subject, [(survey.pairs[subject, action], survey.pairs[subject, action] / max(top, 1)) for action in actions])
        for subject in shown
    ]
    return {"actions": actions, "rows": rows, "hidden": len(subjects) - len(shown), "dense": len(actions) > 24}
