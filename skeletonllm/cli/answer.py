"""The verbs that ask about recordings: recognize, describe."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from skeletonllm.answer.remote import RemoteModel
    from skeletonllm.answer.results import Answer, Recognition
    from skeletonllm.model.student import SkeletonLLM
    from skeletonllm.skeleton.clip import Clip

_READING = Reading()
_SOME_FAILED = 1
_SHOWN = 3


@dataclass(frozen=True)
class Whom:
    """Who is asked, and how."""

    model: Annotated[str, tyro.conf.arg(aliases=["-m"])]
    """A student's folder, as `skeletonllm train` prints it; or any model that takes pictures, behind an OpenAI-compatible
    server: openai:MODEL@http://host:port/v1, or openai:MODEL with OPENAI_BASE_URL and OPENAI_API_KEY. The clips are drawn
    here and sent as pictures."""
    renderer: Path | None = None
    """With a server: draw as this trained student does; by default as DrAction does before training."""
    num_frames: Annotated[int, tyro.conf.arg(aliases=["--frames"])] = 8
    """With a server: pictures of each clip."""
    size_px: int = 448
    """With a server: their width and height."""
    concurrency: int = 4
    """With a server: requests under way at once."""
    batch_size: int = 16
    """With a student: clips asked about at once."""


def recognize(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    whom: Annotated[Whom, tyro.conf.arg(name="")],
    labels: str | None = None,
    json: bool = False,
    reading: ReadingArgument = _READING,
) -> int:
    """Say which action recordings show: a table, or one JSON object per clip with the scores of all labels.

    `skeletonllm recognize walk.bvh --model work/checkpoint --labels walk,run,jump`. What cannot be read is left out and
    told at the end, and the exit code is then 1.

    Args:
        files: recordings, folders of them, or data sets that ingest wrote.
        whom: who is asked.
        labels: what it may be: `walk,run,jump`, or a file with one label a line; by default the actions that the student
            was trained on.
        json: print one JSON object per clip instead of a table.
        reading: what the recordings do not say themselves.
    """
    from skeletonllm.answer import student as local
    from skeletonllm.answer.labels import labels_from
    from skeletonllm.answer.remote import RemoteModel
    from skeletonllm.errors import ConfigError

    given = None if labels is None else labels_from(labels)
    source = _Source("recognize", files, reading)
    model = _model(whom)
    if isinstance(model, RemoteModel):
        if given is None:
            raise ConfigError("--labels: none given; say what it may be, such as --labels walk,run,jump")
        answers: Iterator[Any] = model.recognize(source.clips(), given, source.refuse)
    else:
        answers = local.recognize(model, source.clips(), given, whom.batch_size, source.refuse)
    return _tell(source, answers, json, _recognized)


def describe(
    files: Annotated[tuple[Path, ...], tyro.conf.Positional],
    whom: Annotated[Whom, tyro.conf.arg(name="")],
    question: Annotated[str, tyro.conf.arg(aliases=["-q"])] = "",
    task: Literal["question", "caption", "chain"] | None = None,
    max_new_tokens: int = 96,
    json: bool = False,
    reading: ReadingArgument = _READING,
) -> int:
    """Say in words what recordings show, or answer a question about them.

    `skeletonllm describe squat.bvh -m openai:MODEL@http://localhost:8000/v1 -q "Do the knees bend fully?"`. What cannot be
    read is left out and told at the end, and the exit code is then 1.

    Args:
        files: recordings, folders of them, or data sets that ingest wrote.
        whom: who is asked.
        question: in your words; without one the model writes a caption.
        task: by default what the question says; `chain` asks for reasoning in steps and then the action.
        max_new_tokens: with a student: the longest answer.
        json: print one JSON object per clip.
        reading: what the recordings do not say themselves.
    """
    from skeletonllm.answer import student as local
    from skeletonllm.answer.remote import RemoteModel
    from skeletonllm.reasoning.prompts import task_prompt

    task_prompt(task or "", question)  # a mistake in it is told before anything is loaded
    source = _Source("describe", files, reading)
    model = _model(whom)
    if isinstance(model, RemoteModel):
        answers: Iterator[Any] = model.describe(source.clips(), question, task or "", source.refuse)
    else:
        answers = local.describe(
            model, source.clips(), question, task or "", whom.batch_size, max_new_tokens, source.refuse
        )
    return _tell(source, answers, json, _described)


class _Source:
    """The clips below some paths, read one by one when it is their turn, and what could not be used of them."""

    def __init__(self, verb: str, files: Sequence[Path], reading: Reading) -> None:
        from skeletonllm.errors import ConfigError, DataError
        from skeletonllm.survey.sources import find

        if not files:
            raise ConfigError(f"{verb}: no file; give a recording, a folder of recordings or a data set")
        declared = reading.declared()
        self.failed: list[str] = []
        self.done = 0
        self._found = []
        for file in files:
            try:
                if not file.exists():
                    raise DataError(f"{file}: no such file; check the path")
                self._found.append(find(file, reading.format, declared))
            except DataError as error:
                self.failed.append(str(error))
        if not self._found:
            raise ConfigError(f"{verb}: nothing can be read: {self.failed[0]}")

    @property
    def total(self) -> int:
        return sum(found.count for found in self._found)

    def clips(self) -> "Iterator[Clip]":
        from skeletonllm.answer.sources import checked_clip
        from skeletonllm.errors import DataError

        for found in self._found:
            for recording in found.recordings(1):
                if recording.error:
                    self.failed.append(recording.error)
                for clip in recording.clips:
                    try:
                        yield checked_clip(clip)
                    except DataError as error:
                        self.refuse(clip, error)
                self.done += 1

    def refuse(self, clip: "Clip", error: Exception) -> None:
        named = str(error) if clip.clip_id in str(error) else f"clip {clip.clip_id}: {error}"
        self.failed.append(f"{clip.source.file}: {named}" if clip.source.file else named)


def _model(whom: Whom) -> "SkeletonLLM | RemoteModel":
    from skeletonllm.answer.address import PREFIX
    from skeletonllm.errors import ConfigError
    from skeletonllm.log import set_up_logging

    set_up_logging()
    if whom.model.startswith(PREFIX):
        return _remote(whom)
    if whom.renderer is not None:
        raise ConfigError("--renderer goes with a server; a student has its own")
    return load_student(whom.model)


def load_student(name: str | Path) -> "SkeletonLLM":
    """The student of a folder or of the Hub, on the GPU where there is one, in evaluation mode."""
    import torch

    from skeletonllm.model.student import SkeletonLLM

    student = SkeletonLLM.from_pretrained(name)
    return student.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _remote(whom: Whom) -> "RemoteModel":
    from pipelines.settings import read_settings
    from skeletonllm.answer.address import parse_address
    from skeletonllm.answer.remote import RemoteModel
    from skeletonllm.render import build_renderer
    from skeletonllm.render.config import RenderConfig

    settings = read_settings()
    address = parse_address(whom.model, settings.teacher_url, settings.teacher_key, settings.rules)
    if whom.renderer is None:
        renderer = build_renderer(RenderConfig(size_px=whom.size_px, num_frames=whom.num_frames))
    else:
        from skeletonllm.model.student import SkeletonLLM, with_renderer

        student = SkeletonLLM.from_pretrained(whom.renderer)
        renderer = with_renderer(student, size_px=whom.size_px, num_frames=whom.num_frames)
    return RemoteModel(address, renderer.eval(), whom.renderer is None, whom.concurrency, rules=settings.rules)


def _tell(source: _Source, answers: "Iterator[Any]", json: bool, table_of: Any) -> int:
    """Print the answers and what was left out; the exit code."""
    import json as plain
    import sys

    from skeletonllm.log import progress

    kept: list[Any] = []
    shown = progress("asking", source.total, "recordings") if source.total > 1 else contextlib.nullcontext(_silent)
    try:
        with shown as tick:
            for answer in answers:
                if json:
                    print(plain.dumps(answer.to_dict(), ensure_ascii=False, allow_nan=False), flush=True)
                else:
                    kept.append(answer)
                tick(source.done)
    finally:  # what was answered is shown, also where a server fails in the middle
        if kept:
            from rich.console import Console

            Console().print(table_of(kept))
    for line in source.failed:
        print(f"left out: {line}", file=sys.stderr)
    return _SOME_FAILED if source.failed else 0


def _silent(done: int) -> None:
    """Nothing worth telling."""


def _recognized(answers: "Sequence[Recognition]") -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    scored = any(answer.candidates for answer in answers)
    for name in ("clip", "action", *(("sure", "next") if scored else ())):
        table.add_column(name, justify="right" if name == "sure" else "left", overflow="fold")
    for answer in answers:
        row = [escape(answer.clip_id), f"[bold]{escape(answer.label)}[/bold]"]
        if scored:
            others = (f"{escape(one.label)} {one.probability:.0%}" for one in answer.candidates[1:_SHOWN])
            row += [f"{answer.probability:.0%}", f"[dim]{', '.join(others)}[/dim]"]
        table.add_row(*row)
    return table


def _described(answers: "Sequence[Answer]") -> Any:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 1, 0))
    table.add_column("clip", overflow="fold", max_width=36)
    table.add_column("answer", overflow="fold")
    for answer in answers:
        table.add_row(escape(answer.clip_id), escape(answer.text) or "[dim](nothing)[/dim]")
    return Group(f"[dim]{escape(answers[0].question)}[/dim]", "", table)
