"""One process at a time. A lock dies with its process, so a kill leaves none behind; its file says who has it."""

import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from skeletonllm.errors import SkeletonLLMError

logger = logging.getLogger(__name__)

_LOOKED_EVERY_S = 0.5  # and not waited in one call, which a cancelled flow could not end


@contextmanager
def only_one(path: Path, doing: str, error: type[SkeletonLLMError] | None = None) -> Iterator[None]:
    """Be the one who does this, until the end of the block.

    Args:
        path: of the lock's file, in a folder that is there.
        doing: what is done, such as `is building this data set`.
        error: raised where another process does it; by default that one is waited for, saying for whom.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("a+") as lock:
        if not _take(lock):
            owner = path.read_text().strip() or "another process"
            if error is not None:
                raise error(f"{path.parent}: {owner} {doing}; wait for it, then run again")
            logger.info("%s: %s %s; waiting for it", path.parent, owner, doing)
            while not _take(lock):
                time.sleep(_LOOKED_EVERY_S)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        yield


def _take(lock: IO[str]) -> bool:
    """Take it if nobody has it; whether it is ours now."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
