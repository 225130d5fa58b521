"""What `skeletonllm doctor` looks at. Each check is a function that says what it found and what to do about it."""

import datetime
import email.utils
import os
import resource
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from skeletonllm.errors import BackendError, ConfigError

if TYPE_CHECKING:
    from pipelines.settings import Settings

_GIB = 2**30
_ANSWER_S = 5.0
_PREFECT_PORT = 4200
_DISK = (1 * _GIB, 10 * _GIB)
_SHARED_MEMORY = 1 * _GIB
_FILES = (1024, 4096)
_CLOCK_S = 30.0
_SHARED_MEMORY_AT = Path("/dev/shm")
_DRIVER_AT = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, whether it is well, what was found, and what to do where it is not."""

    what: str
    level: Literal["ok", "warning", "fault"]
    found: str
    advice: str = ""


def check_all(workdir: Path, online: bool = False) -> list[Finding]:
    """Every check, in the order in which people mend things. None of them changes anything."""
    findings = [*packages(), *settings_of(online), shared_memory(), open_files(), disk(workdir), *gpus(), compiler()]
    return [*findings, threads(), clock()]


def packages() -> Iterator[Finding]:
    """Whether what is installed is what pyproject.toml allows."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requires("skeletonllm") or ()]
    wanted = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = 0
    for one in wanted:
        try:
            found = version(one.name)
        except PackageNotFoundError:
            found = ""
        if not found or not one.specifier.contains(found, prereleases=True):
            wrong += 1
            said = f"{one.name} {found or 'is not installed'}, must be {one.specifier or 'any'}"
            yield Finding("packages", "fault", said, f"pip install '{one.name}{one.specifier}'")
    if not wrong:
        yield Finding("packages", "ok", f"{len(wanted)} as pyproject.toml wants them")


def settings_of(online: bool) -> Iterator[Finding]:
    """Prefect, Ray and the teacher, as the environment names them."""
    from pipelines.settings import read_settings

    yield prefect_api(os.environ.get("PREFECT_API_URL", "").strip())
    try:
        settings = read_settings()
    except ConfigError as error:
        yield Finding("settings", "fault", str(error), "mend what it names, then run this again")
        return
    yield from ray(settings)
    yield from teacher(settings, online)


def prefect_api(url: str) -> Finding:
    """Whether the Prefect API answers; without one, whether its port is somebody's."""
    if not url:
        if not _is_open("127.0.0.1", _PREFECT_PORT):
            return Finding(
                "prefect", "ok", f"no API is named, each command starts its own; port {_PREFECT_PORT} is free"
            )
        return Finding(
            "prefect",
            "warning",
            f"no API is named, but something listens on port {_PREFECT_PORT}",
            f"if it is Prefect's server: export PREFECT_API_URL=http://127.0.0.1:{_PREFECT_PORT}/api",
        )
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=_ANSWER_S) as answer:
            late_s = _clock_difference_s(answer.headers.get("Date"))
    except (OSError, ValueError) as error:
        return Finding(
            "prefect",
            "fault",
            f"the API at {_shown(url)} does not answer ({_why(error)})",
            "start it (`prefect server start`), or unset PREFECT_API_URL",
        )
    if abs(late_s) > _CLOCK_S:
        return Finding(
            "prefect",
            "warning",
            f"the clocks of this machine and of the API at {_shown(url)} are {abs(late_s):.0f} s apart",
            "synchronise them (NTP): schedules and heartbeats go by them",
        )
    return Finding("prefect", "ok", f"the API at {_shown(url)} answers")


def ray(settings: "Settings") -> Iterator[Finding]:
    """Whether the Ray cluster that is named may be joined, and whether it is there."""
    from pipelines.cluster import check_cluster

    address = settings.ray_address
    if not address:
        yield Finding("ray", "ok", "no cluster is named, each command starts its own")
    else:
        try:
            check_cluster(settings)
        except ConfigError as error:
            yield Finding("ray", "fault", str(error))
            return
        parts = urlsplit(address if "//" in address else f"//{address}")
        if parts.port is None:
            yield Finding("ray", "ok", f"cluster {address}")
        elif _is_open(parts.hostname or "", parts.port):
            yield Finding("ray", "ok", f"cluster {address} answers")
        else:
            advice = "start it (`ray start --head`), or unset RAY_ADDRESS"
            yield Finding("ray", "fault", f"cluster {address} does not answer", advice)
    if settings.ray_has_token:
        yield _ray_token(os.environ.get("RAY_AUTH_TOKEN", ""), os.environ.get("RAY_AUTH_TOKEN_PATH", ""))


