"""What a data set is: the manifest that makes a folder of shards a data set, and the fingerprint that names it."""

import datetime
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skeletonllm.errors import ShardError
from skeletonllm.plain import digest, from_plain, to_plain, write_whole

MANIFEST = "manifest.json"
_SHORT = 12


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


def dataset_folder(root: Path, name: str, fingerprint: str) -> Path:
    """Where a data set lies: `root/name/<first 12 digits of its fingerprint>`."""
    return root / name / fingerprint[:_SHORT]


def write_manifest(folder: Path, manifest: Manifest) -> DatasetRef:
    """Write the manifest, last of all: from now on the folder is a data set."""
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    plain = {**to_plain(manifest), "created_at": created}
    write_whole(folder / MANIFEST, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    return DatasetRef(manifest.name, str(folder), manifest.fingerprint)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a data set.

    Raises:
        ShardError: there is none, so the folder is no data set; or it is damaged.
    """
    path = folder / MANIFEST
    try:
        plain = json.loads(path.read_text())
    except FileNotFoundError:
        raise ShardError(
            f"{folder}: no {MANIFEST}, so this is no finished data set; run the pipeline that builds it (again)"
        ) from None
    except json.JSONDecodeError as error:
        raise ShardError(f"{path}: not JSON ({error}); delete the folder and run the pipeline again") from None
    return from_plain(Manifest, plain, str(path))


def find_dataset(root: Path, name: str, fingerprint: str | None = None) -> DatasetRef | None:
    """The data set `name` with this fingerprint, or the one that was asked for last; None where there is none."""
    if fingerprint is not None:
        folder = dataset_folder(root, name, fingerprint)
        return DatasetRef(name, str(folder), fingerprint) if (folder / MANIFEST).exists() else None
    found = list((root / name).glob(f"*/{MANIFEST}"))
    if not found:
        return None
    newest = max(found, key=lambda path: (path.stat().st_mtime_ns, path.parent.name))
    manifest = read_manifest(newest.parent)
    return DatasetRef(name, str(newest.parent), manifest.fingerprint)
