"""Compiling the kernel: found, kept, atomic, and told plainly where it cannot be."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize import build, cpu
from tests.skeletonllm.render.rasterize.scenes import pulled, scene, single


@pytest.fixture
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path / "skeletonllm"


@pytest.mark.slow
def test_it_is_compiled_once_and_by_several_processes_at_once(cache: Path) -> None:
    code = "from skeletonllm.render.rasterize.build import compile_kernel; print(compile_kernel())"
    racing = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {process.communicate()[0].strip() for process in racing}
    assert all(process.returncode == 0 for process in racing)
    (path,) = paths
    assert [str(entry) for entry in cache.iterdir()] == [path]
    made = os.stat(path)
    assert build.compile_kernel() == Path(path)
    assert os.stat(path).st_mtime_ns == made.st_mtime_ns
    assert ctypes.CDLL(path).splat_forward


@pytest.mark.slow
@pytest.mark.parametrize(("flag", "needs"), [("-march=x86-64-v3", "avx2"), ("-march=x86-64", "sse2")])
def test_processors_with_shorter_registers_draw_the_same(cache: Path, monkeypatch, flag: str, needs: str) -> None:
    if needs not in build._processor():
        pytest.skip(f"the processor has no {needs}")
    monkeypatch.setattr(build, "_native_flag", lambda: flag)
    kernel = build.load_kernel.__wrapped__()
    monkeypatch.setattr(cpu, "load_kernel", lambda: kernel)
    for channels in range(1, 9):
        *values, keys = single(scene(2, 40, (37, 21), channels, 5.0, channels))
        values[3] *= 0.95
        wanted = pulled(values, keys, (37, 21), "reference", torch.float64)
        found = pulled(values, keys, (37, 21), "cpu", torch.float32)
        for a, b in zip(wanted, found, strict=True):
            assert (a - b).norm() < 5e-6 * a.norm()


def test_the_compiler_is_the_named_one_else_one_on_the_path(cache: Path, monkeypatch, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("c++", "clang++"):
        (tools / name).write_text("#!/bin/sh\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    assert build.find_compiler() == [str(tools / "clang++")]
    monkeypatch.setenv("CXX", f"{tools}/c++ -stdlib=libc++")
    assert build.find_compiler() == [f"{tools}/c++", "-stdlib=libc++"]


def test_no_compiler_is_an_error_with_the_remedy(cache: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BackendError, match=r"no C\+\+ compiler.*apt-get install g\+\+.*\$CXX.*'reference'"):
        build.compile_kernel()
    monkeypatch.setenv("CXX", "/nowhere/g++ -v")
    with pytest.raises(BackendError, match=r"\$CXX is '/nowhere/g\+\+ -v', which is not there"):
        build.compile_kernel()


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing_behind(cache: Path, monkeypatch, tmp_path: Path) -> None:
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'disk is tired' >&2\nexit 3\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(BackendError, match=r"(?s)broken failed.*disk is tired"):
        build.compile_kernel()
    assert not list(cache.iterdir())


def test_a_folder_that_cannot_be_made_is_an_error_with_the_remedy(cache: Path, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BackendError, match=r"cannot be compiled into .*\$XDG_CACHE_HOME"):
        build.compile_kernel()


def test_another_source_compiler_or_processor_is_another_library(cache: Path, monkeypatch) -> None:
    command = ["g++", "-O3"]
    names = {build._fingerprint(command), build._fingerprint([*command, "-g"])}
    monkeypatch.setattr(build, "_processor", lambda: "another")
    names.add(build._fingerprint(command))
    monkeypatch.setattr(build, "_SOURCES", ("splat.cpp",))
    names.add(build._fingerprint(command))
    assert len(names) == 4
