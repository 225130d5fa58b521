"""A real Postgres in a temporary folder, for the tests; where none is installed there is a reason to skip."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

_PLACES = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql*/bin")


def lacking() -> str:
    """Why there can be no Postgres here; empty where there can."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'skeletonllm[postgres]'"
    if _programs() is None:
        return "Postgres is not installed"
    if os.getuid() == 0 and shutil.which("runuser") is None:
        return "Postgres does not run as root, and there is no runuser"
    return ""


@contextmanager
def postgres() -> Iterator[str]:
    """The address of an empty data base, while the block lasts."""
    programs = _programs()
    assert programs is not None
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        if as_user:
            shutil.chown(folder, "postgres")
        quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/"}
        login = ["-A", "trust", "-U", "postgres", "-N"]
        subprocess.run([*as_user, str(programs / "initdb"), "-D", str(data), *login], **quiet)
        server = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-w"]
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        subprocess.run([*server, "-o", options, "start"], **quiet)
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={folder}"
        finally:
            subprocess.run([*server, "-m", "immediate", "stop"], **quiet)


def _programs() -> Path | None:
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).parent
    places = [place for pattern in _PLACES for place in sorted(Path("/").glob(pattern.lstrip("/")))]
    return places[-1] if places else None
