"""The verb that draws recordings."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from skeletonllm.render.renderer import Renderer
    from skeletonllm.skeleton.clip import Clip

_READING = Reading()
_SOME_FAILED = 1
_FILM = (".gif", ".mp4")
_FILM_FPS, _MOST_FRAMES = 12.5, 240


@dataclass(frozen=True)
class Look:
    """How it is drawn."""

    renderer: Literal["draction", "skeleton_2d", "skeleton_3d_velocity", "jtm"] = "draction"
    """Which renderer; `draction` is as it is before training."""
    checkpoint: Path | None = None
    """Draw with the renderer of this trained student."""
    paper_weights: Path | None = None
    """Draw as the paper's public code does, with these released weights; NTU's joints only."""
    size_px: int = 224
    """Width and height."""
    num_frames: int | None = None
    """Frames drawn, spread over the clip. By default what the model sees (12) for .png and .html, and a smooth film for
    .gif and .mp4."""
    view: Literal["fitted", "fixed", "orbit"] = "fitted"
    """The camera: fitted to the clip, the same metres of every clip, or going around."""
    num_views: int = 1
    """Cameras around the body, each with its share of the frames."""


_LOOK = Look()


def render(
    sources: Annotated[tuple[Path, ...], tyro.conf.Positional],
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("clip.gif"),
    to: Literal["gif", "mp4", "png", "html"] = "gif",
    clip: tuple[str, ...] = (),
    index: int | None = None,
    max_clips: int = 24,
    fresh: bool = False,
    look: Annotated[Look, tyro.conf.arg(name="")] = _LOOK,
    reading: ReadingArgument = _READING,
) -> int:
    """Draw recordings as the model sees them: a film, a strip of frames, or a player in one HTML file.

    `skeletonllm render wave.skeleton -o wave.html` shows the joints in 3D beside the frames. Several recordings, a folder
    or a data set give one .html with a list of clips, or a folder of files: `-o films --to mp4`. A folder of files goes on
    where it stopped.

    Args:
        sources: recordings, folders of them, or data sets that ingest wrote.
        output: .gif, .mp4, .png (a strip of frames) or .html (a player); without a suffix a folder.
        to: what is written into a folder.
        clip: only clips with these ids.
        index: only this clip of each recording or data set, counted from 0.
        max_clips: at most so many.
        fresh: draw again what is there already.
        look: how it is drawn.
        reading: what the recordings do not say themselves.
    """
    from skeletonllm.errors import ConfigError
    from skeletonllm.log import progress, set_up_logging

    set_up_logging()
    if not sources:
        raise ConfigError("render: no source; give a recording, a folder of recordings or a data set")
    failed: list[str] = []
    clips = list(itertools.islice(_clips(sources, clip, index, reading, failed), max_clips))
    if output.suffix:
        _into_file(clips, output, look, failed)
    else:
        with progress("drawing", len(clips), "clips") as tick:
            for number, one in enumerate(clips, 1):
                path = output / f"{_safe(one.clip_id)}.{to}"
                if fresh or not path.exists():
                    _draw(one, path, look, failed)
                tick(number)
        print(f"{output}: {len(list(output.glob(f'*.{to}')))} files")
    for line in failed:
        print(f"left out: {line}")
    return _SOME_FAILED if failed else 0


def _clips(
    sources: Sequence[Path], ids: Sequence[str], index: int | None, reading: Reading, failed: list[str]
) -> "Iterator[Clip]":
    """The wanted clips; what cannot be read is told about, unless it is the only thing asked for."""
    from skeletonllm.errors import SkeletonLLMError
    from skeletonllm.skeleton.labels import read_labelled

    declared = reading.declared()
    for source in sources:
        if (source / "manifest.json").is_file():
            yield from _of_dataset(source, ids, index)
            continue
        places = _recordings(source)
        for place in places:
            try:
                clips = read_labelled(place, reading.format, declared)
            except SkeletonLLMError as error:
                if len(sources) == len(places) == 1:
                    raise
                failed.append(str(error))
                continue
            clips = clips if index is None else [clips[_checked(index, len(clips), place)]]
            yield from (one for one in clips if not ids or one.clip_id in ids)


def _recordings(source: Path) -> Sequence[Path]:
    from skeletonllm.errors import ConfigError
    from skeletonllm.skeleton.formats import find_recordings

    if not source.is_dir():
        return [source]
    found = list(find_recordings(source))
    if not found:
        raise ConfigError(f"{source}: no recording in it; give a folder that holds some")
    return found


def _of_dataset(folder: Path, ids: Sequence[str], index: int | None) -> "Iterator[Clip]":
    """Clips of a data set: those with the ids, or of the row, or all."""
    from skeletonllm.shards.reader import ShardReader

    reader = ShardReader(str(folder))
    if ids:
        yield from (reader.by_id(one) for one in ids)
    elif index is not None:
        yield reader.clip(_checked(index, len(reader), folder))
    else:
        yield from reader.clips()


def _checked(index: int, count: int, place: Path) -> int:
    from skeletonllm.errors import ConfigError

    if not 0 <= index < count:
        raise ConfigError(f"--index is {index}, but {place} holds clips 0 to {count - 1}")
    return index


def _into_file(clips: "Sequence[Clip]", output: Path, look: Look, failed: list[str]) -> None:
    from skeletonllm.errors import ConfigError

    if not clips:
        raise ConfigError("render: no clip left; " + (failed[0] if failed else "check --clip and --index"))
    if output.suffix == ".html":
        from skeletonllm.render.player import write_player

        scenes = [_scene(one, look) for one in clips]
        write_player(output, scenes)
        print(f"{output}: {len(scenes)} clips")
        return
    _draw(clips[0], output, look, None)
    which = f" (the first of {len(clips)}; --index or --clip picks another, a .html shows all)" if clips[1:] else ""
    print(f"{output}: {clips[0].clip_id}, {clips[0].action or 'no action'}{which}")


def _draw(clip: "Clip", path: Path, look: Look, failed: list[str] | None) -> None:
    """One clip into one file."""
    from skeletonllm.errors import SkeletonLLMError
    from skeletonllm.render.picture import save_picture
    from skeletonllm.render.player import write_player

    try:
        if path.suffix == ".html":
            write_player(path, [_scene(clip, look)])
            return
        frames, _ = _frames(clip, look, path.suffix in _FILM)
        save_picture(frames, path, fps=max(1.0, len(frames) / max(clip.duration_s, 0.5)))
    except SkeletonLLMError as error:
        if failed is None:
            raise
        failed.append(f"{clip.clip_id}: {error}")


def _scene(clip: "Clip", look: Look) -> Any:
    from skeletonllm.render.player import Scene

    frames, times_s = _frames(clip, look, film=False)
    return Scene(clip.clip_id, clip, frames, times_s)


def _frames(clip: "Clip", look: Look, film: bool) -> tuple[Any, list[float]]:
    """Frames in [0, 1], and when in the clip they are, seconds."""
    import torch

    smooth = min(max(round(clip.duration_s * _FILM_FPS), 8), _MOST_FRAMES)
    wanted = look.num_frames or (smooth if film else 12)
    wanted = max(look.num_views, wanted - wanted % look.num_views)
    renderer = _renderer(replace(look, num_frames=wanted))
    with torch.inference_mode():
        batch = renderer.collate([clip])
        return renderer(batch)[0], batch.times_s[0, :wanted].tolist()


def _renderer(look: Look) -> "Renderer":
    from skeletonllm.render import build_renderer
    from skeletonllm.render.config import RenderConfig

    changes: dict[str, Any] = {
        "size_px": look.size_px,
        "num_frames": look.num_frames,
        "view": look.view,
        "num_views": look.num_views,
    }
    if look.checkpoint is not None:
        from skeletonllm.model.student import with_renderer

        return with_renderer(_student(look.checkpoint), **changes)
    if look.paper_weights is not None:
        return build_renderer(RenderConfig(renderer="paper", paper_weights=str(look.paper_weights), **changes))
    return build_renderer(RenderConfig(renderer=look.renderer, **changes))


_STUDENTS: dict[Path, Any] = {}


def _student(checkpoint: Path) -> Any:
    """A trained student, read once."""
    from skeletonllm.model.student import SkeletonLLM

    if checkpoint not in _STUDENTS:
        _STUDENTS[checkpoint] = SkeletonLLM.from_pretrained(checkpoint)
    return _STUDENTS[checkpoint]


def _safe(clip_id: str) -> str:
    """A clip's id as a file's name: ids come from files and may hold anything."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in clip_id).lstrip(".") or "clip"
