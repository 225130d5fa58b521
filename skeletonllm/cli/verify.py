"""The verb `verify`: what texts say about recordings, measured against the joints."""

import json as plain_json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from skeletonllm.reasoning.chain import ChainStep, StepVerdict
    from skeletonllm.reasoning.signals import Signals
    from skeletonllm.skeleton.clip import Clip

_READING = Reading()
_CONTRADICTED = 1
_COLOURS = {"supported": "green", "contradicted": "red", "not measurable": "dim"}
_FORMS = '{"clip": ID OR FILE, "text": TEXT} or a chain: {"clip_id": ID, "summary": ..., "steps": [...], "answer": ...}'


@dataclass(frozen=True)
class _Said:
    """A text, or a chain, about one clip."""

    clip: str
    text: str
    label: str = ""
    chain: dict[str, Any] | None = None


@dataclass
class _Report:
    """What came of checking a text: a row per claim, and what else is wrong with it."""

    clip: str
    claims: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def is_wrong(self) -> bool:
        return bool(self.reasons) or any(claim["verdict"] == "contradicted" for claim in self.claims)

    def add(self, words: str, step: "ChainStep | None", timed: bool, verdict: "StepVerdict", **more: Any) -> None:
        claim = (
            None if step is None else {name: getattr(step, name) for name in ("person", "part", "side", "predicate")}
        )
        frames = [step.first_frame, step.last_frame] if step is not None and timed else None
        told = {"verdict": verdict.verdict, "measured": verdict.reason}
        self.claims.append({"words": words, "claim": claim, "frames": frames, **told, **more})

    def to_dict(self) -> dict[str, Any]:
        return {"clip": self.clip, "contradicted": self.is_wrong, "claims": self.claims, "reasons": self.reasons}


def verify(
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional] = (),
    text: str | None = None,
    texts: Path | None = None,
    label: str | None = None,
    json: bool = False,
    reading: ReadingArgument = _READING,
) -> int:
    """Measure what a text says about recordings: every clause is supported, contradicted or not measurable.

    `skeletonllm verify wave.skeleton --text "in frames 20 to 80 the right hand is raised to the mouth, while the left arm
    bends"`. Without frames or seconds it may happen at any time. English; body parts, sides, the usual verbs of movement
    and times are read, and what is not understood is said to be not measurable, never guessed. `verify FOLDER --texts
    chains.jsonl` checks what other tools wrote. Exit code 1 where anything is contradicted, or gives the label away.

    Args:
        sources: recordings, folders of them, or data sets that ingest wrote.
        text: what is said about each of them.
        texts: a file with a JSON object a line: `{"clip": ID OR FILE, "text": TEXT}`, perhaps with a `label`, or a chain as
            this project writes it, `{"clip_id": ID, "summary": ..., "steps": [...], "answer": LABEL}`.
        label: the action's name, which the text must not give away.
        json: print one JSON object per text instead of a table.
        reading: what the recordings do not say themselves.
    """
    from skeletonllm.errors import ConfigError
    from skeletonllm.log import set_up_logging

    if (text is None) == (texts is None):
        raise ConfigError("verify: give what is to be checked, either --text TEXT or --texts FILE.jsonl")
    if text is not None and not text.strip():
        raise ConfigError("--text: it is empty; say what the recording shows")
    if text is not None and not sources:
        raise ConfigError("verify: no recording; give the file that the text is about")
    set_up_logging()
    pairs = _about_all(sources, text, label, reading) if text is not None else _by_line(sources, texts, label, reading)
    wrong = False
    for report in pairs:
        wrong |= report.is_wrong
        if json:
            print(plain_json.dumps(report.to_dict(), ensure_ascii=False), flush=True)
        else:
            _show(report)
    return _CONTRADICTED if wrong else 0


def _about_all(sources: Sequence[Path], text: str, label: str | None, reading: Reading) -> "Iterator[_Report]":
    for clip in _clips(sources, reading):
        yield _check(_Said(clip.clip_id, text, label or ""), clip)


def _by_line(sources: Sequence[Path], texts: Path | None, label: str | None, reading: Reading) -> "Iterator[_Report]":
    """Lines about files are checked at once, those about clips when these are read."""
    assert texts is not None
    waiting: dict[str, list[_Said]] = {}
    for said in _lines(texts, label):
        file = next((path for path in (Path(said.clip), texts.parent / said.clip) if path.is_file()), None)
        if file is None:
            waiting.setdefault(said.clip, []).append(said)
            continue
        for clip in _clips([file], reading):
            yield _check(said, clip)
    for clip in _clips(sources, reading) if waiting else ():
        for said in waiting.pop(clip.clip_id, ()):
            yield _check(said, clip)
    for missing, all_said in waiting.items():
        reason = "there is no such clip or file; give the recordings that the texts are about"
        yield from (_Report(missing, reasons=[reason]) for _ in all_said)


