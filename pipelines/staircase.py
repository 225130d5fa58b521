"""The stages of a recipe with all that they are trained from, by fingerprint, before any of it is made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import assemble, launch, mine, motion, predict, similar, teach
from pipelines.assemble import AssembleConfig
from pipelines.changes import Made
from pipelines.choices import Choices
from pipelines.executor import Build
from pipelines.settings import read_settings
from pipelines.split import check_untrained, protocol_of
from pipelines.teacher.who import choose_teacher
from pipelines.workdir import Workdir
from skeletonllm.errors import ConfigError, ShardError
from skeletonllm.model.config import StudentConfig
from skeletonllm.plain import to_plain
from skeletonllm.recipes import Recipe
from skeletonllm.shards.manifest import (
    MANIFEST,
    CheckpointRef,
    DatasetRef,
    Manifest,
    dataset_folder,
    find_dataset,
    read_manifest,
)
from skeletonllm.train.config import RunConfig, StageConfig

# Which data set a kind of example needs besides the clips, and the verb that makes it.
_NEEDS = {"yes_no": ("pairs", "mine"), "chain": ("chains", "chains")}


@dataclass(frozen=True)
class Step:
    """One stage and what it is trained from; what is not there yet has a name and a fingerprint all the same.

    Args:
        run: all that its weights depend on.
        config: of its examples.
        pairs: what questions with yes or no are made of.
        chains: what is learned from the teacher.
        made: all of it that has to be made first, the run last.
    """

    run: RunConfig
    config: AssembleConfig
    pairs: DatasetRef | None
    chains: DatasetRef | None
    made: tuple[Made, ...]

    @property
    def fingerprint(self) -> str:
        """Of the checkpoint that it ends with."""
        return self.made[-1].fingerprint


def climb(work: Workdir, choices: Choices, clips: DatasetRef, until: str | None = None) -> list[Step]:
    """The stages as `train` climbs them, each on what comes of the ones before; then the comparison.

    Args:
        work: where things are kept.
        choices: the recipe, and which clips test.
        clips: the data set.
        until: the last stage.
    """
    last = pairs = chains = None
    steps: list[Step] = []
    before: list[Made] = []
    for stage in choices.recipe.stages:
        if "yes_no" in stage.examples and pairs is None:
            pairs = _promise(work.data, *_pairs(work, choices, clips, last), before=before)
        if "chain" in stage.examples and chains is None:
            chains = _promise(work.data, _chains(work, choices, clips, last), before=before)
        step = _step(work, choices, clips, stage, pairs, chains, last, before)
        steps.append(step)
        before = list(step.made)
        last = _checkpoint(work, step)
        if stage.name == until:
            return steps
    return [*steps, _step(work, choices, clips, choices.recipe.fixed, None, None, None, [])]


def alone(work: Workdir, choices: Choices, clips: DatasetRef, name: str) -> Step:
    """One stage on what is there: the pairs, chains and weights asked for last that fit the clips and the hold-out.

    Args:
        work: where things are kept.
        choices: the recipe, and which clips test.
        clips: the data set.
        name: of the stage.

    Raises:
        ConfigError: something is missing, or a clip that is to test trained what the stage starts from; says by which
            command it is made.
    """
    recipe = choices.recipe
    stage, _ = stage_of(recipe, name)
    found: dict[str, DatasetRef | None] = {"pairs": None, "chains": None}
    missing = []
    for kind in stage.examples:
        needed, verb = _NEEDS.get(kind, ("", ""))
        if needed:
            found[needed] = _fitting(work, choices, clips, needed)
            if found[needed] is None:
                missing.append(f"no {needed} of these clips and this hold-out (`skeletonllm {verb}`)")
    before = _before(recipe, name)
    last = launch.find_checkpoint(work.runs, before) if before else None
    if before and last is None:
        missing.append(f"stage {before} is not trained (`skeletonllm train {recipe.name} --until {before}`)")
    if missing:
        raise ConfigError(
            f"stage {name} cannot be trained alone: {'; '.join(missing)}; make it with --workdir {work.path} and "
            f"--hold-out {choices.hold_out}, or let `skeletonllm train {recipe.name} --until {name}` make all of it"
        )
    if last is not None:
        check_untrained(clips, protocol_of(clips, choices.hold_out, choices.cross_format), last)
    return _step(work, choices, clips, stage, found["pairs"], found["chains"], last, [])


def stage_of(recipe: Recipe, name: str) -> tuple[StageConfig, StudentConfig]:
    """A stage or the comparison by its name, and its student.

    Raises:
        ConfigError: the recipe has none of this name.
    """
    if name == recipe.fixed.name:
        return recipe.fixed, recipe.fixed_student
    return recipe.stage(name), recipe.student


def _before(recipe: Recipe, name: str) -> str | None:
    names = [stage.name for stage in recipe.stages]
    place = names.index(name) if name in names else 0
    return names[place - 1] if place else None


def _step(
    work: Workdir,
    choices: Choices,
    clips: DatasetRef,
    stage: StageConfig,
    pairs: DatasetRef | None,
    chains: DatasetRef | None,
    last: CheckpointRef | None,
    before: Sequence[Made],
) -> Step:
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    config = AssembleConfig(stage.name, stage.examples, assemble.training_actions(clips, protocol), to_plain(protocol))
    used = pairs if "yes_no" in stage.examples else None, chains if "chain" in stage.examples else None
    made = list(before)
    examples = _promise(work.data, assemble.build_of(clips, *used, config), before=made)
    _, student = stage_of(choices.recipe, stage.name)
    run = RunConfig(stage, student, choices.recipe.engine, clips, examples, last, choices.seed)
    return Step(run, config, *used, (*made, Made.of_run(run)))


def _checkpoint(work: Workdir, step: Step) -> CheckpointRef:
    """Of a step, as it is or as it will be."""
    name, fingerprint = step.run.stage.name, step.fingerprint
    there = launch.find_run(work.runs, name, fingerprint)
    return there or CheckpointRef(name, str(work.runs / name / fingerprint[:12]), fingerprint)


def _promise(root: Path, build: Build, *inputs: Build, before: list[Made]) -> DatasetRef:
    """The data set of a build, whether it is there or not; what it is made from is noted."""
    before.extend(Made.of_build(one) for one in (*inputs, build))
    there = find_dataset(root, build.name, build.fingerprint)
    return there or DatasetRef(build.name, str(dataset_folder(root, build.name, build.fingerprint)), build.fingerprint)


def _pairs(work: Workdir, choices: Choices, clips: DatasetRef, last: CheckpointRef | None) -> tuple[Build, ...]:
    """What the flow `mine-pairs` builds, the pairs first, then the evidence."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    actions, plain = assemble.training_actions(clips, protocol), to_plain(protocol)
    evidence = []
    for kind in mine.kinds_of(None):
        if kind == "student":
            asked = last or launch.newest_checkpoint(work.runs, choices.recipe.stages[0].name)
            config = predict.PredictConfig(("train",), actions, plain)
            evidence.append(predict.build_of(clips, asked, config, "training_predictions"))
        elif kind == "kinematics":
            evidence.append(motion.build_of(clips, motion.MotionConfig(actions, plain)))
        else:
            evidence.append(similar.build_of(similar.configure(actions, may_ask=False)))
    refs = [DatasetRef(build.name, "", build.fingerprint) for build in evidence]
    return mine.build_of(mine.MineConfig(actions), refs), *evidence


