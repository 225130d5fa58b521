import json

import pytest

from skeletonllm.cli import main
from skeletonllm.recipes import RECIPES
from tests.pipelines.stairs import SMOKE, finish, work_with_clips


@pytest.fixture
def work(tmp_path, monkeypatch):
    from pipelines.staircase import climb

    for name in ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    work, clips = work_with_clips(tmp_path)
    (first, *_) = climb(work, SMOKE, clips)
    finish(work, first.run)
    return work


def test_a_plan_fits_a_narrow_terminal_and_says_what_is_done_and_to_do(work, capsys):
    assert main(["plan", "smoke", "--workdir", str(work.path), "--hold-out", "subject=P002"]) == 0
    printed = capsys.readouterr().out
    rows = {line.split()[0]: line for line in printed.splitlines() if line.strip()}
    assert " done " in rows["render_warmup"]
    for name in ("disc_ft", "cr_distill", "recognition", "fixed_renderer"):
        assert " to do " in rows[name]
    assert "…" not in printed
    assert "the offline kinematic one, to be asked about 2 clips" in printed
    assert not (work.path / "choices.json").exists()


def test_a_plan_in_json_says_why_a_stage_is_stale(work, capsys):
    options = ["--hold-out", "subject=P002", "--seed", "3", "--json"]
    assert main(["plan", "smoke", "--workdir", str(work.path), *options]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(stage["state"], stage["why"]) for stage in stages[:2]] == [("stale", ["seed 0 -> 3"]), ("to do", [])]


def test_what_a_stage_alone_lacks_is_a_mistake_that_says_how_to_mend_it(work, capsys):
    command = ["plan", "smoke", "--workdir", str(work.path), "--hold-out", "subject=P002", "--stage", "cr_distill"]
    assert main(command) == 2
    assert "`skeletonllm chains`" in capsys.readouterr().err


def test_every_recipe_is_listed_with_its_command_and_what_it_was_shown_to_give(capsys):
    assert main(["train", "--list"]) == 0
    printed = capsys.readouterr().out
    for name in RECIPES:
        assert f"\n{name}: " in f"\n{printed}"
    assert printed.count("`skeletonllm ") >= len(RECIPES)
    assert printed.count("Not run by us") == 2