def _ray_token(token: str, path: str) -> Finding:
    file = Path(path) if path else Path.home() / ".ray" / "auth_token"
    if token:
        return Finding("ray token", "ok", "RAY_AUTH_TOKEN is set")
    try:
        is_there = bool(file.read_text().strip())
    except (OSError, ValueError):
        is_there = False
    if is_there:
        return Finding("ray token", "ok", f"in {file}")
    return Finding(
        "ray token",
        "fault",
        f"RAY_AUTH_MODE is token, but {file} holds none",
        "copy the cluster's token there, or make one: `ray get-auth-token --generate`",
    )


def teacher(settings: "Settings", online: bool) -> Iterator[Finding]:
    """Whether the teacher has what it needs."""
    if not settings.teacher_model:
        yield Finding("teacher", "ok", "kinematic (offline)")
        return
    url = settings.teacher_url or "https://api.openai.com/v1"
    host = urlsplit(url).hostname or ""
    if not settings.teacher_key and host not in ("localhost", "127.0.0.1", "::1"):
        advice = "set OPENAI_API_KEY, or unset SKELETONLLM_TEACHER_MODEL for the offline teacher"
        yield Finding("teacher", "fault", f"{settings.teacher_model} at {url}: no key", advice)
    else:
        has = "with a key" if settings.teacher_key else "on this machine, without a key"
        yield Finding("teacher", "ok", f"{settings.teacher_model} at {url}, {has}")
    if online:
        yield _answers(url)


def _answers(url: str) -> Finding:
    """Whether anybody answers there; without the key, so that a refusal counts as an answer."""
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/models", timeout=_ANSWER_S).close()
    except urllib.error.HTTPError as error:
        return Finding("teacher online", "ok", f"{url} answers ({error.code} to a question without a key)")
    except (OSError, ValueError) as error:
        advice = "is the server running, the address right, a proxy needed?"
        return Finding("teacher online", "fault", f"{url} does not answer ({_why(error)})", advice)
    return Finding("teacher online", "ok", f"{url} answers")


def shared_memory() -> Finding:
    """Whether Ray's object store and NCCL have room."""
    try:
        size = shutil.disk_usage(_SHARED_MEMORY_AT).total
    except OSError:
        return Finding(
            "shared memory", "warning", f"{_SHARED_MEMORY_AT} is not there", "Ray uses a disk instead, slowly"
        )
    if size < _SHARED_MEMORY:
        return Finding(
            "shared memory",
            "warning",
            f"{size / _GIB:.2f} GiB; Ray keeps objects there, and several GPUs speak through it",
            "a container: --shm-size=4g; Kubernetes: an emptyDir of medium Memory at /dev/shm",
        )
    return Finding("shared memory", "ok", f"{size / _GIB:.1f} GiB")


