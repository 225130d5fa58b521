import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import build


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """An empty cache, and a process that has not loaded the library."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.load_kernel.cache_clear()
    yield tmp_path / "cache" / "skeletonllm"
    build.load_kernel.cache_clear()


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def loaded(folder: str) -> None:
    os.environ["XDG_CACHE_HOME"] = folder
    build.load_kernel.cache_clear()
    assert build.load_kernel().splat_forward


@pytest.mark.slow
def test_processes_that_build_at_once_end_with_one_library_and_no_left_overs(fresh) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=loaded, args=(str(fresh.parent),)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    (library,) = fresh.iterdir()
    changed = library.stat().st_mtime_ns
    build.load_kernel()
    assert [path.stat().st_mtime_ns for path in fresh.iterdir()] == [changed]


def test_without_a_compiler_the_error_says_what_to_do(fresh, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(BackendError, match=r"found none \(c\+\+, g\+\+, clang\+\+\); install .* 'reference'"):
        build.load_kernel()
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BackendError, match=r"CXX=no-such-compiler"):
        build.load_kernel()


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing_behind(fresh, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CXX", script(tmp_path / "broken", "echo out of ideas >&2; exit 3"))
    with pytest.raises(BackendError, match="out of ideas"):
        build.load_kernel()
    assert list(fresh.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(fresh, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BackendError, match=r"file/skeletonllm .*set XDG_CACHE_HOME"):
        build.load_kernel()
