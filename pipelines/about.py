"""What a work folder knows of a checkpoint besides what the checkpoint says itself: its recipe, and how well it does."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipelines.choices import Choices, choose
from pipelines.launch import read_run
from pipelines.workdir import Workdir
from skeletonllm.errors import CheckpointError, ConfigError, DataError
from skeletonllm.evaluate.metrics import Accuracy
from skeletonllm.evaluate.report import RESULTS, ReportData, read_results
from skeletonllm.model.about import About, Score
from skeletonllm.recipes import Recipe
from skeletonllm.shards.manifest import CheckpointRef


def about_checkpoint(folder: Path, about: About) -> About:
    """What is known of a checkpoint, with its recipe and results where its work folder has them; nothing is guessed.

    Args:
        folder: the checkpoint, `WORKDIR/runs/STAGE/FINGERPRINT/checkpoints/STEP`; nothing more is known of another.
        about: what the checkpoint says itself.
    """
    place = folder.resolve()
    if len(place.parents) < 5 or place.parents[3].name != "runs" or not about.stages:
        return about
    workdir = Workdir(place.parents[4])
    choices = _choices(workdir, place, about)
    if choices is None:
        return about
    return replace(about, recipe=choices.described, scores=_scores(workdir, choices.recipe, about) or about.scores)


def _choices(workdir: Workdir, checkpoint: Path, about: About) -> Choices | None:
    """What the work folder remembers, if the checkpoint was really trained by it."""
    try:
        choices = choose(workdir)
        recipe = choices.recipe
        run = read_run(CheckpointRef(about.stages[-1].name, str(checkpoint), ""))
    except (CheckpointError, ConfigError, OSError):
        return None
    trained = {stage.name: (stage, recipe.student) for stage in recipe.stages}
    trained[recipe.fixed.name] = (recipe.fixed, recipe.fixed_student)
    return choices if trained.get(run.stage.name) == (run.stage, run.student) else None


def _scores(workdir: Workdir, recipe: Recipe, about: About) -> tuple[Score, ...]:
    """Those of the newest report about these very weights."""
    stage = about.stages[-1]
    compared = (recipe.stages[-1].name, recipe.fixed.name)
    if stage.name not in compared or stage.step != stage.num_steps:
        return ()
    for report in _reports(workdir):
        if (stage.name, stage.fingerprint) in report.fingerprints:
            systems = report.systems[compared.index(stage.name) :]
            return tuple(
                _score(clips, found)
                for system in systems[:1]
                for clips, found in (
                    ("held-out clips", system.held_out),
                    ("formats never trained on", system.cross_format),
                )
                if found is not None and found.total
            )
    return ()


def _reports(workdir: Workdir) -> Iterator[ReportData]:
    """All that can be read, the newest first."""
    paths = (workdir.path / "reports").glob(f"*/{RESULTS}")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            yield read_results(path)
        except (DataError, json.JSONDecodeError):
            continue


def _score(clips: str, found: Accuracy) -> Score:
    return Score("accuracy", clips, found.value, found.low, found.high, found.right, found.total, found.chance)
