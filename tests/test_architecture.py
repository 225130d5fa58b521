"""What holds for the whole tree: quick commands, short files, no rule of the layers broken."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = [
    path for package in ("flows", "pipelines", "skeletonllm", "tests") for path in (ROOT / package).rglob("*.py")
]
HEAVY = ("torch", "transformers", "ray", "prefect", "deepspeed", "openai")


def imported_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module",
    [
        "skeletonllm",
        "skeletonllm.cli",
        "skeletonllm.recipes",
        "skeletonllm.skeleton.formats",
        "skeletonllm.skeleton.simulate",
        "skeletonllm.train.config",
    ],
)
def test_a_light_module_imports_nothing_heavy(module):
    assert not imported_by(f"import {module}") & set(HEAVY)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_short_enough_to_be_read(path):
    assert len(path.read_text().splitlines()) <= 500


def test_the_help_of_the_command_and_of_each_verb_says_what_it_does():
    from skeletonllm.cli import _VERBS, main

    for verb, function in _VERBS.items():
        assert (function.__doc__ or "").strip(), verb
        with pytest.raises(SystemExit) as ended:
            main([verb, "--help"])
        assert ended.value.code == 0


def test_the_science_reads_no_environment_variable():
    allowed = {
        "skeletonllm/train/engine.py",  # what the launcher tells its workers
        "skeletonllm/train/worker.py",
        "skeletonllm/cli/learn.py",  # sets what Prefect reads at its import
        "skeletonllm/cli/machine.py",
        "skeletonllm/cli/checkup.py",  # what doctor looks at
        "skeletonllm/cli/answer.py",  # address and key of a server that is asked
        "skeletonllm/cli/serve.py",  # the key that clients must give
        "skeletonllm/model/hub.py",  # the token, which no option and no file of ours ever holds
        "skeletonllm/render/rasterize/build.py",  # where compilers and caches are, as every build tool reads it
    }
    readers = {
        str(path.relative_to(ROOT)) for path in (ROOT / "skeletonllm").rglob("*.py") if "os.environ" in path.read_text()
    }
    assert readers <= allowed
