"""What `student.json` says: the configuration, where the backbone is, what is known of it, the hash of each file."""

import json
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from skeletonllm.errors import CheckpointError
from skeletonllm.model.about import About
from skeletonllm.model.config import StudentConfig
from skeletonllm.model.weights import damaged
from skeletonllm.model.whole import former_of
from skeletonllm.plain import digest, from_plain, sha256_of, to_plain

FORMAT_VERSION = 3
STUDENT = "student.json"
CARD = "README.md"
_SEAL = "sha256"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


@dataclass(frozen=True)
class Stored:
    """A student's folder without its weights.

    Args:
        config: what the student is made of.
        family: of its backbone, as transformers calls it.
        whole: whether the backbone's own weights are in the folder; else they are where `config.backbone.name` says.
        about: where it comes from.
        files: the SHA-256 of each file.
    """

    config: StudentConfig
    family: str
    whole: bool
    about: About
    files: dict[str, str] = field(default_factory=dict)


def write_stored(folder: Path, stored: Stored) -> None:
    """Write `student.json`; it ends in a hash of its own."""
    plain = {"format_version": FORMAT_VERSION, **to_plain(stored)}
    (folder / STUDENT).write_text(json.dumps({**plain, _SEAL: digest(plain)}, indent=2) + "\n")


def read_stored(folder: Path) -> Stored:
    """What a student's folder holds.

    Raises:
        CheckpointError: it is no student's folder, damaged, or of another version; says what to do.
    """
    path = folder / STUDENT
    try:
        plain = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"{folder}: {_what_it_is(folder)}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"cannot be read: {error}") from error
    seal = plain.pop(_SEAL, None) if isinstance(plain, dict) else None
    version = plain.pop("format_version", None) if isinstance(plain, dict) else None
    if isinstance(version, int) and version != FORMAT_VERSION and _is_sealed(plain, version, seal):
        raise CheckpointError(f"{path}: format {version}, this version reads {FORMAT_VERSION}; train it again")
    try:
        if seal != digest({"format_version": version, **plain}):
            raise damaged(path, "its bytes are not those that were written")
        return from_plain(Stored, plain, str(path))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not what this version of SkeletonLLM writes ({error}); use the version that wrote it, or train again"
        ) from error


def _is_sealed(plain: dict[str, Any], version: int, seal: Any) -> bool:
    """Versions 1 and 2 had no seal; of later ones a wrong seal means damage."""
    return version < 3 if seal is None else seal == digest({"format_version": version, **plain})


def hashes_of(folder: Path) -> dict[str, str]:
    """The hash of each file in a folder, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}


def check_file(folder: Path, stored: Stored, name: str) -> Path:
    """A file of a student's folder, once its bytes are the saved ones.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    expected, path = expected_hash(folder, stored, name), folder / name
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; copy it again, use an older checkpoint or train again")
    if sha256_of(path) != expected:
        raise damaged(path, "its bytes are not those that were saved")
    return path


def expected_hash(folder: Path, stored: Stored, name: str) -> str:
    """The hash that a file was saved with.

    Raises:
        CheckpointError: the folder never had it, or the name leads out of it.
    """
    place = PurePosixPath(name)
    if name not in stored.files or place.is_absolute() or ".." in place.parts:
        raise CheckpointError(f"{folder / STUDENT}: names no file {name!r}; it is no whole student, so train it again")
    return stored.files[name]


def _what_it_is(folder: Path) -> str:
    """Why there is no `student.json`, and what to give instead."""
    if not folder.exists():
        former = former_of(folder)
        kept = f"; it was being replaced when a save was killed, the former one is {former}" if former.exists() else ""
        return f"cannot be read: no such folder{kept}; give a folder that training or `save_pretrained` wrote"
    if not folder.is_dir():
        return "a file, not a folder; give a folder that training or `save_pretrained` wrote"
    inner = sorted(folder.glob("checkpoints/step_*")) or sorted(folder.glob("step_*"))
    if inner:
        return f"a training run, not a student; give a checkpoint of it, such as {inner[-1]}"
    if (folder / "config.json").exists():
        return (
            "a plain transformers model, not a student; name it in `backbone.name` of a recipe to train a student on it, "
            "or give the student that it was exported from"
        )
    if any(path for pattern in _PICKLES for path in folder.glob(pattern)):
        return "holds pickled weights, which are never read; give a folder with student.json and safetensors"
    return (
        f"no {STUDENT}, so it is no student; it cannot be read; give a folder that training or `save_pretrained` wrote"
    )
