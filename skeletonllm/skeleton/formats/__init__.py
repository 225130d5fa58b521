"""Source formats: each turns its files into clips in the project's space. Only they know axes, units, joint order.

One file per format; `FORMATS` is all of them. A format is found by content, the suffix is only a hint.
"""

from pathlib import Path

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import bvh, humanml3d, ntu, nwucla, pyskl
from skeletonllm.skeleton.formats.common import HEAD_BYTES, Format

__all__ = ["FORMATS", "Format", "detect", "find_files", "holds_recordings", "read"]

FORMATS: dict[str, Format] = {module.FORMAT.name: module.FORMAT for module in (ntu, nwucla, pyskl, humanml3d, bvh)}
_SUFFIXES = frozenset(suffix for format in FORMATS.values() for suffix in format.suffixes)
_TELLING_SUFFIXES = frozenset((".skeleton", ".bvh"))


def _sniff(path: Path) -> Format | None:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    return next((format for format in FORMATS.values() if format.sniff(path, head)), None)


def detect(path: Path) -> Format:
    """The format of a file, by its content.

    Raises:
        FormatError: no known format begins like this.
        OSError: the file cannot be read.
    """
    found = _sniff(path)
    if found is None:
        with path.open("rb") as file:
            head = file.read(24)
        known = "; ".join(f"{format.name} ({', '.join(format.suffixes)})" for format in FORMATS.values())
        what = f"a file that begins with {head!r}" if head else "an empty file"
        raise FormatError(
            f"{path}: found {what}, expected one of the known formats: {known}; convert it to one of them"
        )
    return found


def read(path: Path, format: str | None = None) -> list[Clip]:
    """All clips of a file, in the project's space.

    Args:
        path: the recording.
        format: a name of `FORMATS`; by default the content decides.

    Raises:
        FormatError: the file is damaged, or of no known format.
    """
    if format is not None and format not in FORMATS:
        raise FormatError(f"{path}: format {format!r} is unknown; known are {', '.join(FORMATS)}")
    chosen = FORMATS[format] if format is not None else detect(path)
    return chosen.read(path)


def find_files(folder: Path) -> list[Path]:
    """The recordings below a folder, sorted; side files (labels, captions, feature arrays) are not among them.

    A file counts if its content is of a known format, or if its suffix is one that nothing else has: a damaged
    `.skeleton` must be reported, not skipped. Hidden files and folders are left out.
    """
    return [path for path in sorted(folder.rglob("*")) if _is_recording(path, folder)]


def holds_recordings(folder: Path) -> bool:
    """Whether a recording lies directly in a folder."""
    return any(_is_recording(path, folder) for path in sorted(folder.iterdir()))


def _is_recording(path: Path, root: Path) -> bool:
    if path.suffix not in _SUFFIXES or any(part.startswith(".") for part in path.relative_to(root).parts):
        return False
    return path.is_file() and (path.suffix in _TELLING_SUFFIXES or _sniff(path) is not None)