def open_files() -> Finding:
    """Whether many files and connections may be open at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    told = "no limit" if soft == resource.RLIM_INFINITY else str(soft)
    few, enough = _FILES
    if soft == resource.RLIM_INFINITY or soft >= enough:
        return Finding("open files", "ok", told)
    advice = f"ulimit -n {enough}"
    if hard != resource.RLIM_INFINITY and hard < enough:
        advice = f"raise the hard limit, {hard}: limits.conf, LimitNOFILE= of the service, --ulimit of the container"
    return Finding("open files", "fault" if soft < few else "warning", f"{told} at most, {enough} are enough", advice)


def disk(workdir: Path) -> Finding:
    """Whether the work folder's disk has room."""
    place = next(path for path in (workdir.absolute(), *workdir.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    none, little = _DISK
    said = f"{free / _GIB:.1f} GiB free at {place}"
    if free >= little:
        return Finding("disk", "ok", said)
    return Finding("disk", "fault" if free < none else "warning", said, "make room, or choose another --workdir")


def gpus() -> Iterator[Finding]:
    """Whether torch can use the GPUs that are there."""
    import torch

    from skeletonllm.cli.machine import gpu_names

    names, built = gpu_names(), torch.version.cuda
    if names:
        yield Finding("gpus", "ok", f"{', '.join(names)}; torch for CUDA {built}")
        if shutil.which("nvcc") is None:
            advice = "install the CUDA toolkit of that version, for gsplat is compiled at first use"
            yield Finding("gpus", "warning", f"no nvcc for CUDA {built}", advice)
    elif not _DRIVER_AT.exists():
        yield Finding("gpus", "ok", "none")
    elif built is None:
        yield Finding("gpus", "warning", "a GPU is here, but torch is built without CUDA", "install torch for CUDA")
    else:
        driver = _DRIVER_AT.read_text().splitlines()[0]
        advice = "install a newer driver, or a torch for an older CUDA"
        yield Finding("gpus", "fault", f"torch for CUDA {built} cannot use the GPU of this driver: {driver}", advice)


def compiler() -> Finding:
    """Whether the rasteriser for CPUs can be compiled."""
    from skeletonllm.render.rasterize.build import cache_folder, find_compiler

    try:
        command = find_compiler()
    except BackendError as error:
        return Finding("compiler", "fault", str(error), "or name another renderer backend")
    place = next(path for path in (cache_folder(), *cache_folder().parents) if path.exists())
    if not os.access(place, os.W_OK):
        return Finding("compiler", "fault", f"{place} cannot be written", "name a folder that can in XDG_CACHE_HOME")
    return Finding("compiler", "ok", f"{' '.join(command)}; the kernel is kept in {cache_folder()}")


def threads() -> Finding:
    """Whether torch starts as many threads as there are cores for it."""
    cores = _cores()
    told = os.environ.get("OMP_NUM_THREADS", "")
    if not told:
        if cores >= (os.cpu_count() or 1):
            return Finding("threads", "ok", f"as many as cores: {cores}")
        said = f"{os.cpu_count()} cores are seen, {cores} may be used"
        return Finding("threads", "warning", said, f"export OMP_NUM_THREADS={cores}: more threads than cores crawl")
    if not told.isdigit() or int(told) < 1:
        said = f"OMP_NUM_THREADS is {told!r}, must be a number from 1"
        return Finding("threads", "fault", said, f"export OMP_NUM_THREADS={cores}")
    if int(told) > cores:
        said = f"OMP_NUM_THREADS is {told}, {cores} cores may be used"
        return Finding("threads", "warning", said, f"export OMP_NUM_THREADS={cores}: more threads than cores crawl")
    return Finding("threads", "ok", f"{told} of {cores} cores (OMP_NUM_THREADS)")


def clock() -> Finding:
    """Whether the clock can be right: not before our own code was written."""
    code = datetime.datetime.fromtimestamp(Path(__file__).stat().st_mtime, datetime.UTC)
    now = datetime.datetime.now(datetime.UTC)
    if now < code - datetime.timedelta(days=1):
        advice = "set the clock (NTP): schedules, tokens and newest-of-its-name go by it"
        return Finding("clock", "fault", f"{now:%F %T} UTC, but this code is of {code:%F}", advice)
    return Finding("clock", "ok", f"{now:%F %T} UTC")


def _cores() -> int:
    """Cores that this process may use, by its affinity and by its container's share."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(affine, max(1, int(quota) // int(period)))
    except (OSError, ValueError):  # not in a container, or no limit ("max")
        return affine


def _clock_difference_s(date: str | None) -> float:
    if date is None:
        return 0.0
    return (datetime.datetime.now(datetime.UTC) - email.utils.parsedate_to_datetime(date)).total_seconds()


def _is_open(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=_ANSWER_S):
            return True
    except OSError:
        return False


def _why(error: Exception) -> str:
    """What urllib wraps, without its wrapping."""
    return str(getattr(error, "reason", error))


def _shown(url: str) -> str:
    """An address without the user and password that it may hold."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
