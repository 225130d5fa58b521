"""Source formats: each turns its recordings into clips in the project's space. Only they know axes, units, joint order.

One file per format. A format is found by content, the suffix is only a hint. A recording is a file, or a folder where a
format has one file per frame.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path

from skeletonllm.errors import ConfigError, FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import (
    amass,
    bvh,
    c3d,
    cad60,
    coco,
    expmap,
    florence3d,
    h36m,
    humanml3d,
    jhmdb,
    kard,
    keraal,
    keraal_json,
    kinetics,
    mediapipe,
    msraction3d,
    msrc12,
    ntu,
    ntu_npy,
    nwucla,
    openpose,
    pkummd,
    plain_csv,
    plain_numpy,
    plain_parquet,
    pyskl,
    uiprmd,
    utdmhad,
    utkinect,
)
from skeletonllm.skeleton.formats.common import HEAD_BYTES, Declared, Format, problem
from skeletonllm.skeleton.formats.declared import MAX_FPS, Recordings, declaration_of, find_declaration, merged

__all__ = [
    "Declared",
    "Format",
    "declaration_of",
    "detect",
    "files_of",
    "find_declaration",
    "find_recordings",
    "formats",
    "holds_recordings",
    "read",
]

# Where two would say yes to a file, the earlier one is asked first.
_OWN = (
    ntu.FORMAT,
    ntu_npy.FORMAT,
    nwucla.FORMAT,
    nwucla.TEXT_FORMAT,
    pkummd.FORMAT,
    utkinect.FORMAT,
    msrc12.FORMAT,
    cad60.FORMAT,
    uiprmd.FORMAT,
    keraal.FORMAT,
    msraction3d.FORMAT,
    kard.FORMAT,
    florence3d.FORMAT,
    utdmhad.FORMAT,
    jhmdb.FORMAT,
    pyskl.FORMAT,
    kinetics.FORMAT,
    openpose.FORMAT,
    mediapipe.FORMAT,
    mediapipe.FORMAT_JSON,
    mediapipe.FORMAT_FOLDER,
    keraal_json.FORMAT,
    coco.FORMAT,
    humanml3d.FORMAT,
    amass.FORMAT,
    expmap.FORMAT,
    h36m.FORMAT,
    bvh.FORMAT,
    c3d.FORMAT,
    # Plain numbers last: they look like joints, and nothing more is known of them.
    plain_csv.FORMAT,
    plain_numpy.FORMAT,
    plain_parquet.FORMAT,
)
_ENTRY_POINTS = "skeletonllm.formats"
# Nothing else has these: a damaged file must be reported, not skipped.
_TELLING_SUFFIXES = frozenset((".skeleton", ".bvh", ".c3d"))
_NOTHING = Declared()


@functools.cache
def formats() -> dict[str, Format]:
    """All formats by name: those of installed packages (entry points `skeletonllm.formats`), then our own.

    Raises:
        ConfigError: a package's format cannot be loaded, or is none.
    """
    found: dict[str, Format] = {}
    for point in entry_points(group=_ENTRY_POINTS):
        try:
            added = point.load()
        except Exception as error:  # whatever a stranger's module raises
            raise ConfigError(
                f"format {point.name} ({point.value}): cannot be loaded ({error}); mend or remove it"
            ) from error
        if not isinstance(added, Format):
            raise ConfigError(f"format {point.name} ({point.value}): is a {type(added).__name__}, must be a Format")
        found[added.name] = added
    return {**found, **{format.name: format for format in _OWN if format.name not in found}}


def detect(path: Path) -> Format:
    """The format of a recording, by its content.

    Raises:
        FormatError: no known format begins like this.
        OSError: the file cannot be read.
    """
    found = _sniff_folder(path) if path.is_dir() else _sniff(path)
    if found is None:
        known = "; ".join(f"{format.name} ({', '.join(format.suffixes)})" for format in formats().values())
        raise FormatError(
            f"{path}: found {_looks(path)}, expected one of the known formats: {known}; convert it to one of them, or "
            "say which it is with --format"
        )
    return found


def read(
    path: Path | str, format: str | None = None, declared: Declared = _NOTHING, root: Path | None = None
) -> list[Clip]:
    """All clips of a recording, or of all recordings below a folder, in the project's space.

    The nearest `recordings.toml` is obeyed too, in what the format takes and `declared` does not say.

    Args:
        path: the recording, or a folder of recordings.
        format: a name of `formats()`; by default the content decides.
        declared: what the file does not say: topology, fps, unit, up axis.
        root: no `recordings.toml` above this folder is obeyed; by default all folders above are looked at.

    Raises:
        FormatError: the file is damaged, or of no known format.
        ConfigError: something is declared that the format says itself.
    """
    path = Path(path)
    if format is not None and format not in formats():
        raise FormatError(f"{path}: format {format!r} is unknown; known are {', '.join(formats())}")
    if path.is_dir() and (format is None or not formats()[format].is_folder) and _sniff_folder(path) is None:
        recordings = find_recordings(path)
        if not recordings:
            raise FormatError(f"{path}: no recording in a known format below it; known are {', '.join(formats())}")
        return [clip for recording in recordings for clip in read(recording, format, declared, root)]
    beside = declaration_of(path, root)
    chosen = formats()[format] if format is not None else detect(path)
    _check_declared(path, chosen, declared)
    told = declared if beside is None else merged(declared, beside.declared, chosen.takes)
    return [_completed(clip, declared.fps, beside) for clip in chosen.read(path, told)]


def find_recordings(folder: Path) -> list[Path]:
    """The recordings below a folder, sorted; side files (labels, captions, feature arrays) are not among them.

    A file counts if its content is of a known format, or if its suffix is one that nothing else has: a damaged
    `.skeleton` must be reported, not skipped. Hidden files and folders are left out, and so is a file of which the
    folder has a twin: the same movement in another form.
    """
    return sorted(path for path in _recordings(folder) if not _has_twin(path, folder))


def files_of(recording: Path) -> list[Path]:
    """All files that make up a recording, its labels and captions too, sorted; not the `recordings.toml` above it."""
    format = detect(recording)
    own = [path for path in recording.iterdir() if path.is_file()] if recording.is_dir() else [recording]
    return sorted({*own, *format.beside(recording)})


def holds_recordings(folder: Path) -> bool:
    """Whether a recording lies directly in a folder."""
    return any(
        _sniff_folder(path) is not None if path.is_dir() else _is_recording(path)
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
    )


def _recordings(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir():
            if _sniff_folder(path) is not None:
                yield path
            else:
                yield from _recordings(path)
        elif _is_recording(path):
            yield path


def _has_twin(path: Path, folder: Path) -> bool:
    suffix = path.suffix.lower()
    kinds = (format for format in formats().values() if suffix in format.suffixes)
    twins = (twin for format in kinds for twin in format.twins(path))
    return any(twin.is_relative_to(folder) and twin.is_file() for twin in twins)


def _is_recording(path: Path) -> bool:
    if path.suffix.lower() not in _suffixes() or not path.is_file():
        return False
    return path.suffix.lower() in _TELLING_SUFFIXES or _sniff(path) is not None


@functools.cache
def _suffixes() -> frozenset[str]:
    return frozenset(suffix for format in formats().values() if not format.is_folder for suffix in format.suffixes)


def _sniff(path: Path) -> Format | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return next((format for format in formats().values() if not format.is_folder and format.sniff(path, head)), None)


def _sniff_folder(folder: Path) -> Format | None:
    """The format of which the folder is one recording: its first file says so."""
    kinds = [format for format in formats().values() if format.is_folder]
    suffixes = {suffix for format in kinds for suffix in format.suffixes}
    first = min((path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file()), default=None)
    if first is None:
        return None
    with first.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return next(
        (format for format in kinds if first.suffix.lower() in format.suffixes and format.sniff(first, head)), None
    )


def _looks(path: Path) -> str:
    if path.is_dir():
        return "a folder that is no recording"
    with path.open("rb") as file:
        head = file.read(24)
    return f"a file that begins with {head!r}" if head else "an empty file"


def _check_declared(path: Path, format: Format, declared: Declared) -> None:
    for name in ("topology", "unit", "up"):
        if getattr(declared, name) is not None and name not in format.takes:
            raise ConfigError(f"{path}: {format.name} files say their {name} themselves; leave --{name} out")
    if declared.body_model is not None and "body_model" not in format.takes:
        raise ConfigError(f"{path}: {format.name} files have positions and need no body; leave --body-model out")
    if declared.fps is not None and not 0 < declared.fps <= MAX_FPS:
        raise problem(path, "", f"--fps {declared.fps}", "frames per second, more than 0")


def _completed(clip: Clip, fps: float | None, beside: Recordings | None) -> Clip:
    """The clip at the rate that is declared, and of the data set that `recordings.toml` names.

    The rate of a `recordings.toml` wins over a format's convention, not over what the file itself says.
    """
    if fps is None and beside is not None and clip.source.fps_from != "file":
        fps = beside.declared.fps
    if fps is not None:
        clip = replace(clip, fps=float(fps), source=replace(clip.source, fps_from="declared"))
    if beside is not None and beside.dataset and not clip.source.dataset:
        clip = replace(clip, source=replace(clip.source, dataset=beside.dataset))
    return clip
