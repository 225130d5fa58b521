"""Which process a request belongs to, and whether that process still lives."""

import os
import socket
import time
from pathlib import Path

# A process of another machine that has not been heard of for so long is dead. It is heard of every ten seconds.
SILENT_S = 90.0


def this_owner() -> str:
    """This process: where it runs, its number, and when it started, so that a number used again is somebody else."""
    pid = os.getpid()
    return f"{_place()}|{pid}|{_started(pid)}"


def is_alive(owner: str, seen_at: float) -> bool:
    """Whether a process may still bring what it asked for.

    Args:
        owner: as `this_owner` named it.
        seen_at: when it was heard of last, in seconds since 1970.
    """
    place, pid, started = owner.rsplit("|", 2)
    if place == _place() and started:
        return _started(int(pid)) == started
    return time.time() - seen_at < SILENT_S


def _place() -> str:
    """Where process numbers mean the same: this machine since it booted, and this container."""
    try:
        return f"{socket.gethostname()}|{Path('/proc/sys/kernel/random/boot_id').read_text().strip()}|" + os.readlink(
            "/proc/self/ns/pid"
        )
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """When a process started, in ticks since the machine did; empty where there is none, or no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if stat[0] in ("Z", "X") else stat[19]  # a zombie asks nothing any more
