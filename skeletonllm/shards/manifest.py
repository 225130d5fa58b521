"""What a data set is: the manifest that makes a folder of shards a data set, and the fingerprint that names it."""

import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from skeletonllm.errors import ConfigError, ShardError
from skeletonllm.plain import digest, from_plain, to_plain
from skeletonllm.shards.storage import Location, RemotePath, locate, write

MANIFEST = "manifest.json"
# In an object store: the folder, by its name, that was asked for last. Locally, the manifest's time says so.
_LATEST = "latest"
_SEAL = "sha256"
_SHORT = 12
Place = TypeVar("Place", Path, RemotePath, Location)


@dataclass(frozen=True)
class DatasetRef:
    """A data set by name, place and fingerprint: all that travels between flows and tasks."""

    name: str
    path: str
    fingerprint: str


@dataclass(frozen=True)
class CheckpointRef:
    """A checkpoint by name, place and fingerprint."""

    name: str
    path: str
    fingerprint: str


@dataclass(frozen=True)
class ShardEntry:
    """One shard as it lies on disk."""

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a data set is made of and was made from."""

    name: str
    schema: str
    schema_version: int
    pipeline: str
    version: int
    config: dict[str, Any]
    inputs: list[str]
    fingerprint: str
    shards: list[ShardEntry]
    rejected: list[ShardEntry] = field(default_factory=list)
    statistics: dict[str, Any] = field(default_factory=dict)
    code_version: str = ""
    created_at: str = ""
    built_s: float = 0.0
    """Of the run that finished it, seconds; what earlier, killed runs did is not in it."""

    @property
    def num_rows(self) -> int:
        """Rows of all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def num_rejected(self) -> int:
        """Inputs that were rejected, with their reasons in the `rejected-*.arrow` files."""
        return sum(shard.rows for shard in self.rejected)


def fingerprint_of(pipeline: str, version: int, config: Any, inputs: list[str]) -> str:
    """The name of a pipeline's output: a hash of its name, version, configuration and inputs' fingerprints."""
    return digest({"pipeline": pipeline, "version": version, "config": to_plain(config), "inputs": inputs})


def dataset_folder(root: Place, name: str, fingerprint: str) -> Place:
    """Where a data set lies: `root/name/<first 12 digits of its fingerprint>`."""
    return root / name / fingerprint[:_SHORT]


def write_manifest(folder: Location, manifest: Manifest) -> DatasetRef:
    """Write the manifest, last of all: from now on the folder is a data set.

    Raises:
        ShardError: the disk is full, the store cannot be reached, or it may not be written to.
    """
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    dataset = DatasetRef(manifest.name, str(folder), manifest.fingerprint)
    try:
        write(folder / MANIFEST, _sealed({**to_plain(manifest), "created_at": created}))
        touch_dataset(dataset)
    except OSError as error:
        raise ShardError(
            f"{folder / MANIFEST}: cannot be written ({error}); free space or choose another folder, then run again"
        ) from error
    return dataset


def touch_dataset(dataset: DatasetRef) -> None:
    """Make it the one of its name that was asked for last, which `find_dataset` gives."""
    folder = locate(dataset.path)
    if isinstance(folder, RemotePath):
        write(folder.parent / _LATEST, folder.name.encode())
    else:
        (folder / MANIFEST).touch()


def read_manifest(folder: Location | str) -> Manifest:
    """The manifest of a data set.

    Raises:
        ShardError: there is none, so the folder is no data set; or it is damaged, or of another version.
    """
    path = locate(folder) / MANIFEST
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ShardError(
            f"{path.parent}: no {MANIFEST}, so this is no finished data set; run the pipeline that builds it (again)"
        ) from None
    except OSError as error:
        raise ShardError(f"{path}: cannot be read ({error}); try again, or run its pipeline again") from error
    plain = _unsealed(path, data)
    try:
        return from_plain(Manifest, plain, str(path))
    except ConfigError as error:
        raise ShardError(
            f"{error}; it was written by another version of SkeletonLLM; run its pipeline again"
        ) from error


def find_dataset(root: Location | str, name: str, fingerprint: str | None = None) -> DatasetRef | None:
    """The data set `name` with this fingerprint, or the one that was asked for last; None where there is none."""
    root = locate(root)
    if fingerprint is not None:
        folder = dataset_folder(root, name, fingerprint)
        return DatasetRef(name, str(folder), fingerprint) if (folder / MANIFEST).exists() else None
    folder = _asked_for_last(root / name)
    return None if folder is None else DatasetRef(name, str(folder), read_manifest(folder).fingerprint)


def _asked_for_last(place: Location) -> Location | None:
    if isinstance(place, RemotePath) and (place / _LATEST).exists():
        latest = place / (place / _LATEST).read_bytes().decode(errors="replace")
        if (latest / MANIFEST).exists():
            return latest
    found = [(path.stat().st_mtime_ns, path.parent.name, path.parent) for path in place.glob(f"*/{MANIFEST}")]
    return max(found, key=lambda one: one[:2])[2] if found else None


def _sealed(plain: dict[str, Any]) -> bytes:
    """A manifest's bytes: JSON that ends in its own hash."""
    return (json.dumps({**plain, _SEAL: digest(plain)}, indent=2, ensure_ascii=False) + "\n").encode()


def _unsealed(path: Location, data: bytes) -> dict[str, Any]:
    """What was sealed, if not a byte has changed since."""
    try:
        plain = json.loads(data)
        seal = plain.pop(_SEAL)
        whole = _sealed(plain) == data
    except (ValueError, RecursionError) as error:
        raise ShardError(f"{path}: not JSON ({error}); delete the folder and run the pipeline again") from None
    except (AttributeError, TypeError, KeyError):
        raise ShardError(
            f"{path}: no hash of its own, so it is damaged or of an older version; run its pipeline again"
        ) from None
    if not whole:
        raise ShardError(
            f"{path}: its bytes are not those that were written (its own sha256 is {str(seal)[:12]}…); delete the folder "
            "and run the pipeline again"
        )
    return plain
