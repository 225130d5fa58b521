"""Parquet files of joints: long or wide tables (see `plain_table`), a list per joint, or one list of positions per frame.

Ours are long tables with the description of the clip in the schema's metadata.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, problem
from skeletonllm.skeleton.formats.described import KEY, described, told_by
from skeletonllm.skeleton.formats.plain import TAKES, Motion, clip_of, motion_of_array
from skeletonllm.skeleton.formats.plain_numpy import POSITIONS
from skeletonllm.skeleton.formats.plain_table import Layout, columns_of_role, layout_of, motions_of_table

_MAGIC = b"PAR1"
_MAX_RATIO = 64  # numbers for a byte of the file; many equal rows pack well
_SMALL = 1 << 20
_THRIFT_BYTES = 16 << 20
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError)
_AXES = ("x", "y", "z", "confidence")


def sniff(path: Path, head: bytes) -> bool:
    """A Parquet file with columns of joints."""
    if not head.startswith(_MAGIC):
        return False
    try:
        schema = _open(path).schema_arrow
        return _position_list(schema) is not None or layout_of(_wide_names(schema)) is not None
    except (FormatError, *_ERRORS):
        return False


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clips of one file.

    Raises:
        FormatError: it is damaged, too large, its columns are no joints, or something must be declared.
    """
    file = _open(path)
    schema = file.schema_arrow
    told = None
    if schema.metadata and KEY.encode() in schema.metadata:
        told = told_by(path, "metadata", schema.metadata[KEY.encode()].decode(errors="replace"))
    listed, layout = _position_list(schema), layout_of(_wide_names(schema))
    if layout is not None:
        columns = _columns(path, _table(path, file, _sources(schema, layout)), layout)
        motions = motions_of_table(path, layout, columns, told)
    elif listed is not None:
        motions = [_listed(path, file, listed, declared)]
    else:
        raise problem(
            path, "columns", brief(schema.names, 200), "frame, joint, x, y, z or nose_x, nose_y, ...", "rename them"
        )
    return [clip_of(path, FORMAT.name, motion, declared) for motion in motions]


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(
            path, thrift_string_size_limit=_THRIFT_BYTES, thrift_container_size_limit=_THRIFT_BYTES // 16
        )
    except _ERRORS as error:
        raise problem(path, "", brief(str(error), 120), "a Parquet file") from error


def _table(path: Path, file: pq.ParquetFile, names: list[str]) -> pa.Table:
    """Some columns, after their size has been checked."""
    rows, allowed = file.metadata.num_rows, max(_SMALL, _MAX_RATIO * path.stat().st_size)
    if not 0 < rows * len(names) <= min(MAX_NUMBERS, allowed):
        raise problem(path, "metadata", f"{rows} rows of {len(names)} columns", f"1 to {allowed} numbers")
    unpacked = sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))
    if not 0 <= unpacked <= 8 * allowed:
        raise problem(path, "metadata", f"{unpacked} bytes unpacked", f"at most {8 * allowed}", "split the file")
    try:
        table = file.read(names, use_threads=False)
    except _ERRORS as error:
        raise problem(path, "", brief(str(error), 120), "whole columns") from error
    return table


def _is_list(kind: pa.DataType) -> bool:
    return any(test(kind) for test in _LISTS)


def _position_list(schema: pa.Schema) -> str | None:
    """The column that holds all positions of a frame."""
    return next((name for name in POSITIONS if name in schema.names and _is_list(schema.field(name).type)), None)


def _wide_names(schema: pa.Schema) -> list[str]:
    """The names of the columns; a joint that is a list has a name for each of its numbers."""
    names: list[str] = []
    for field in schema:
        if _is_list(field.type):
            count = field.type.list_size if pa.types.is_fixed_size_list(field.type) else 3
            names += [f"{field.name}_{axis}" for axis in _AXES[: min(count, 4)]]
        else:
            names.append(field.name)
    return names


def _sources(schema: pa.Schema, layout: Layout) -> list[str]:
    """The file's own columns that a layout needs."""
    wanted = {*layout.numbers, *layout.texts}
    lists = [field.name for field in schema if _is_list(field.type) and f"{field.name}_x" in wanted]
    return [name for name in schema.names if name in wanted or name in lists]


