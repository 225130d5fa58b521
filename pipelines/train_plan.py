"""What training a recipe will do and take, stage by stage, before any of it is done. Trains nothing, asks nobody."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines import assemble, launch, staircase, teach_plan
from pipelines.changes import Changes
from pipelines.choices import Choices
from pipelines.estimate import Memory, memory_of, model_of, parameters_of, renderer_parameters, tokens_of
from pipelines.probe import Probe, probe
from pipelines.split import protocol_of
from pipelines.staircase import Step
from pipelines.teach_plan import TeachPlan
from pipelines.workdir import Workdir
from skeletonllm.errors import SkeletonLLMError
from skeletonllm.model.config import StudentConfig
from skeletonllm.shards.manifest import MANIFEST, CheckpointRef, DatasetRef
from skeletonllm.train.config import EngineConfig
from skeletonllm.train.data import num_steps
from skeletonllm.train.metrics import read_metrics

if TYPE_CHECKING:
    from skeletonllm.model.student import SkeletonLLM

State = Literal["done", "begun", "stale", "to do"]


@dataclass(frozen=True)
class StagePlan:
    """One stage. What is not known yet is None.

    Args:
        name: of the stage.
        state: `done`; `begun`, and goes on; `stale`, trained on something else; or `to do`.
        why: it is so.
        examples: of one epoch, by kind.
        is_most: whether there may be fewer, because pairs or chains are not there yet.
        visual_tokens: of an example.
        text_tokens: of an example, prompt and answer, the mean over all kinds.
        tokens_an_epoch: all of them.
        steps: of the optimiser.
        trains: the parts.
        trained: weights that learn.
        frozen: weights that do not.
        memory: of a rank.
        step_s: of one step, where it was probed.
        hours: of the whole stage, where it was probed.
        notes: what else there is to say.
    """

    name: str
    state: State
    why: tuple[str, ...]
    examples: dict[str, int]
    is_most: bool
    visual_tokens: int | None
    text_tokens: float | None
    tokens_an_epoch: float | None
    steps: int
    trains: tuple[str, ...]
    trained: int | None
    frozen: int | None
    memory: Memory | None
    step_s: float | None = None
    hours: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainPlan:
    """All stages.

    Args:
        recipe: its name.
        hold_out: which clips test.
        world_size: processes, on all machines together.
        zero_stage: what they share.
        parameters: weights by part; of the renderer alone where the backbone is not on this machine.
        stages: in the order in which they are trained.
        teacher: what the chains will cost; None where they are there, or no stage needs any.
        notes: how the numbers came about.
    """

    recipe: str
    hold_out: str
    world_size: int
    zero_stage: int
    parameters: dict[str, int]
    stages: tuple[StagePlan, ...]
    teacher: TeachPlan | None
    notes: tuple[str, ...]


def plan(
    work: Workdir, choices: Choices, clips: DatasetRef, stage: str | None = None, probes: bool = False
) -> TrainPlan:
    """What `train` with the same choices would do.

    Args:
        work: where things are kept.
        choices: the recipe, and which clips test.
        clips: the data set.
        stage: only this one, as `train --stage` trains it.
        probes: take a few real steps of each stage to tell its hours.

    Raises:
        ConfigError: the stage cannot be trained alone; says what is missing.
    """
    recipe = choices.recipe
    steps = [staircase.alone(work, choices, clips, stage)] if stage else staircase.climb(work, choices, clips)
    corpus = assemble.corpus(clips, protocol_of(clips, choices.hold_out, choices.cross_format))
    looker = _Looker(work, steps, corpus, probes)
    stages = tuple(looker.look(step) for step in steps)
    student = recipe.student if stage is None else staircase.stage_of(recipe, stage)[1]
    model = looker.model(student)
    teacher, unknown = _teacher(work, choices, clips, steps)
    return TrainPlan(
        recipe.name,
        choices.hold_out,
        recipe.engine.world_size,
        recipe.engine.zero_stage,
        {"renderer": renderer_parameters(student)} if isinstance(model, str) else parameters_of(model),
        stages,
        teacher,
        (*_notes(model, probes, recipe.engine), *filter(None, [unknown])),
    )


class _Looker:
    """Looks at one stage after another; a student is made once for each configuration."""

    def __init__(self, work: Workdir, steps: list[Step], corpus: list[str], probes: bool) -> None:
        self._work, self._corpus, self._probes = work, corpus, probes
        self._changes = Changes(work, (made for step in steps for made in step.made))
        self._models: dict[StudentConfig, SkeletonLLM | str] = {}

    def model(self, config: StudentConfig) -> "SkeletonLLM | str":
        """The student, or why it is not known."""
        if config not in self._models:
            self._models[config] = model_of(config, self._corpus)
        return self._models[config]

    def look(self, step: Step) -> StagePlan:
        """All about one stage."""
        run = step.run
        state, why = self._state(step)
        rows, counts, is_most = _examples(step)
        total = sum(counts.values())
        steps = num_steps(total, run.stage.batch_size, run.stage.epochs, run.stage.max_steps)
        planned = StagePlan(
            run.stage.name, state, why, counts, is_most, *_NOTHING, steps, run.stage.trains, None, None, None
        )
        model = self.model(run.student)
        if not isinstance(model, str):
            planned = _with_model(planned, model, step, rows)
        if self._probes and state != "done":
            planned = self._probed(planned, step)
        return planned

    def _state(self, step: Step) -> tuple[State, tuple[str, ...]]:
        name = step.run.stage.name
        if launch.find_run(self._work.runs, name, step.fingerprint) is not None:
            return "done", ("nothing that it is made from has changed",)
        rows = read_metrics(self._work.runs / name / step.fingerprint[:12] / "metrics.jsonl")
        if rows:
            return "begun", (f"step {rows[-1]['step']} of {rows[-1]['num_steps']} was taken",)
        before = launch.find_checkpoint(self._work.runs, name)
        if before is None:
            return "to do", ()
        return "stale", self._changes.of_run(step.run, before)

    def _probed(self, planned: StagePlan, step: Step) -> StagePlan:
        for made in (step.pairs, step.chains):
            if made is not None and not _is_there(made):
                return replace(
                    planned,
                    notes=(
                        *planned.notes,
                        f"not probed: its {made.name} are not there yet",
                    ),
                )
        try:
            found: Probe = probe(step, self._corpus, self._work.path)
        except SkeletonLLMError as error:
            return replace(planned, notes=(*planned.notes, f"not probed: {error}"))
        return replace(planned, step_s=found.step_s, hours=found.hours(planned.steps))


_NOTHING = (None, None, None)


def _is_there(dataset: DatasetRef) -> bool:
    return (Path(dataset.path) / MANIFEST).exists()


def _examples(step: Step) -> tuple[dict[str, list[tuple[str, str]]], dict[str, int], bool]:
    """Examples as far as they can be made now, how many of each kind there will be, and whether that is the most."""
    pairs, chains = (made if made is not None and _is_there(made) else None for made in (step.pairs, step.chains))
    rows = assemble.preview(step.run.clips, pairs, chains, step.config)
    counts = {kind: len(some) for kind, some in rows.items()}
    is_most = False
    if "yes_no" in counts and pairs is None:
        counts["yes_no"], is_most = 2 * counts["yes_no"], True  # a no for each yes
    if "chain" in counts and chains is None:
        labelled = assemble.preview(step.run.clips, None, None, replace(step.config, examples=("mqa",)))
        counts["chain"], is_most = len(labelled["mqa"]), True  # all accepted
    return rows, counts, is_most


def _with_model(
    planned: StagePlan, model: "SkeletonLLM", step: Step, rows: dict[str, list[tuple[str, str]]]
) -> StagePlan:
    """With what can be told of a student whose sizes are known."""
    parts = parameters_of(model)
    trained = sum(parts[part] for part in planned.trains)
    planned = replace(planned, trained=trained, frozen=sum(parts.values()) - trained)
    tokens = tokens_of(model, rows)
    if not tokens:
        return planned
    longest = max(tokens.values(), key=sum)
    memory = memory_of(model, step.run, (sum(longest), longest[2]))
    visual = longest[0]
    if set(tokens) != set(planned.examples):
        unknown = ", ".join(sorted(set(planned.examples) - set(tokens)))
        return replace(planned, visual_tokens=visual, memory=memory, notes=(f"no text of {unknown} is there yet",))
    text = {kind: count * (tokens[kind][1] + tokens[kind][2]) for kind, count in planned.examples.items()}
    count = sum(planned.examples.values())
    mean = sum(text.values()) / count if count else None
    return replace(
        planned,
        visual_tokens=visual,
        text_tokens=mean,
        tokens_an_epoch=sum(text.values()) + visual * count,
        memory=memory,
    )


def _teacher(work: Workdir, choices: Choices, clips: DatasetRef, steps: list[Step]) -> tuple[TeachPlan | None, str]:
    """What the chains that are missing will cost, or why that is not known."""
    step = next((step for step in steps if step.chains is not None), None)
    if step is None or step.chains is None or _is_there(step.chains):
        return None, ""
    config, drawn = staircase.teacher_of(choices, clips), step.run.init_from
    if config.teacher == "openai" and drawn is not None and not _is_saved(drawn):
        return (
            None,
            f"Teacher: what {config.model} costs is known once stage {drawn.name} is trained, which draws for it.",
        )
    return teach_plan.plan(clips, drawn, config, work.data, work.ledger), ""


def _is_saved(checkpoint: CheckpointRef) -> bool:
    return Path(checkpoint.path, "meta.json").exists()


def _notes(model: "SkeletonLLM | str", probes: bool, engine: EngineConfig) -> tuple[str, ...]:
    notes = [
        model
        if isinstance(model, str)
        else "Memory: weights, gradients and AdamW's moments as the engine shares them, and a formula for what layers keep "
        "for the backward pass; not what Python, libraries and fragments take besides."
    ]
    if engine.zero_stage == 3:
        notes.append("ZeRO 3 shares the weights out once it runs; while it starts, each process holds all of them.")
    if not probes:
        notes.append("Hours: --probe takes twenty real steps of each stage here, and keeps nothing of them.")
    return tuple(notes)
