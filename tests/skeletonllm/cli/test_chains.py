import pytest

from skeletonllm.cli import main
from tests.makers import performed_clips, write_clips


@pytest.fixture
def workdir(tmp_path, monkeypatch):
    for name in ("SKELETONLLM_TEACHER_MODEL", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    write_clips(tmp_path / "data", performed_clips(("kick", "wave"), ("P001", "P002", "P003")))
    return tmp_path


def plan(workdir, *options: str) -> int:
    return main(["chains", "--plan", "--workdir", str(workdir), "--hold-out", "subject=P003", *options])


def test_the_plan_is_a_table_with_cost_and_reason(workdir, capsys):
    assert plan(workdir, "--teacher", "gpt-4o", "--max-cost", "1") == 0
    said = capsys.readouterr().out
    assert "The teacher is gpt-4o at https://api.openai.com/v1." in said
    assert "Clips to be asked about: 4." in said
    for word in ("requests", "USD at most", "no chains are here yet", "to be asked", "USD for a million tokens in"):
        assert word in said
    assert not (workdir / "data" / "chains").exists()


def test_the_plan_of_the_offline_teacher_says_that_it_costs_nothing(workdir, capsys):
    assert plan(workdir, "--teacher", "kinematic") == 0
    assert "costs nothing" in capsys.readouterr().out


def test_a_server_without_a_model_and_a_limit_that_cannot_be_are_mistakes(workdir, monkeypatch, capsys):
    assert plan(workdir, "--max-cost", "-1") == 2
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert plan(workdir) == 2
    said = capsys.readouterr().err
    assert "max_cost is -1.0, must not be negative" in said
    assert "no model is named" in said
