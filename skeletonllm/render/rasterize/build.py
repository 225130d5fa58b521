"""The fast kernel as a shared library: compiled at first use, for this processor, and kept."""

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from skeletonllm.errors import BackendError

_FOLDER = Path(__file__).parent
_SOURCES = ("splat.cpp", "tiles.h", "lists.h", "lanes.h")
# Products and sums are fused where the source says so and nowhere else: both passes must round alike.
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math")
_LINK = ("-shared", "-fPIC", "-pthread")
_REMEDY = "install one (`apt-get install g++`), name it in $CXX, or set render.backend to 'reference', which is slow"


@functools.cache
def load_kernel() -> ctypes.CDLL:
    """The compiled kernel; compiling takes some seconds, once for this source, compiler and processor.

    Raises:
        BackendError: there is no C++ compiler, or it fails.
    """
    path = compile_kernel()
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendError(
            f"rasteriser 'cpu': {path} cannot be loaded ({error}); remove it to compile it anew"
        ) from error


def compile_kernel() -> Path:
    """Where the library lies, compiled if it was not. Several processes may do this at once."""
    command = [*find_compiler(), *_FLAGS, _native_flag(), *_LINK]
    target = cache_folder() / f"splat-{_fingerprint(command)}.so"
    if target.exists():
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            made = Path(folder) / target.name
            done = subprocess.run(
                [*command, str(_FOLDER / _SOURCES[0]), "-o", str(made)], capture_output=True, text=True, check=False
            )
            if done.returncode:
                told = done.stderr.strip()[-2000:]
                raise BackendError(f"rasteriser 'cpu': the compiler {command[0]} failed; {_REMEDY}. It said:\n{told}")
            made.replace(target)
    except OSError as error:
        raise BackendError(
            f"rasteriser 'cpu': the kernel cannot be compiled into {target.parent} ({error}); "
            "name a folder that can be written in $XDG_CACHE_HOME"
        ) from error
    return target


def find_compiler() -> list[str]:
    """The C++ compiler's command: $CXX, else g++, clang++ or c++ from the path.

    Raises:
        BackendError: none is there.
    """
    chosen = shlex.split(os.environ.get("CXX", ""))
    if chosen and not shutil.which(chosen[0]):
        raise BackendError(f"rasteriser 'cpu': $CXX is {shlex.join(chosen)!r}, which is not there; {_REMEDY}")
    found = [[path] for name in ("g++", "clang++", "c++") if (path := shutil.which(name))]
    for command in ([chosen] if chosen else found)[:1]:
        return command
    raise BackendError(f"rasteriser 'cpu': no C++ compiler is on the path; {_REMEDY}")


def cache_folder() -> Path:
    """`skeletonllm` in $XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "skeletonllm"


def _native_flag() -> str:
    return "-march=native" if platform.machine().lower() in ("x86_64", "amd64") else "-mcpu=native"


def _fingerprint(command: list[str]) -> str:
    """Of all that decides what the library holds: a home folder may be shared by machines that differ."""
    parts = [(_FOLDER / name).read_bytes() for name in _SOURCES]
    compiler = Path(shutil.which(command[0]) or command[0]).resolve()
    parts += [shlex.join(command).encode(), str(compiler).encode(), _processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    """What the processor can do, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    known = [line for line in lines if line.startswith(("flags", "Features", "model name", "CPU part"))]
    return "\n".join([platform.machine(), platform.processor(), *sorted(set(known))])
