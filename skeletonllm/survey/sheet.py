"""A contact sheet: one row of stick figures per recording, with what the file and its labels say of it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.plain import write_whole
from skeletonllm.shards.manifest import MANIFEST
from skeletonllm.skeleton.checks import check
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, find_recordings
from skeletonllm.survey.draw import cells_of, draw_cells
from skeletonllm.survey.sources import Found, find

_ROW_PX = 132
_LABEL_PX = 420
_FRONT, _SIDE = 6, 2
_TRIED, _FROM_ONE_FILE, _LONG_ENOUGH = 24, 6, 20
_PAPER, _INK, _SOFT, _BAD = (255, 255, 255), (27, 31, 36), (100, 109, 118), (176, 47, 42)
_FIRST = {"left": (37, 99, 197), "right": (200, 90, 30), "center": (70, 76, 84)}
# Persons beside the first are pale.
_COLOURS = {
    **_FIRST,
    **{f"{side} other": tuple(min(255, 150 + 2 * c // 5) for c in rgb) for side, rgb in _FIRST.items()},
}


def pick(
    path: Path, per_folder: int, format: str | None = None, declared: Declared | None = None
) -> tuple[list[Clip], list[str]]:
    """Clips to show of a path, and why others are missing.

    A folder of folders gives some of each folder, of different formats, topologies and classes where there are; a data set
    and a file give some of theirs.

    Args:
        path: as of `skeletonllm.survey.sources.find`.
        per_folder: how many of each folder directly below the path.
        format: a name of a format.
        declared: what the files do not say.

    Raises:
        DataError: there is no recording.
    """
    if not path.is_dir() or (path / MANIFEST).is_file():
        found = find(path, format, declared)
        return _differing(_clips(found, errors := []), per_folder), errors
    clips, errors = [], []
    below = sorted(place for place in path.iterdir() if place.is_dir() and not place.name.startswith("."))
    direct = [place for place in find_recordings(path) if place.parent == path]
    for place in (*([path] if direct else []), *below):
        try:
            found = find(place, format, declared)
        except DataError:
            continue  # a folder of labels or pictures
        shown = _differing(_clips(found, errors), per_folder)
        clips += [replace(clip, source=replace(clip.source, dataset=place.name)) for clip in shown]
    if not clips:
        raise DataError(f"{path}: no recording that can be read below it" + (f"; {errors[0]}" if errors else ""))
    return clips, errors


def _clips(found: Found, errors: list[str]) -> Iterator[Clip]:
    """Clips of recordings spread over all of them; what cannot be read is written down."""
    for recording in found.recordings(max(1, found.count // _TRIED)):
        if recording.error and recording.fatal:
            errors.append(recording.error)
        yield from recording.clips[:_FROM_ONE_FILE]


def _differing(clips: Iterable[Clip], count: int) -> list[Clip]:
    """Some clips, those of another format, topology and class before more of the same; long ones before short ones."""
    known = list(clips)
    chosen: list[Clip] = []
    while known and len(chosen) < count:

        def newness(clip: Clip) -> tuple[bool, bool, bool]:
            return (
                (clip.source.format, clip.topology.name)
                not in {(one.source.format, one.topology.name) for one in chosen},
                clip.action not in {one.action for one in chosen},
                clip.num_frames >= _LONG_ENOUGH,
            )

        best = max(known, key=newness)
        known.remove(best)
        chosen.append(best)
    return chosen


def write_sheet(clips: Sequence[Clip], path: Path) -> None:
    """Write a PNG with one row per clip: left limbs blue, right limbs orange; the last two figures from the side.

    Raises:
        ConfigError: the file is no PNG, or there is no clip.
        DataError: the file cannot be written.
    """
    import io

    from PIL import Image, ImageDraw, ImageFont

    if path.suffix.lower() != ".png":
        raise ConfigError(f"{path}: cannot write {path.suffix or 'a file without suffix'!r}; use .png")
    if not clips:
        raise ConfigError(f"{path}: no clip to show; give a path with recordings")
    strips = [draw_cells(cells_of(clip, _FRONT, _SIDE), _ROW_PX, _COLOURS, _PAPER) for clip in clips]
    width = _LABEL_PX + max(strip.shape[1] for strip in strips) + 12
    image = Image.new("RGB", (width, _ROW_PX * len(clips)), _PAPER)
    pen = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(19), ImageFont.load_default(14)
    for row, (clip, strip) in enumerate(zip(clips, strips, strict=True)):
        top = row * _ROW_PX
        image.paste(Image.fromarray(np.ascontiguousarray(strip)), (_LABEL_PX, top))
        pen.line([(0, top), (width, top)], fill=(228, 228, 223))
        for place, (text, font, colour) in enumerate(_lines(clip, large, small)):
            pen.text(
                (14, top + 12 + (0 if place == 0 else 8 + place * 19)),
                _fitting(pen, text, font),
                font=font,
                fill=colour,
            )
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    try:
        write_whole(path, file.getvalue())
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); make room or choose another place") from error


def _lines(clip: Clip, large: object, small: object) -> list[tuple]:
    where = clip.source.dataset or Path(clip.source.file).parent.as_posix()
    lines = [
        (clip.action or (clip.captions[0] if clip.captions else "no label"), large, _INK),
        (f"{where}  {clip.clip_id.rpartition('/')[2]}", small, _SOFT),
        (f"{clip.source.format}, {clip.topology.name}, {clip.num_persons} person(s)", small, _SOFT),
        (f"{clip.num_frames} frames at {clip.fps:g} fps, {clip.source.space or 'space unknown'}", small, _SOFT),
    ]
    bad = [f"{finding.kind}: {finding.text}" for finding in check(clip) if finding.level != "note"]
    return [*lines, (bad[0], small, _BAD)] if bad else lines


def _fitting(pen: object, text: str, font: object) -> str:
    """The text, cut where it is too wide."""
    while text and pen.textlength(text, font=font) > _LABEL_PX - 28:  # pyright: ignore[reportAttributeAccessIssue]
        text = text[:-2].rstrip() + "…" if not text.endswith("…") else text[:-3].rstrip() + "…"
    return text
