"""What the format modules share: the description of a format, reading files, and one form of error."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip

# No recording of one movement comes near: a larger file, or one that says it is larger, is damaged or hostile.
MAX_FILE_BYTES = 2 << 30
MAX_NUMBERS = 256 << 20
HEAD_BYTES = 4096


@dataclass(frozen=True)
class Format:
    """One kind of source file.

    Args:
        name: as users write it.
        suffixes: endings that such files have; a hint, the content decides.
        description: one line for people.
        sniff: whether the file is of this format, from its first bytes.
        read: all clips of a file, in the project's space.
    """

    name: str
    suffixes: tuple[str, ...]
    description: str
    sniff: Callable[[Path, bytes], bool]
    read: Callable[[Path], list[Clip]]


def problem(path: Path, where: str, found: object, expected: str, remedy: str = "") -> FormatError:
    """The error of a damaged file: where, what is, what should be, what to do."""
    advice = remedy or "the file is damaged or cut short; get it again or leave it out"
    return FormatError(f"{path}{', ' + where if where else ''}: found {found}, expected {expected}; {advice}")


def read_bytes(path: Path) -> bytes:
    """The whole file.

    Raises:
        FormatError: it is empty or absurdly large.
    """
    size = path.stat().st_size
    if size == 0:
        raise problem(path, "", "an empty file", "a recording")
    if size > MAX_FILE_BYTES:
        raise problem(path, "", f"{size} bytes", f"at most {MAX_FILE_BYTES}", "split the file")
    return path.read_bytes()


def read_text(path: Path) -> str:
    """The whole file as text.

    Raises:
        FormatError: it is empty, absurdly large or not text.
    """
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise problem(path, f"offset {error.start}", f"byte {data[error.start]:#04x}", "text (UTF-8)") from error
    if "\0" in text:
        raise problem(path, f"offset {text.index(chr(0))}", "a zero byte", "text")
    return text


def brief(value: object, length: int = 60) -> str:
    """A value for an error message, cut where it is long."""
    shown = repr(value)
    return shown if len(shown) <= length else shown[:length] + "..."
