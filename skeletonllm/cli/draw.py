"""The verb that draws recordings."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from skeletonllm.render.player import Scene
    from skeletonllm.render.renderer import Renderer
    from skeletonllm.skeleton.clip import Clip

_READING = Reading()
_SOME_FAILED = 1
# Films play in real time. GIFs count in hundredths of a second, and grow fast.
_FILM_FPS = {".gif": 12.5, ".mp4": 25.0}
_FEWEST_FRAMES, _MOST_FRAMES = 8, 300
_MOST_IN_A_PLAYER = 24


@dataclass(frozen=True)
class Look:
    """How it is drawn."""

    renderer: Literal["draction", "skeleton_2d", "skeleton_3d_velocity", "jtm"] = "draction"
    """Which renderer; `draction` is as it is before training."""
    checkpoint: Path | None = None
    """Draw with the renderer of this trained student; it has its own camera and thickness."""
    paper_weights: Path | None = None
    """Draw as the paper's public code does, with these released weights; NTU's joints only."""
    size_px: int = 224
    """Width and height."""
    num_frames: Annotated[int | None, tyro.conf.arg(aliases=["--frames"])] = None
    """Frames drawn, spread over the clip. By default what the model sees (12) for .png and .html, and a smooth film in real
    time for .gif (12.5 a second) and .mp4 (25); `--num-frames 12` makes a film of exactly what the model sees."""
    camera: Literal["orthographic", "perspective"] | None = None
    """By default orthographic, or the student's."""
    view: Literal["fitted", "fixed", "orbit"] | None = None
    """`fitted` to the clip (the default), `fixed`: the same metres of every clip, or `orbit`: going around."""
    num_views: int | None = None
    """Cameras around the body (1), drawn side by side in films, below each other in strips; each has its share of the
    frames that the model sees."""


_LOOK = Look()


def render(
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional],
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("clip.gif"),
    to: Literal["gif", "mp4", "png", "html"] = "gif",
    clip: tuple[str, ...] = (),
    index: Annotated[int | None, tyro.conf.arg(aliases=["--row"])] = None,
    max_clips: int | None = None,
    fresh: bool = False,
    look: Annotated[Look, tyro.conf.arg(name="")] = _LOOK,
    reading: ReadingArgument = _READING,
) -> int:
    """Draw recordings as the model sees them: a film, a strip of frames, or a player in one HTML file.

    `render wave.skeleton -o wave.html` shows the joints in 3D beside the frames. `render FOLDER -o all.html` makes one
    player with a list of clips. `render FOLDER -o films --to mp4` makes a folder of files: it goes on where it stopped,
    leaves out what cannot be read, tells so at the end, and then exits with 1. `render DATASET -o a.gif --clip ID` draws
    one clip of a data set.

    Args:
        sources: recordings, folders of them, or data sets that ingest wrote.
        output: .gif, .mp4, .png (a strip of frames) or .html (a player); without a suffix a folder.
        to: what is written into a folder.
        clip: only clips with these ids.
        index: only this clip of each recording or data set, counted from 0.
        max_clips: at most so many; by default 24 in a player, and all into a folder.
        fresh: draw again what is in the folder already.
        look: how it is drawn.
        reading: what the recordings do not say themselves.
    """
    from skeletonllm.errors import ConfigError
    from skeletonllm.log import set_up_logging

    set_up_logging()
    if not sources:
        raise ConfigError("render: no source; give a recording, a folder of recordings or a data set")
    if max_clips is not None and max_clips < 1:
        raise ConfigError(f"--max-clips is {max_clips}, must be at least 1")
    kind = "" if output.is_dir() else output.suffix
    if kind not in ("", ".html", ".png", *_FILM_FPS):
        raise ConfigError(f"{output}: cannot write {kind!r}; use .gif, .mp4, .png, .html, or a folder without suffix")
    failed: list[str] = []
    places = list(_places(sources, clip, index, reading))
    if kind == ".html":
        _one_player(places, output, max_clips or _MOST_IN_A_PLAYER, look, failed)
    elif kind:
        _one_picture(places, output, look, failed)
    else:
        _folder(places, output, to, max_clips, fresh, look, failed)
    for line in failed:
        print(f"left out: {line}")
    return _SOME_FAILED if failed else 0


# Where clips are: reads those that are wanted, when it is their turn.
_Place = Callable[[], "Sequence[Clip]"]


