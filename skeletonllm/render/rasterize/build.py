"""The kernel's shared library, compiled at first use for this machine's processor and kept in the user's cache."""

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

from skeletonllm.errors import BackendError

_SOURCE = Path(__file__).with_name("splat.cpp")
# No -ffast-math: what is not a number must stay so. The kernel never reads errno and never traps.
_FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-pthread", "-fno-math-errno", "-fno-trapping-math")
_COMPILERS = ("c++", "g++", "clang++")


@functools.cache
def load_kernel() -> ctypes.CDLL:
    """The library, built if this source has not been built for this processor yet.

    Raises:
        BackendError: there is no compiler, it fails, or the cache cannot be written.
    """
    compiler = _compiler()
    flags = (*_FLAGS, "-mcpu=native" if platform.machine() in ("aarch64", "arm64") else "-march=native")
    key = hashlib.sha256("\0".join((_SOURCE.read_text(), compiler, *flags, _processor())).encode()).hexdigest()[:16]
    path = cache_folder() / f"splat-{key}.so"
    if not path.exists():
        _build(compiler, flags, path)
    return ctypes.CDLL(str(path))


def cache_folder() -> Path:
    """Where built libraries are kept: `skeletonllm` in XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skeletonllm"


def _compiler() -> str:
    wanted = os.environ.get("CXX")
    for name in (wanted,) if wanted else _COMPILERS:
        found = shutil.which(name)
        if found:
            return found
    looked_for = f"CXX={wanted}" if wanted else ", ".join(_COMPILERS)
    raise BackendError(
        f"rasteriser 'cpu' needs a C++17 compiler and found none ({looked_for}); install g++ or clang++, or set "
        "render.backend to 'reference', which is slower and needs none"
    )


def _build(compiler: str, flags: tuple[str, ...], path: Path) -> None:
    """Compile to a name of its own, then rename: others may be building the same."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        os.close(handle)
        command = [compiler, *flags, "-o", temporary, str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BackendError(
                f"rasteriser 'cpu' cannot be built: {' '.join(command)} says\n{done.stderr.strip()[-2000:]}\n"
                "set CXX to another compiler, or render.backend to 'reference'"
            )
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise BackendError(
            f"rasteriser 'cpu' cannot be built in {path.parent} ({error}); set XDG_CACHE_HOME to a folder that can be "
            "written, or render.backend to 'reference'"
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _processor() -> str:
    """What tells processors apart that need other machine code: a cache may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
