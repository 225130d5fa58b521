"""The same student behind several renderers, trained alike with several seeds: a table of accuracies with intervals."""

from dataclasses import replace
from pathlib import Path

from prefect import flow

from flows.ingest_clips import ingest_clips
from flows.tasks import DEFAULT_WORKDIR, Choices, ExecutorName, Workdir, choose, pipeline_task
from flows.train_stages import assemble_examples, train_stage
from pipelines import assemble, compare, predict
from pipelines.split import check_untrained, protocol_of
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef


@pipeline_task("answer the test clips", retries=1)
def answer_tests(
    workdir: Workdir, clips: DatasetRef, checkpoint: CheckpointRef, choices: Choices, executor: ExecutorName
) -> DatasetRef:
    """Rank the candidate actions of every test clip; clips of formats that are left out are not asked about."""
    protocol = protocol_of(clips, choices.hold_out, choices.cross_format)
    check_untrained(clips, protocol, checkpoint)
    actions = assemble.training_actions(clips, protocol)
    config = predict.PredictConfig(("test",), actions, to_plain(protocol))
    return predict.run(clips, checkpoint, config, workdir.data, executor)


@flow(name="compare-renderers")
def compare_renderers(
    workdir: str = DEFAULT_WORKDIR,
    source: str | None = None,
    recipe: str | None = None,
    hold_out: str | None = None,
    cross_format: list[str] | None = None,
    renderers: list[str] | None = None,
    seeds: list[int] | None = None,
    epochs: float = 4.0,
    executor: ExecutorName = "inline",
) -> str:
    """Train the first stage once for each renderer and seed, ask about the test clips, write numbers and a chart.

    They are `compare_renderers.json` and `.html` in the work folder. What is trained already is not trained again.

    Returns:
        Where the numbers lie.
    """
    work = Workdir(Path(workdir))
    choices = choose(work, recipe, hold_out, cross_format)
    variants = compare.pick(renderers or [])
    clips = ingest_clips(source, workdir, executor) if source else work.newest("clips")
    runs: dict[str, list[tuple[CheckpointRef, DatasetRef]]] = {variant.name: [] for variant in variants}
    for seed in seeds or [0, 1, 2]:
        told = replace(choices, seed=seed)
        for variant in variants:
            stage, student = compare.configure(choices.recipe, variant, epochs)
            examples = assemble_examples(work, stage, clips, None, None, told)
            checkpoint = train_stage(work, stage, student, clips, examples, None, told)
            runs[variant.name].append((checkpoint, answer_tests(work, clips, checkpoint, told, executor)))
    path = work.path / "compare_renderers.json"
    (_, answers), *_ = runs[variants[0].name]
    told = {"recipe": choices.described, "epochs": epochs, "hold_out": choices.hold_out, **compare.facts(answers)}
    compare.write_results(path, compare.collect(runs), told)
    return str(path)
