"""CSV and TSV files of joints, with a header (long or wide, see `plain_table`) or as bare numbers in rows.

Ours begin with a comment line that says topology, rate and space.
"""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats.common import Declared, Format, brief, problem, read_table, read_text
from skeletonllm.skeleton.formats.declared import declared_topology
from skeletonllm.skeleton.formats.described import described, describes_itself, told_by
from skeletonllm.skeleton.formats.plain import TAKES, can_be_cut, clip_of, looks_like_joints, motion_of_array
from skeletonllm.skeleton.formats.plain_table import Layout, layout_of, motions_of_table

_DELIMITERS = ("\t", ";", ",")
_NULLS = ["", "NA", "N/A", "nan", "NaN", "-nan", "NAN", "null", "NULL", "None"]
_MAX_HEADER = 100_000  # characters
_HEADER = ("frame", "person", "joint", "x", "y", "z", "confidence")
_QUATERNION = ("qw", "qx", "qy", "qz")


def sniff(path: Path, head: bytes) -> bool:
    """A header that names joints, our own comment line, or bare numbers that lie and move as joints do."""
    if b"\0" in head:
        return False
    text = head.decode("utf-8-sig", errors="replace")
    if text.startswith("#") and describes_itself(text):
        return True
    line, start = _first_line(text)
    if not _is_numbers(line, start + len(line) >= len(text)):
        return _layout_of_file(path, line) is not None
    topology = declared_topology(path)
    if start + len(line) < len(text) and not can_be_cut(len(_cells(line)), topology):
        return False
    try:
        return looks_like_joints(path, _numbers(path, start), topology)
    except FormatError:
        return False


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clips of one file.

    Raises:
        FormatError: a cell is no number, the columns are no joints, or something must be declared.
    """
    text = read_text(path)
    told = None
    if describes_itself(text):
        told = told_by(path, "line 1", text.partition("\n")[0].lstrip("# "))
    line, start = _first_line(text)
    if _is_numbers(line, False):
        array = _numbers(path, start)
        return [clip_of(path, FORMAT.name, motion_of_array(path, "", array, declared.topology), declared)]
    layout = layout_of(_cells(line))
    if layout is None:
        raise problem(
            path,
            f"line {text[:start].count(chr(10)) + 1}",
            brief(line, 200),
            "a header such as frame,joint,x,y,z or nose_x,nose_y,...",
            "name the columns so, or say another --format",
        )
    columns = _columns(path, text[start:], line, layout)
    return [clip_of(path, FORMAT.name, motion, declared) for motion in motions_of_table(path, layout, columns, told)]


def _first_line(text: str) -> tuple[str, int]:
    """The first line that is neither blank nor a comment, and where it begins."""
    start = 0
    for line in text[:_MAX_HEADER].splitlines(keepends=True):
        if line.strip() and not line.startswith("#"):
            return line.rstrip("\r\n"), start
        start += len(line)
    return "", start


def _delimiter(line: str) -> str | None:
    """What stands between two cells; None for blanks."""
    best = max(_DELIMITERS, key=line.count)
    return best if best in line else None


def _cells(line: str) -> list[str]:
    delimiter = _delimiter(line)
    if delimiter is None:
        return line.split()
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _is_numbers(line: str, cut: bool) -> bool:
    """Whether all cells are numbers; of a line that is cut short, all but the last."""
    cells = [cell for cell in (_cells(line)[:-1] if cut else _cells(line)) if cell]
    try:
        return len([float(cell) for cell in cells]) > 0
    except ValueError:
        return False


def _layout_of_file(path: Path, line: str) -> Layout | None:
    """The layout by the whole first line, which may be longer than the file's head."""
    found = layout_of(_cells(line))
    if found is None and len(line) > 2000 and _delimiter(line):
        with path.open("rb") as file:
            whole = file.read(_MAX_HEADER).decode("utf-8-sig", errors="replace")
        found = layout_of(_cells(_first_line(whole)[0]))
    return found


def _numbers(path: Path, start: int) -> np.ndarray:
    """The bare numbers of a file: `[rows, columns]`."""
    text = read_text(path)
    line, _ = _first_line(text)
    delimiter = _delimiter(line)
    width = len(line.rstrip().removesuffix(delimiter or "").split(delimiter))
    return read_table(path, width, delimiter, text[:start].count("\n"))


def _columns(path: Path, text: str, line: str, layout: Layout) -> dict[str, np.ndarray]:
    """The columns of the layout: numbers as float64 (NaN where empty), names as text."""
    names, delimiter = _cells(line), _delimiter(line)
    if delimiter is None or len(set(names)) < len(names):
        twice = next((name for name in names if names.count(name) > 1), "")
        raise problem(path, "header", f"column {brief(twice)} twice", "each column once", "rename one")
    body = text[len(line) :].lstrip("\r\n")
    kinds: dict[str, pa.DataType] = {name: pa.float64() for name in layout.numbers}
    kinds.update({name: pa.string() for name in layout.texts})
    try:
        table = pa_csv.read_csv(
            io.BytesIO(body.encode()),
            pa_csv.ReadOptions(column_names=names, use_threads=False),
            pa_csv.ParseOptions(delimiter=delimiter),
            pa_csv.ConvertOptions(
                column_types=kinds,
                include_columns=list(kinds),
                null_values=_NULLS,
                strings_can_be_null=False,
                decimal_point="," if delimiter == ";" and "," in body[:10_000] else ".",
            ),
        )
    except (pa.ArrowException, OSError) as error:
        raise problem(
            path, "", brief(str(error), 200), "as many cells in each row as in the header, and numbers"
        ) from error
    texts = {name: np.array(table.column(name).to_pylist(), object) for name in layout.texts}
    return {**texts, **{name: table.column(name).to_numpy() for name in layout.numbers}}


def write(clip: Clip, path: Path) -> None:
    """A clip as a long table, one row per frame, person and joint; cells of what was not seen are empty.

    Positions are metres, +y up, with all digits of float32; rotations (if any) unit quaternions.

    Raises:
        FormatError: two joints have one name.
    """
    path.write_bytes(text_of(clip, path).encode())


def text_of(clip: Clip, path: Path) -> str:
    """What `write` writes."""
    names, turns = clip.topology.joint_names, clip.rotations
    out = io.StringIO()
    out.write(f"# {described(clip, path)}\n")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(_HEADER if turns is None else (*_HEADER, *_QUATERNION))
    parts = (clip.positions, clip.confidence[..., None]) if turns is None else _with(clip, turns)
    numbers = np.concatenate(parts, -1)
    seen = clip.confidence > 0
    for frame in range(clip.num_frames):
        for person in range(clip.num_persons):
            for joint, name in enumerate(names):
                cells = [f"{number:.9g}" for number in numbers[person, frame, joint].tolist()]
                if not seen[person, frame, joint]:
                    cells[:3] = ("", "", "")
                rows.writerow((frame, person, name, *cells))
    return out.getvalue()


def _with(clip: Clip, turns: np.ndarray) -> tuple[np.ndarray, ...]:
    return clip.positions, clip.confidence[..., None], turns


FORMAT = Format(
    "csv",
    (".csv", ".tsv", ".txt"),
    "CSV or TSV of joints (columns frame, joint, x, y, z, or nose_x, nose_y, ..., or bare numbers)",
    sniff,
    read,
    takes=TAKES,
)
