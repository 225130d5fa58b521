"""Verbs that look at recordings and say what they are: inspect, validate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from skeletonllm.survey.collect import Survey

_READING = Reading()
_CHECKS_FAILED = 1


def inspect(
    paths: Annotated[tuple[Path, ...], tyro.conf.Positional],
    html: Path | None = None,
    sheet: Path | None = None,
    per_folder: int = 2,
    reading: ReadingArgument = _READING,
) -> None:
    """Show what recordings hold: format, topology, people, rate, space, what was not seen, what is suspicious.

    Args:
        paths: recordings, folders of them, or data sets that ingest wrote.
        html: write a report with pictures and statistics to this file.
        sheet: write a contact sheet (PNG) to this file, stick figures of some recordings of each folder.
        per_folder: rows of each folder on the contact sheet.
        reading: what recordings do not say themselves.
    """
    from rich.console import Console

    from skeletonllm.errors import ConfigError, FormatError
    from skeletonllm.survey.screen import screen_of

    if not paths:
        raise ConfigError("inspect: no path; give a recording, a folder of recordings or a data set")
    if sheet is not None:
        _sheet(paths, sheet, per_folder, reading)
        return
    if html is not None and len(paths) > 1:
        raise ConfigError(f"--html: {len(paths)} paths, but one report is about one; give the folder that holds them")
    for path in paths:
        survey = _survey(path, reading)
        if survey.kind == "file" and survey.rejected:
            raise FormatError(survey.rejected[0].reason)
        Console().print(screen_of(survey))
        if html is not None:
            from skeletonllm.survey.page import write_page

            write_page(survey, html)
            Console().print(f"\n{html}")


def validate(
    path: Annotated[Path, tyro.conf.Positional],
    strict: bool = False,
    json: Path | None = None,
    max_per_kind: int = 5,
    notes: bool = False,
    reading: ReadingArgument = _READING,
) -> int:
    """Read everything below a path and check it: exit code 0 when clean, 1 when something is wrong, 2 for a mistake.

    Args:
        path: a recording, a folder of recordings, or a data set that ingest wrote.
        strict: warnings count as errors.
        json: write all findings to this file.
        max_per_kind: rows of each kind in the table.
        notes: show notes too.
        reading: what recordings do not say themselves.
    """
    from rich.console import Console

    from skeletonllm.survey.screen import findings_table, total_text

    survey = _survey(path, reading)
    if json is not None:
        from skeletonllm.plain import write_whole
        from skeletonllm.survey.listing import listing

        write_whole(json, listing(survey))
    console = Console()
    shown = [one for one in survey.findings if notes or one.finding.level != "note"]
    if shown:
        console.print(findings_table(shown, max_per_kind, survey.counts))
    errors, warnings, noted = (survey.level(level) for level in ("error", "warning", "note"))
    hidden = "" if notes or not noted else " (--notes shows them)"
    console.print(f"{total_text(survey)}: {errors} errors, {warnings} warnings, {noted} notes{hidden}")
    return _CHECKS_FAILED if errors or (strict and warnings) else 0


def _survey(path: Path, reading: Reading) -> "Survey":
    from skeletonllm.log import progress, set_up_logging
    from skeletonllm.survey.collect import collect
    from skeletonllm.survey.sources import find

    set_up_logging()
    found = find(path, reading.format, reading.declared())
    if found.count == 1:
        return collect(found)
    with progress("reading", found.count, "files") as tick:
        return collect(found, lambda done, _: tick(done))


def _sheet(paths: Sequence[Path], output: Path, per_folder: int, reading: Reading) -> None:
    from skeletonllm.log import progress, set_up_logging
    from skeletonllm.survey.sheet import pick, write_sheet

    set_up_logging()
    with progress("reading", len(paths), "paths") as tick:
        clips, left_out = [], []
        for number, path in enumerate(paths, 1):
            found, failed = pick(path, per_folder, reading.format, reading.declared())
            clips += found
            left_out += failed
            tick(number)
    write_sheet(clips, output)
    for line in left_out:
        print(f"left out: {line}")
    print(f"{output}: {len(clips)} recordings")