def _chains(work: Workdir, choices: Choices, clips: DatasetRef, last: CheckpointRef | None) -> Build:
    """What the flow `build-teacher-chains` builds."""
    return teach.build_of(clips, last, teacher_of(choices, clips), work.ledger)


def teacher_of(choices: Choices, clips: DatasetRef) -> teach.TeachConfig:
    """Who will be asked for chains, about which clips."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    return teach.configure(
        assemble.training_actions(clips, protocol),
        to_plain(protocol),
        who=choose_teacher(read_settings(), may_ask=False),
    )


def _fitting(work: Workdir, choices: Choices, clips: DatasetRef, name: str) -> DatasetRef | None:
    """The data set of this name that was asked for last among those of these clips and this hold-out."""
    protocol = to_plain(protocol_of(clips, choices.hold_out, choices.cross_format))
    paths = sorted((work.data / name).glob(f"*/{MANIFEST}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in paths:
        manifest = _readable(path.parent)
        if manifest is not None and _fits(work, manifest, clips, protocol):
            return DatasetRef(name, str(path.parent), manifest.fingerprint)
    return None


def _fits(work: Workdir, manifest: Manifest, clips: DatasetRef, protocol: dict[str, object]) -> bool:
    """Whether a data set comes from these clips, split so; pairs do if their evidence does."""
    if "protocol" in manifest.config:
        return clips.fingerprint in manifest.inputs and manifest.config["protocol"] == protocol
    evidence = list(_inputs(work, manifest))
    from_clips = [one for one in evidence if "protocol" in one.config]  # the teacher sees no clip
    return bool(from_clips) and all(_fits(work, one, clips, protocol) for one in from_clips)


def _inputs(work: Workdir, manifest: Manifest) -> Iterator[Manifest]:
    for fingerprint in manifest.inputs:
        for path in work.data.glob(f"*/{fingerprint[:12]}/{MANIFEST}"):
            found = _readable(path.parent)
            if found is not None:
                yield found


def _readable(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except ShardError:  # of another version
        return None