def _columns(path: Path, table: pa.Table, layout: Layout) -> dict[str, np.ndarray]:
    """The columns of the layout: numbers as float64 (NaN where null), names as text."""
    columns: dict[str, np.ndarray] = {}
    texts = set(layout.texts)
    for name in table.column_names:
        column = table.column(name)
        if _is_list(column.type):
            values = _unnested(path, name, column)
            for number, axis in enumerate(_AXES[: values.shape[-1]]):
                columns[f"{name}_{axis}"] = values[..., number]
        elif name in texts:
            columns[name] = np.array(_cast(path, name, column, pa.string()).to_pylist(), object)
        else:
            columns[name] = _cast(path, name, column, pa.float64()).to_numpy()
    lacking = [name for name in layout.numbers if name not in columns]
    if lacking:
        raise problem(path, f"column {brief(lacking[0][:-2])}", "lists of other lengths", "2 to 4 numbers in each", "")
    return columns


def _cast(path: Path, name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return pc.cast(column, kind)
    except _ERRORS as error:
        raise problem(path, f"column {brief(name)}", f"{column.type} ({brief(str(error))})", str(kind)) from error


def _unnested(path: Path, name: str, column: pa.ChunkedArray) -> np.ndarray:
    """A column of lists (of lists) of equal lengths as an array `[rows, ..., numbers]`."""
    where = f"column {brief(name)}"
    try:
        values: Any = column.combine_chunks()
        shape = [len(values)]
        while _is_list(values.type):
            lengths = pc.call_function("min_max", [pc.call_function("list_value_length", [values])])
            low, high = lengths["min"].as_py(), lengths["max"].as_py()
            if values.null_count or low != high or not low:
                raise problem(path, where, f"lists of {low} to {high}, {values.null_count} null", "lists of one length")
            shape.append(high)
            values = values.flatten()
        numbers = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
        return numbers.reshape(shape)
    except FormatError:
        raise
    except _ERRORS as error:
        raise problem(path, where, f"{column.type} ({brief(str(error))})", "lists of numbers") from error


def _listed(path: Path, file: pq.ParquetFile, name: str, declared: Declared) -> Motion:
    """The motion of a column that has one list of positions per frame."""
    several = [column for role in ("clip", "person") for column in columns_of_role(file.schema_arrow.names, role)]
    if several:
        remedy = "give each joint its own column, or each clip its own file"
        raise problem(
            path, f"column {brief(several[0])}", "several clips or persons", "one beside lists of positions", remedy
        )
    array = _unnested(path, name, _table(path, file, [name]).column(0))
    return motion_of_array(path, f"column {name}", array, declared.topology)


def write(clip: Clip, path: Path) -> None:
    """A clip as a long table, one row per frame, person and joint; metres, +y up; null where a joint was not seen.

    Raises:
        FormatError: two joints have one name.
    """
    persons, frames, joints = clip.confidence.shape
    person, frame, joint = (axis.transpose(1, 0, 2).ravel() for axis in np.indices((persons, frames, joints), np.int32))

    def column(values: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
        return pa.array(values.transpose(1, 0, 2).ravel(), pa.float32(), mask=mask)

    unseen = (clip.confidence <= 0).transpose(1, 0, 2).ravel()
    columns: dict[str, pa.Array] = {
        "frame": pa.array(frame),
        "person": pa.array(person),
        "joint": pa.array(clip.topology.joint_names).take(pa.array(joint)),
        **{axis: column(clip.positions[..., number], unseen) for number, axis in enumerate("xyz")},
        "confidence": column(clip.confidence),
    }
    if clip.rotations is not None:
        for number, axis in enumerate(("qw", "qx", "qy", "qz")):
            columns[axis] = column(clip.rotations[..., number])
    table = pa.table(columns).replace_schema_metadata({KEY: described(clip, path)})
    pq.write_table(table, path, compression="zstd")


FORMAT = Format(
    "parquet",
    (".parquet", ".pq"),
    "Parquet table of joints (columns frame, joint, x, y, z, or nose_x, nose_y, ..., or lists)",
    sniff,
    read,
    takes=TAKES,
)
