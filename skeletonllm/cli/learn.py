"""Verbs that start a flow: quickstart, mine, train, evaluate. Each also runs as a deployment."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from skeletonllm.cli.data import simulate

_WORKDIR = Path("skeletonllm-work")

# `--set engine.num_workers=2 stages.*.batch_size=4`.
Settings = Annotated[tuple[str, ...] | None, tyro.conf.arg(name="set", metavar="PATH=VALUE ...")]


def quickstart(
    workdir: Path = _WORKDIR,
    data: Path | None = None,
    hold_out: str | None = None,
    cross_format: tuple[str, ...] | None = None,
    recipe: str | None = None,
    seed: int | None = None,
    settings: Settings = None,
) -> None:
    """Do everything: sample data, ingest, four training stages, teacher chains, evaluation, one report.

    Offline, without a key, on the CPU. What is done is not done again: a killed run goes on where it was.

    Args:
        workdir: where everything is kept.
        data: a folder of your own recordings instead of the sample data, labelled by file names, class folders or
            a labels.csv.
        hold_out: which clips test: `subject=25%`, `camera=3`, `subject=P001,P002`.
        cross_format: formats or data sets that training must not see; they are tested separately.
        recipe: a name of skeletonllm/recipes.py; by default that of the folder's last run.
        seed: of training; the sample data stay the same.
        settings: single settings of the recipe, as for `train`.
    """
    quiet()
    from flows.retrain import retrain
    from skeletonllm.evaluate.report import summary_table_of

    if data is None:
        data, cross_format = workdir / "sample-data", cross_format or ("bvh",)
        simulate(data)
    report = retrain(
        source=str(data),
        workdir=str(workdir),
        recipe=recipe,
        hold_out=hold_out,
        cross_format=None if cross_format is None else list(cross_format),
        seed=seed,
        settings=None if settings is None else list(settings),
    )
    _print(summary_table_of(Path(report)))


def mine(
    workdir: Path = _WORKDIR,
    recipe: str | None = None,
    hold_out: str | None = None,
    evidence: tuple[Literal["student", "kinematics", "teacher"], ...] | None = None,
) -> None:
    """Mine the actions that are taken for one another: by a student, by how the joints move, by a teacher.

    Args:
        workdir: holds the clips, and the trained first stage if the student is to speak.
        recipe: a name of skeletonllm/recipes.py; by default that of the folder's last run.
        hold_out: which clips test; they are not mined.
        evidence: who speaks: the first stage's `student`, the `kinematics` of the clips, the `teacher` (it is told the
            names alone). By default the first two, and the teacher if SKELETONLLM_TEACHER_MODEL names one. Kinematics
            alone need no trained model.
    """
    quiet()
    from flows.mine_pairs import mine_pairs
    from skeletonllm.cli.pairs import pairs_table
    from skeletonllm.shards.reader import ShardReader

    pairs = mine_pairs(
        workdir=str(workdir), recipe=recipe, hold_out=hold_out, evidence=None if evidence is None else list(evidence)
    )
    _print(pairs_table(ShardReader(pairs).table().to_pylist()))
    print(pairs.path)


def train(
    recipe: Annotated[str | None, tyro.conf.Positional] = None,
    workdir: Path = _WORKDIR,
    stage: str | None = None,
    until: str | None = None,
    hold_out: str | None = None,
    seed: int | None = None,
    settings: Settings = None,
    list_recipes: Annotated[bool, tyro.conf.arg(name="list")] = False,
    dry_run: bool = False,
) -> None:
    """Train the stages of a recipe; what is trained already and has not changed is kept.

    `skeletonllm plan` says beforehand what would be done, and why.

    Args:
        recipe: a name of skeletonllm/recipes.py; by default that of the folder's last run.
        workdir: holds the clips.
        stage: train this one alone, on the pairs, the chains and the weights of the stage before that are there.
        until: the last stage to train, after all before it.
        hold_out: which clips test; training does not see them.
        seed: of every random choice.
        settings: single settings of the recipe: `engine.num_workers=2`, `engine.tensorboard=true`,
            `student.backbone.name=FOLDER`, `stages.cr_distill.epochs=2`, `stages.*.batch_size=4`; `--dry-run` prints all.
            Added to those of the folder's last run; `--set` alone takes them back.
        list_recipes: print all recipes: what each is for, and what it was shown to give.
        dry_run: print the recipe with these settings and stop.
    """
    if list_recipes:
        show_recipes()
        return
    if dry_run:
        import json
        from dataclasses import replace

        from pipelines.choices import choose
        from pipelines.workdir import Workdir
        from skeletonllm.plain import to_plain

        choices = choose(Workdir(workdir), recipe, hold_out, None, seed, settings)
        shown = replace(choices.recipe, seed=choices.seed, hold_out=choices.hold_out)
        print(json.dumps(to_plain(shown), indent=2))
        return
    quiet()
    from flows.train_stages import train_stages

    trained = train_stages(
        workdir=str(workdir),
        recipe=recipe,
        stage=stage,
        until=until,
        hold_out=hold_out,
        seed=seed,
        settings=None if settings is None else list(settings),
        with_fixed_renderer=False,
    )
    for name, checkpoint in trained.items():
        print(f"{name}: {checkpoint.path}")


def show_recipes() -> None:
    """Print each recipe's name and what its function says of it."""
    import inspect

    from skeletonllm.recipes import RECIPES

    for name, recipe in RECIPES.items():
        first, _, rest = inspect.getdoc(recipe).partition("\n")  # pyright: ignore[reportOptionalMemberAccess]  each says
        print(f"{name}: {first}")
        print("".join(f"    {line}\n" if line else "\n" for line in rest.strip().splitlines()))


def evaluate(workdir: Path = _WORKDIR, recipe: str | None = None, hold_out: str | None = None) -> None:
    """Evaluate the newest checkpoints on held-out clips and write report.html.

    Args:
        workdir: holds the clips and the trained stages.
        recipe: a name of skeletonllm/recipes.py; by default that of the folder's last run.
        hold_out: which clips test.
    """
    quiet()
    from flows.evaluate import evaluate as flow
    from skeletonllm.evaluate.report import summary_table_of

    _print(summary_table_of(Path(flow(workdir=str(workdir), recipe=recipe, hold_out=hold_out))))


def quiet() -> None:
    """Our own progress on the terminal; of Prefect only warnings, since its server keeps the rest."""
    import os

    for name, value in {
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_PLUGINS_ENABLED": "true",
        "DO_NOT_TRACK": "1",
    }.items():
        os.environ.setdefault(name, value)
    from skeletonllm.log import set_up_logging

    set_up_logging()


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)
