import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.about import about_checkpoint
from pipelines.choices import Choices, remember
from pipelines.workdir import Workdir
from skeletonllm.evaluate.report import write_report
from skeletonllm.model.about import About, StageFacts
from skeletonllm.plain import to_plain
from skeletonllm.recipes import smoke
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.train.config import RunConfig
from tests.skeletonllm.evaluate.report.samples import make_report

FINGERPRINT = "f" * 64
LAST = smoke().stages[-1]


def about(stage: str = LAST.name, step: int = 4) -> About:
    facts = StageFacts(stage, FINGERPRINT, LAST.trains, LAST.examples, step, 4, 0, "c" * 64, "e" * 64, "0.1.0")
    return About(stages=(facts,))


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    """A trained last stage in a work folder, with a report about it."""
    remember(Workdir(tmp_path), Choices("smoke", "subject=25%", (), 0))
    nothing = DatasetRef("clips", "gone", "c" * 64)
    run = RunConfig(LAST, smoke().student, smoke().engine, nothing, nothing, None, 0)
    folder = tmp_path / "runs" / LAST.name / FINGERPRINT[:12]
    (folder / "checkpoints" / "step_000004").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(to_plain(run)))
    report = make_report(fingerprints=((LAST.name, FINGERPRINT),))
    (tmp_path / "reports" / "a").mkdir(parents=True)
    write_report(report, tmp_path / "reports" / "a" / "report.html")
    return folder / "checkpoints" / "step_000004"


def test_the_recipe_and_the_results_of_the_very_weights_are_found(checkpoint):
    found = about_checkpoint(checkpoint, about())
    assert found.recipe == "smoke"
    assert [(score.clips, score.right, score.total) for score in found.scores] == [
        ("held-out clips", 8, 12),
        ("formats never trained on", 6, 6),
    ]
    assert found.scores[0].low < found.scores[0].value < found.scores[0].high


def test_nothing_is_guessed(checkpoint, tmp_path):
    assert about_checkpoint(tmp_path, about()) == about()
    assert about_checkpoint(checkpoint, About()) == About()
    assert about_checkpoint(checkpoint, about(step=2)).scores == ()  # the report was about the finished stage
    other = replace(about(), stages=(replace(about().stages[0], fingerprint="0" * 64),))
    assert about_checkpoint(checkpoint, other).scores == ()
    remember(Workdir(tmp_path), Choices("internvl3-8b", "subject=25%", (), 0))
    assert about_checkpoint(checkpoint, about()).recipe == ""


def test_a_damaged_report_is_passed_over(checkpoint, tmp_path):
    (tmp_path / "reports" / "a" / "results.json").write_text("{")
    found = about_checkpoint(checkpoint, about())
    assert (found.recipe, found.scores) == ("smoke", ())