def _lines(texts: Path, label: str | None) -> Iterator[_Said]:
    from skeletonllm.errors import DataError

    for number, line in enumerate(texts.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = plain_json.loads(line)
        except ValueError as error:
            raise DataError(f"{texts}, line {number}: is no JSON ({error}); a line is {_FORMS}") from None
        clip = (row.get("clip") or row.get("clip_id")) if isinstance(row, dict) else None
        is_chain = isinstance(row, dict) and "steps" in row
        if not isinstance(clip, str) or not (is_chain or isinstance(row.get("text"), str)):
            raise DataError(f"{texts}, line {number}: is {line[:60]!r}, must be {_FORMS}")
        said = row.get("label") or label or ""
        yield _Said(clip, "" if is_chain else row["text"], str(said), row if is_chain else None)


def _clips(sources: Sequence[Path], reading: Reading) -> "Iterator[Clip]":
    from skeletonllm.answer.sources import checked_clip
    from skeletonllm.errors import DataError
    from skeletonllm.survey.sources import find

    for source in sources:
        if not source.exists():
            raise DataError(f"{source}: no such file; check the path")
        for recording in find(source, reading.format, reading.declared()).recordings(1):
            if recording.error:
                print(f"left out: {recording.error}", file=sys.stderr)
            for clip in recording.clips:
                try:
                    yield checked_clip(clip)
                except DataError as error:
                    print(f"left out: {error}", file=sys.stderr)


def _check(said: _Said, clip: "Clip") -> _Report:
    from skeletonllm.reasoning.leak import leaked_words
    from skeletonllm.reasoning.signals import measure_signals

    report = _Report(clip.clip_id)
    signals = measure_signals(clip)
    if said.chain is not None:
        _check_chain(said, clip, signals, report)
        return report
    from skeletonllm.reasoning.free_text import check_text

    for checked in check_text(said.text, signals):
        claim = checked.claim
        steps = claim.steps or (None,)
        for step, verdict in zip(steps, checked.verdicts, strict=True):
            report.add(claim.words, step, not claim.anytime, verdict, unread=list(claim.unread))
    if said.label and (leak := leaked_words(said.text, said.label)):
        report.reasons.append(f"the label {said.label!r} is given away: {leak!r}")
    return report


def _check_chain(said: _Said, clip: "Clip", signals: "Signals", report: _Report) -> None:
    """A chain by the schema of ours: as a teacher's is checked before a student learns from it."""
    from dataclasses import replace

    from skeletonllm.errors import ChainError
    from skeletonllm.reasoning.chain import parse_chain
    from skeletonllm.reasoning.verify import verify_chain

    assert said.chain is not None
    kept = {key: said.chain[key] for key in ("summary", "steps", "answer") if key in said.chain}
    try:
        chain = parse_chain(plain_json.dumps(kept), clip.clip_id, "", "")
    except ChainError as error:
        report.reasons.append(str(error))
        return
    checked = verify_chain(chain, clip if not said.label else replace(clip, action=said.label), signals)
    for step, verdict in zip(checked.steps, checked.step_verdicts, strict=True):
        report.add(step.text, step, True, verdict)
    report.reasons += [reason for reason in checked.reasons if not reason.startswith("step ") or ": " not in reason]


def _show(report: _Report) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), title=escape(report.clip), title_justify="left", title_style="bold")
    for name in ("words", "claim", "frames", "verdict", "measured"):
        table.add_column(name, overflow="fold")
    for row in report.claims:
        claim, frames = row["claim"], row["frames"]
        read = "" if claim is None else _claim_text(claim)
        unread = f" [dim](not read: {escape(', '.join(row['unread']))})[/dim]" if row.get("unread") else ""
        when = (
            "any" if claim is not None and frames is None else "" if frames is None else f"{frames[0]} to {frames[1]}"
        )
        colour = _COLOURS[row["verdict"]]
        verdict = f"[{colour}]{row['verdict']}[/{colour}]"
        table.add_row(escape(row["words"]) + unread, escape(read), when, verdict, escape(row["measured"]))
    console = Console()
    console.print(table)
    for reason in report.reasons:
        console.print(f"[red]{escape(reason)}[/red]")


def _claim_text(claim: dict[str, Any]) -> str:
    """A claim in the words of a chain."""
    whose = "person 1: " if claim["person"] == 1 else ""
    side = "" if claim["side"] == "center" else f"{claim['side']} "
    return f"{whose}{side}{claim['part']} {claim['predicate']}"