def _places(sources: Sequence[Path], ids: Sequence[str], index: int | None, reading: Reading) -> Iterator[_Place]:
    from skeletonllm.shards.reader import ShardReader

    for source in sources:
        if (source / "manifest.json").is_file():
            yield from _rows(ShardReader(str(source)), ids, index, source)
        else:
            yield from _recordings(source, ids, index, reading)


def _rows(reader: Any, ids: Sequence[str], index: int | None, source: Path) -> Iterator[_Place]:
    """Rows of a data set: those with the ids, or of the number, or all."""
    if ids:
        rows = [reader.row_of(one) for one in ids]
    else:
        rows = range(len(reader)) if index is None else [_checked(index, len(reader), source)]
    for row in rows:
        yield lambda row=row: [reader.clip(row)]


def _recordings(source: Path, ids: Sequence[str], index: int | None, reading: Reading) -> Iterator[_Place]:
    from skeletonllm.errors import ConfigError
    from skeletonllm.skeleton.formats import find_recordings, read
    from skeletonllm.skeleton.labels import labels_beside, load_labels

    declared = reading.declared()
    paths = list(find_recordings(source)) if source.is_dir() and reading.format is None else [source]
    if not paths:
        raise ConfigError(f"{source}: no recording in it; give a folder that holds some")
    labels = load_labels(source) if paths != [source] else labels_beside(source)

    def clips(path: Path) -> "Sequence[Clip]":
        found = [labels.apply(one, path) for one in read(path, reading.format, declared)]
        found = found if index is None else [found[_checked(index, len(found), path)]]
        return [one for one in found if not ids or one.clip_id in ids]

    yield from (functools.partial(clips, path) for path in paths)


def _checked(index: int, count: int, place: Path) -> int:
    from skeletonllm.errors import ConfigError

    if not 0 <= index < count:
        raise ConfigError(f"--index is {index}, but {place} holds clips 0 to {count - 1}")
    return index


def _read(places: Sequence[_Place], failed: list[str]) -> "Iterator[tuple[int, Clip]]":
    """The clips, each with how many places are done; what cannot be read is told, unless it is all there is."""
    from skeletonllm.errors import SkeletonLLMError

    for done, place in enumerate(places):
        try:
            clips = place()
        except (SkeletonLLMError, OSError) as error:
            if len(places) == 1:
                raise
            failed.append(str(error))
            continue
        yield from ((done, one) for one in clips)


def _one_player(places: Sequence[_Place], output: Path, most: int, look: Look, failed: list[str]) -> None:
    from skeletonllm.errors import SkeletonLLMError
    from skeletonllm.log import progress
    from skeletonllm.render.player import write_player

    scenes, more = [], False
    with progress("drawing", min(len(places), most), "clips") as tick:
        for _, clip in _read(places, failed):
            more = len(scenes) == most
            if more:
                break
            try:
                scenes.append(_scene(clip, look))
            except SkeletonLLMError as error:
                if len(places) == 1:
                    raise
                failed.append(f"{clip.clip_id}: {error}")
            tick(min(len(scenes), len(places)))
    if not scenes:
        raise _nothing(failed)
    write_player(output, scenes)
    print(f"{output}: {len(scenes)} clips{', there are more; --max-clips shows them' if more else ''}")


def _one_picture(places: Sequence[_Place], output: Path, look: Look, failed: list[str]) -> None:
    clips = _read(places, failed)
    _, first = next(clips, (0, None))
    if first is None:
        raise _nothing(failed)
    _draw(first, output, look)
    more = len(places) > 1 or next(clips, None) is not None
    which = " (the first of several; --index or --clip picks another, a .html shows all)" if more else ""
    print(f"{output}: {first.clip_id}, {first.action or 'no action'}{which}")


def _folder(
    places: Sequence[_Place], folder: Path, to: str, most: int | None, fresh: bool, look: Look, failed: list[str]
) -> None:
    from skeletonllm.errors import SkeletonLLMError
    from skeletonllm.log import progress

    names: dict[str, int] = {}
    drawn = kept = 0
    with progress("drawing", len(places), "recordings") as tick:
        for done, clip in _read(places, failed):
            if most is not None and sum(names.values()) == most:
                break
            path = folder / f"{_name(clip.clip_id, names)}.{to}"
            if path.exists() and not fresh:
                kept += 1
            else:
                try:
                    _draw(clip, path, look)
                    drawn += 1
                except SkeletonLLMError as error:
                    failed.append(f"{clip.clip_id}: {error}")
            tick(done + 1)
    if not names:
        raise _nothing(failed)
    print(
        f"{folder}: {drawn} drawn, {kept} there before (--fresh draws them again)"
        if kept
        else f"{folder}: {drawn} drawn"
    )


