"""Several ranks on this machine, for tests: `run_ranks(2, work, argument)` gives what `work(argument)` returned on each.

They are forked from a process that has imported everything, which saves seconds for each of many starts.
"""

import multiprocessing
import os
import socket
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_STARTER = multiprocessing.get_context("forkserver")
_STARTER.set_forkserver_preload(["tests.imported"])
_TIMEOUT_S = 240.0


def start_ranks(
    num: int, work: Callable[..., Any], *arguments: Any, log: Path | None = None
) -> list[tuple[BaseProcess, Connection]]:
    """Start `work(*arguments)` on each of some ranks; what it returns comes through the connection."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    started = []
    for rank in range(num):
        mine, other = _STARTER.Pipe(duplex=False)
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        process = _STARTER.Process(target=_work, args=(other, names, log, work, arguments), daemon=True)
        process.start()
        other.close()
        started.append((process, mine))
    return started


def run_ranks(num: int, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returned on each rank."""
    started = start_ranks(num, work, *arguments)
    try:
        answers: dict[int, Any] = {}
        left = {connection: rank for rank, (_, connection) in enumerate(started)}
        while left:
            ready = wait(list(left), _TIMEOUT_S)
            assert ready, f"ranks {sorted(left.values())} of {work.__name__} hang"
            for connection in ready:
                rank = left.pop(connection)
                answers[rank], failure = connection.recv()
                assert not failure, f"rank {rank}:\n{failure}"
        return [answers[rank] for rank in range(num)]
    finally:
        for process, _ in started:
            process.kill()
            process.join()


def _work(
    connection: Connection,
    names: dict[str, Any],
    log: Path | None,
    work: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    os.environ.update({name: str(value) for name, value in names.items()})
    if log is not None:
        said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(said, stream)
    try:
        connection.send((work(*arguments), ""))
    except BaseException:
        connection.send((None, traceback.format_exc()))
        if log is not None:
            traceback.print_exc()
            sys.stderr.flush()
    connection.close()
    os._exit(0)  # DeepSpeed's own farewell takes seconds
