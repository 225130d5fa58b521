"""Folders that appear whole or not at all; what was there before stays until then."""

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from skeletonllm.errors import CheckpointError
from skeletonllm.plain import sync_folder

_HERE = -100  # AT_FDCWD
_EXCHANGE = 2  # RENAME_EXCHANGE


@contextmanager
def whole_folder(final: Path, ours: str) -> Iterator[Path]:
    """A temporary folder to write into; at the end it takes the place of `final`.

    On Linux the two change places in one step. Where the file system cannot do that, the former folder is renamed first,
    to `.NAME.former`, and removed when the new one is there.

    Args:
        final: where the folder shall be.
        ours: a file that marks a folder which may be replaced.

    Raises:
        CheckpointError: it cannot be written, or the place holds something else.
    """
    check_place(final, ours)
    final = final.resolve()
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        _sync(temporary)
        _put(temporary, final)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{final}: cannot be written ({error}); make room or choose another place; what was there is as it was"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_place(final: Path, ours: str) -> None:
    """Refuse a place that holds something which replacing it would lose.

    Raises:
        CheckpointError: it is a file, or a folder with things of another kind.
    """
    if final.exists() and not final.is_dir():
        raise CheckpointError(f"{final}: is a file; choose a folder that is not there yet")
    if final.is_dir() and not (final / ours).exists() and any(final.iterdir()):
        raise CheckpointError(f"{final}: holds other things (no {ours}); choose a folder that is not there yet")


def former_of(final: Path) -> Path:
    """Where a folder lies that was being replaced when the process was killed, on file systems that cannot exchange."""
    return final.resolve().with_name(f".{final.resolve().name}.former")


def _put(new: Path, final: Path) -> None:
    if not final.exists():
        new.rename(final)
    elif not _exchange(new, final):
        former = former_of(final)
        shutil.rmtree(former, ignore_errors=True)
        final.rename(former)
        try:
            new.rename(final)
        except OSError:
            former.rename(final)
            raise
        shutil.rmtree(former, ignore_errors=True)
    sync_folder(final.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where that cannot be done."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return rename is not None and rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0


def _sync(folder: Path) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_dir():
            sync_folder(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder)
