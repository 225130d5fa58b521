"""Dataclasses to plain values and back, strictly; canonical JSON, which fingerprints are made of; whole files."""

import functools
import hashlib
import json
import os
import uuid
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import ForbiddenExtraKeysError

from skeletonllm.errors import ConfigError

T = TypeVar("T")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no blanks: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON of a plain value, in hex."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as dictionaries, lists and strings."""
    converter = cattrs.Converter(unstruct_collection_overrides={tuple: list})
    converter.register_unstructure_hook(float, float)  # a 1 in a field of type float is 1.0: one value, one digest
    return converter.unstructure(value)


def from_plain(kind: type[T], value: Any, where: str) -> T:
    """A `kind` from plain values: no unknown key, no number from a text.

    Raises:
        ConfigError: says where and which key or value.
    """
    try:
        return _strict_converter().structure(value, kind)
    except Exception as error:  # cattrs raises groups of whatever its hooks raise
        raise ConfigError(f"{where}: not a {kind.__name__}: {'; '.join(_reasons(error))}") from error


def _reasons(error: BaseException) -> list[str]:
    if isinstance(error, ForbiddenExtraKeysError):
        return [f"unknown keys {sorted(error.extra_fields)} in {error.cl.__name__}"]
    if isinstance(error, BaseExceptionGroup):
        return [reason for part in error.exceptions for reason in _reasons(part)]
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    return [" ".join([str(error) or type(error).__name__, *notes])]


def _strict_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True)

    for kind, allowed in ((int, (int,)), (float, (int, float)), (str, (str,)), (bool, (bool,))):
        converter.register_structure_hook(kind, functools.partial(_exactly, kind, allowed))
    return converter


def _exactly(kind: type, allowed: tuple[type, ...], value: Any, _: type) -> Any:
    """The value as it is: cattrs would make a number of the text "12"."""
    if not isinstance(value, allowed) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{value!r} is not a {kind.__name__}")
    return kind(value)


def temporary_beside(path: Path) -> Path:
    """A name in the same folder that no other process takes; processes of two machines may have the same number."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file so that it appears whole or not at all, also after a power cut: temporary name, flush, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the renames inside a folder last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
