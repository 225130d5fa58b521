"""What to tell a user when training processes have failed: why, and which setting to change."""

import re
import shutil
import signal
from pathlib import Path

from pipelines.launch.workers import LOG
from skeletonllm.errors import SkeletonLLMError
from skeletonllm.train.config import RunConfig
from skeletonllm.train.worker import ERROR

_ERROR_LINE = re.compile(r"((\[rank\d+\]: )?[\w.]*(Error|Exception)|Fatal Python error): ")
_OUT_OF_MEMORY = ("OutOfMemoryError", "out of memory", "can't allocate memory", "MemoryError")
_DISK_FULL = ("No space left on device", "Disk quota exceeded")
# With less than this no file of any use can be written.
_LEAST_FREE = 2**20


def failure(
    run: RunConfig, folder: Path, codes: list[int | None], kernel_kills: int, log_from: int = 0
) -> SkeletonLLMError:
    """The error of a run whose processes have ended.

    Args:
        run: what was trained.
        folder: of the run.
        codes: how each ended.
        kernel_kills: how many processes the kernel ended meanwhile for want of memory.
        log_from: where in the log they began.
    """
    said, killed = folder / ERROR, -signal.SIGKILL in codes
    # Where one is killed, the others only say that they have lost it. The disk may have been too full to say why.
    why = said.read_text().strip() if said.exists() and not killed else ""
    ended = "" if why else f"the workers ended with code {_code(codes)}: "
    why = why or _last_error(folder / LOG, log_from)
    if shutil.disk_usage(folder).free < _LEAST_FREE or any(words in why for words in _DISK_FULL):
        why = f"{why or 'nothing can be written'}; the disk is full: make room, or set a smaller engine.keep_last"
    elif any(words in why for words in _OUT_OF_MEMORY):
        why = f"{why.splitlines()[0]}; {_use_less(run)}"
    elif killed:
        who = "by the kernel for want of memory" if kernel_kills else "from outside, or for want of memory"
        why = f"killed {who}; if it was memory: {_use_less(run)}"
    return SkeletonLLMError(
        f"stage {run.stage.name}: {ended}{why or 'they did not say why'} (log: {folder}/log.txt); the same command goes on "
        "from the last checkpoint"
    )


def kernel_kills() -> int:
    """How many processes the kernel of this machine has ended for want of memory."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def _use_less(run: RunConfig) -> str:
    engine, stage, student = run.engine, run.stage, run.student
    each, ways = stage.examples_each(engine.world_size, engine.gradient_accumulation), []
    if each > 1:
        fewer = next(part for part in range(2, each + 1) if each % part == 0)
        ways.append(f"engine.gradient_accumulation={engine.gradient_accumulation * fewer}")
    if engine.kind == "deepspeed":
        if engine.world_size > 1 and engine.zero_stage < 3:
            ways.append(f"engine.zero_stage={engine.zero_stage + 1}")
        if engine.offload == "nothing" and engine.zero_stage:
            ways.append("engine.offload=optimizer")
    same = f"{' or '.join(ways)}, which change no result" if ways else ""
    ways = []
    if not student.backbone.gradient_checkpointing:
        ways.append("student.backbone.gradient_checkpointing=true")
    if student.backbone.foreground is None:
        ways.append("student.backbone.foreground=0")
    ways += [f"a smaller student.render.num_frames (it is {student.render.num_frames})", "or size_px"]
    least = engine.world_size * engine.gradient_accumulation
    if stage.batch_size > least:
        ways.append(f"stages.{stage.name}.batch_size={least}")
    other = f"{', '.join(ways)}, with which the stage begins anew"
    return f"it needs too much memory; --set {'; or '.join(filter(None, [same, other]))}"


def _last_error(log: Path, log_from: int) -> str:
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(log_from)
        lines = file.read().decode("utf-8", "replace").splitlines()
    telling = [line for line in lines if _ERROR_LINE.match(line)]
    return telling[-1] if telling else ""


def _code(codes: list[int | None]) -> int | None:
    """That of one which a signal has ended, or else of the first which has failed."""
    return min((code for code in codes if code), default=None, key=lambda code: code > 0)