def _nothing(failed: Sequence[str]) -> Exception:
    from skeletonllm.errors import ConfigError

    return ConfigError("render: no clip left; " + (failed[0] if failed else "check --clip and --index"))


def _name(clip_id: str, names: dict[str, int]) -> str:
    """A file's name for a clip: ids come from files and may hold anything, and two clips may have the same."""
    bare = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in clip_id)
    bare = bare.lstrip(".")[:150] or "clip"
    key = bare.casefold()
    names[key] = names.get(key, 0) + 1
    return bare if names[key] == 1 else f"{bare}~{names[key]}"


def _draw(clip: "Clip", path: Path, look: Look) -> None:
    """One clip into one file."""
    from skeletonllm.render.picture import save_picture, side_by_side
    from skeletonllm.render.player import write_player

    if path.suffix == ".html":
        write_player(path, [_scene(clip, look)])
        return
    shown = _show(clip, look, _FILM_FPS.get(path.suffix))
    if path.suffix in _FILM_FPS:
        film = side_by_side(shown.frames, shown.num_views)
        save_picture(film, path, len(film) / max(clip.duration_s, 0.5))
    else:
        save_picture(shown.frames, path, rows=shown.num_views)


def _scene(clip: "Clip", look: Look) -> "Scene":
    from skeletonllm.render.player import Scene

    shown = _show(clip, look, None)
    return Scene(clip.clip_id, clip, shown.frames, shown.times_s)


@dataclass(frozen=True)
class _Shown:
    """Frames `[frames 3 height width]` in [0, 1], one view's after the other's, and when in the clip they are, seconds."""

    frames: Any
    times_s: list[float]
    num_views: int


def _show(clip: "Clip", look: Look, film_fps: float | None) -> _Shown:
    """What the model sees, or a film of so many frames a second."""
    import torch

    renderer = _renderer(look, clip.duration_s, film_fps)
    with torch.inference_mode():
        batch = renderer.collate([clip])
        frames = renderer(batch)[0]
    if renderer.config.renderer != "jtm":
        return _Shown(frames, batch.times_s[0].tolist(), renderer.config.num_views)
    # Joint trajectory maps grow in three planes, one after the other.
    planes = [3 * frame // len(frames) for frame in range(len(frames))]
    grown = [(planes[:frame].count(plane) + 1) / planes.count(plane) for frame, plane in enumerate(planes)]
    return _Shown(frames, [clip.duration_s * share for share in grown], 1 if len(frames) % 3 else 3)


def _renderer(look: Look, duration_s: float, film_fps: float | None) -> "Renderer":
    from skeletonllm.model.student import with_renderer
    from skeletonllm.render import build_renderer
    from skeletonllm.render.config import RenderConfig

    changes = {name: getattr(look, name) for name in ("size_px", "camera", "view", "num_views", "num_frames")}
    changes = {name: value for name, value in changes.items() if value is not None}
    student = None if look.checkpoint is None else _student(look.checkpoint)
    if student is not None:
        asked = student.renderer.config
    elif look.paper_weights is not None:
        asked = RenderConfig(renderer="paper", paper_weights=str(look.paper_weights))
    else:
        asked = RenderConfig(renderer=look.renderer)
    if look.num_frames is None:
        views = 3 if asked.renderer == "jtm" else look.num_views or asked.num_views
        wanted = asked.num_frames // views if film_fps is None else _film_frames(duration_s, film_fps)
        changes["num_frames"] = views * max(1, wanted)
    return build_renderer(replace(asked, **changes)) if student is None else with_renderer(student, **changes)


def _film_frames(duration_s: float, fps: float) -> int:
    """Frames of a film in real time; a long one has fewer a second."""
    return min(max(round(duration_s * fps), _FEWEST_FRAMES), _MOST_FRAMES)


@functools.cache
def _student(checkpoint: Path) -> Any:
    """A trained student, read once."""
    from skeletonllm.model.student import SkeletonLLM

    return SkeletonLLM.from_pretrained(checkpoint)
