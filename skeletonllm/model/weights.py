"""Weights in safetensors files: read once, checked while they are read, and never unpickled."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from skeletonllm.errors import CheckpointError
from skeletonllm.plain import sha256_of

_LENGTH_BYTES = 8
_ALIGNED_BYTES = 64  # as torch allocates on a CPU


def write_weights(path: Path, weights: Mapping[str, Tensor]) -> None:
    """One file of named weights."""
    plain = {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}
    save_file(plain, path, metadata={"format": "pt"})


def read_weights(path: Path, weights: Mapping[str, Tensor], sha256: str) -> None:
    """Fill weights from a file that is mapped into memory; each byte is read once, and hashed on its way.

    Args:
        path: the file.
        weights: what it must hold, by name; they are overwritten.
        sha256: of the whole file, as it was saved.

    Raises:
        CheckpointError: the file is missing, damaged, or holds other weights.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: missing; copy it again, use an older checkpoint or train again")
    try:
        header = _header(path)
        with safe_open(path, "pt") as file, torch.no_grad():
            names = _in_order(header)
            _check_names(path, set(names), weights, sha256)
            digest = hashlib.sha256(header)
            for name in names:
                stored = file.get_tensor(name)
                _check_kind(path, name, stored, weights[name], sha256)
                digest.update(stored.reshape(-1).view(torch.uint8).numpy())
                weights[name].copy_(stored)
    except (OSError, ValueError, SafetensorError) as error:
        raise damaged(path, str(error)) from error
    if digest.hexdigest() != sha256:
        raise damaged(path, "its bytes are not those that were saved with this student")


def damaged(path: Path, why: str) -> CheckpointError:
    """The error for a file whose bytes are not the saved ones."""
    return CheckpointError(f"{path}: damaged, or not its own ({why}); copy it again, use an older one or train again")


def _header(path: Path) -> bytes:
    """All that stands before the numbers."""
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or length > path.stat().st_size - _LENGTH_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, too few")
        return start + file.read(length)


def _in_order(header: bytes) -> list[str]:
    """The names as their numbers follow one another."""
    entries = json.loads(header[_LENGTH_BYTES:])
    entries.pop("__metadata__", None)
    return sorted(entries, key=lambda name: (entries[name]["data_offsets"], name))


def _check_names(path: Path, stored: set[str], weights: Mapping[str, Tensor], sha256: str) -> None:
    if stored != weights.keys():
        differing = ", ".join(sorted(stored ^ weights.keys())[:3])
        raise _other(path, f"has other weights than this student, for example {differing}", sha256)


def _check_kind(path: Path, name: str, stored: Tensor, weight: Tensor, sha256: str) -> None:
    if stored.shape != weight.shape:
        raise _other(path, f"{name} has shape {tuple(stored.shape)}, must be {tuple(weight.shape)}", sha256)


def _other(path: Path, why: str, sha256: str) -> CheckpointError:
    """For weights that do not fit: a damaged file, or a whole one of another model."""
    if sha256_of(path) != sha256:
        return damaged(path, why)
    return CheckpointError(f"{path}: {why}; it belongs to another backbone or version, so load it with that one")


def settle(model: torch.nn.Module) -> None:
    """Copy weights that are still views of a mapped file: where these begin in memory changes the last bits of products,
    and the file may change underneath.
    """
    for weight in model.parameters():
        if weight.data_ptr() % _ALIGNED_BYTES:
            weight.data = weight.data.clone()
