"""What the format modules share: the description of a format, checked reading of files, and one form of error."""

import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skeletonllm.errors import FormatError, NobodyError
from skeletonllm.skeleton.clip import Clip, Source, mask_unseen
from skeletonllm.skeleton.topology import Topology

# No recording of one movement comes near: a larger file, or one that says it is larger, is damaged or hostile.
MAX_FILE_BYTES = 2 << 30
MAX_NUMBERS = 256 << 20
HEAD_BYTES = 4096
_FARTHEST_M = 1e5  # nobody is recorded farther from the origin


@dataclass(frozen=True)
class Declared:
    """What a user says of recordings where the files do not; None where nothing is said.

    Args:
        topology: joints and parents.
        fps: frames per second; wins over the file and over the format's convention.
        unit: a name of `skeletonllm.skeleton.spaces.UNITS_M`.
        up: the axis that points up, such as "+y" or "-z".
        body_model: the user's own model of the SMPL family as `.npz`, for files of poses.
    """

    topology: Topology | None = None
    fps: float | None = None
    unit: str | None = None
    up: str | None = None
    body_model: Path | None = None


def _alone(_: Path) -> Sequence[Path]:
    return ()


@dataclass(frozen=True)
class Format:
    """One kind of recording. Other packages add theirs under the entry point group `skeletonllm.formats`.

    Args:
        name: as users write it.
        suffixes: endings that such files have; a hint, the content decides.
        description: one line for people.
        sniff: whether the file is of this format, from its path and its first bytes.
        read: all clips of a recording, in the project's space.
        takes: which fields of `Declared` the reader itself obeys, besides `fps`.
        beside: other files that belong to a recording (labels, captions); they are part of its content.
        twins: other files of the same movement: where one of them is in the same folder of recordings, this is none.
        is_folder: a recording is a folder with one file per frame; `sniff` then gets its first file, `read` the folder.
        origin: who published data in this format, and under which terms.
    """

    name: str
    suffixes: tuple[str, ...]
    description: str
    sniff: Callable[[Path, bytes], bool]
    read: Callable[[Path, Declared], list[Clip]]
    takes: frozenset[str] = frozenset()
    beside: Callable[[Path], Sequence[Path]] = _alone
    twins: Callable[[Path], Sequence[Path]] = _alone
    is_folder: bool = False
    origin: str = ""


def problem(path: Path, where: str, found: object, expected: str, remedy: str = "") -> FormatError:
    """The error of a damaged file: where, what is, what should be, what to do."""
    advice = remedy or "the file is damaged or cut short; get it again or leave it out"
    return FormatError(f"{path}{', ' + where if where else ''}: found {found}, expected {expected}; {advice}")


def nobody(path: Path, where: str, found: object, expected: str = "at least one") -> NobodyError:
    """The error of a recording that is whole, but in which nobody is seen."""
    return NobodyError(str(problem(path, where, found, expected, "leave the recording out")))


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


def read_table(
    path: Path, columns: int, delimiter: str | None = None, skip_rows: int = 0, end: str | None = None
) -> np.ndarray:
    """The numbers of a text file with the same count in every line: `[rows, columns]` float64.

    Args:
        path: the file.
        columns: numbers in a line.
        delimiter: what stands between two; blanks and tabs by default.
        skip_rows: lines before the numbers.
        end: a last line that may follow the numbers.

    Raises:
        FormatError: a line has another count, or something that is no number; says which.
    """
    lines = read_text(path).splitlines()[skip_rows:]
    if end is not None and lines[-1:] == [end]:
        lines.pop()
    text = "\n".join(line.rstrip().removesuffix(delimiter or "") for line in lines)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a file without numbers, told below
            table = np.loadtxt(io.StringIO(text), np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError:
        raise _bad_line(path, lines, columns, delimiter, skip_rows) from None
    if table.shape[1:] != (columns,) or not len(table):
        raise _bad_line(path, lines, columns, delimiter, skip_rows)
    return table


def _bad_line(path: Path, lines: Sequence[str], columns: int, delimiter: str | None, skip_rows: int) -> FormatError:
    for number, line in enumerate(lines, skip_rows + 1):
        words = line.rstrip().removesuffix(delimiter or "").split(delimiter)
        if words and words != [""] and len(words) != columns:
            return problem(path, f"line {number}", f"{len(words)} values", f"{columns} numbers")
        for word in words:
            try:
                float(word or "0")
            except ValueError:
                return problem(path, f"line {number}", brief(word), "a number")
    return problem(path, "", "no numbers", f"lines of {columns} numbers")


def split_frames(path: Path, rows: np.ndarray, joints: int) -> np.ndarray:
    """`rows [frames * joints, values]` as `[frames, joints, values]`.

    Raises:
        FormatError: the last frame is not whole.
    """
    if len(rows) % joints:
        raise problem(path, f"row {len(rows)}", f"{len(rows)} rows", f"a multiple of {joints} (rows of a frame)")
    return rows.reshape(-1, joints, rows.shape[1])


def build_clip(
    path: Path,
    clip_id: str,
    topology: Topology,
    positions: np.ndarray,
    confidence: np.ndarray | None = None,
    *,
    fps: float,
    source: Source,
    action: str | None = None,
    captions: Iterable[str] = (),
    rotations: np.ndarray | None = None,
    where: str = "",
) -> Clip:
    """What every reader ends with: a clip in which unseen joints are 0 with confidence 0, and nobody is unseen.

    Args:
        path: the file, for errors.
        clip_id: unique in the file.
        topology: joints and parents.
        positions: metres, right-handed, +y up, `[persons, frames, joints, 3]`; (0, 0, 0) and NaN mean "not seen".
        confidence: `[persons, frames, joints]`, 0 to 1; 1 for every seen joint by default.
        fps: frames per second.
        source: with `format`, `fps_from` and `space`.
        action: the class, where the file says it.
        captions: free descriptions.
        rotations: unit quaternions (wxyz), parent to world, `[persons, frames, joints, 4]`.
        where: the place in the file, for errors.

    Raises:
        NobodyError: nobody is seen in any frame.
        FormatError: a position is absurd, or there is no frame.
    """
    if 0 in positions.shape:
        raise problem(path, where, f"{positions.shape[1]} frames", "at least one", "leave the recording out")
    farthest = np.abs(positions).max()
    if not np.isfinite(farthest):
        farthest = np.abs(positions[np.isfinite(positions)]).max(initial=0)
    if farthest > _FARTHEST_M:
        raise problem(path, where, f"a joint {farthest:.3g} m from the origin", "a person", "check the unit (--unit)")
    given = None if confidence is None else np.clip(np.nan_to_num(confidence), 0, 1).astype(np.float32)
    with np.errstate(invalid="ignore"):  # a NaN that signals
        places, seen = mask_unseen(positions.astype(np.float32), given)
    persons = np.flatnonzero((seen > 0).any((1, 2)))
    if not len(persons):
        raise nobody(path, where, "no joint of anybody that was seen")
    turns = None
    if rotations is not None:
        turns = np.ascontiguousarray(rotations[persons], np.float32)
    return Clip(
        clip_id,
        topology,
        np.ascontiguousarray(places[persons]),
        np.ascontiguousarray(seen[persons]),
        float(fps),
        action=action,
        captions=tuple(captions),
        rotations=turns,
        source=source,
    )


def brief(value: object, length: int = 60) -> str:
    """A value for an error message, in one line, cut where it is long."""
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= length else shown[:length] + "..."
