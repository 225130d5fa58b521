"""Predictions, chains and checkpoints -> report.html. Draws the pictures and asks the student for its words."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from pipelines import assemble
from pipelines.choices import Choices
from pipelines.gallery import shown_chain, spread
from pipelines.launch import launch_s, read_run
from pipelines.predict import load_student
from pipelines.split import protocol_of
from pipelines.workdir import Workdir
from skeletonllm.evaluate.metrics import Accuracy, Comparison, accuracy, compare, confusion_matrix
from skeletonllm.evaluate.predict import caption, explain
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.evaluate.report import (
    CountTable,
    Curve,
    Example,
    ReportData,
    System,
    write_report,
)
from skeletonllm.model.config import TINY
from skeletonllm.plain import digest
from skeletonllm.reasoning.chain import read_label
from skeletonllm.recipes import Recipe
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, find_dataset, read_manifest
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.clip import Clip
from skeletonllm.train.metrics import METRICS, read_metrics

_PER_FORMAT = 3
_PICTURE_PX = 160
_PICTURE_FRAMES = 16
_CHAINS_SHOWN = 6
_REJECTED_SHOWN = 50
# Clips whose whole reasoning is written out to see whether it ends in the right label: writing is slow.
_EXPLAINED = 64
_LEARNED, _FIXED = "learned renderer", "fixed renderer"
_COUNTED = ("action", "format", "subject", "camera")
_PACKAGES = ("skeletonllm", "torch", "transformers", "deepspeed", "ray", "prefect")

Row = dict[str, Any]


def run(
    workdir: Workdir,
    clips: DatasetRef,
    checkpoints: Mapping[str, CheckpointRef],
    predictions: Mapping[str, DatasetRef],
    choices: Choices,
) -> Path:
    """Write the report of a run; returns where it lies.

    Args:
        workdir: where it is kept.
        clips: the clip data set.
        checkpoints: of every stage, by name.
        predictions: of the compared systems, the learned one first.
        choices: what was run, and which clips tested.
    """
    recipe, cross_format = choices.recipe, choices.cross_format
    protocol = protocol_of(clips, choices.hold_out, cross_format)
    reader = ShardReader(clips)
    facts = _clip_facts(clips, protocol)
    answers = [_answers(dataset, facts) for dataset in predictions.values()]
    candidates = tuple(ShardReader(next(iter(predictions.values()))).manifest.config["actions"])
    students = [load_student(checkpoints[name].path) for name in predictions]
    systems = [_system(name, rows, candidates) for name, rows in zip((_LEARNED, _FIXED), answers, strict=False)]
    systems[0] = replace(systems[0], chain_label=_chain_label(students[0], reader, answers[0], len(candidates)))
    made_from = _made_from(workdir, checkpoints)
    chains = made_from.get("chains")
    seed = read_run(next(iter(checkpoints.values()))).seed
    chain_rows = ShardReader(chains).table().to_pylist() if chains else []
    data = ReportData(
        title=f"SkeletonLLM: {recipe.name}",
        command=f"recipe {choices.described}, held out {choices.hold_out}, "
        f"never trained on {', '.join(cross_format) or 'nothing'}, seed {seed}",
        systems=tuple(systems),
        comparison=_comparison(answers, "test"),
        comparison_cross=_comparison(answers, "cross_format"),
        candidates=candidates,
        gallery=tuple(_gallery(answers, students, reader)),
        chains=tuple(shown_chain(row) for row in spread(chain_rows, _CHAINS_SHOWN)),
        chain_rate=(
            sum(row["verdict"] == "accepted" for row in chain_rows),
            len(chain_rows) + (ShardReader(chains).manifest.num_rejected if chains else 0),
        ),
        step_counts=dict(
            Counter(v["verdict"] for row in chain_rows for v in json.loads(row["chain"])["step_verdicts"])
        ),
        teacher=chain_rows[0]["teacher"] if chain_rows else "none",
        curves=tuple(_curve(name, checkpoint) for name, checkpoint in checkpoints.items()),
        data=_data_facts(reader, protocol),
        counts=tuple(_count_table(name, facts.values()) for name in _COUNTED),
        rejected=tuple((row["file"], row["reason"]) for row in reader.rejected()[:_REJECTED_SHOWN]),
        num_rejected=reader.manifest.num_rejected,
        unseen_formats=tuple(sorted({f["format"] for f in facts.values() if f["split"] == "cross_format"})),
        times=_times(clips, made_from, checkpoints, predictions),
        versions=tuple((name, package_version(name)) for name in _PACKAGES),
        fingerprints=tuple(
            (name, ref.fingerprint) for name, ref in {"clips": clips, **made_from, **checkpoints}.items()
        ),
        seed=seed,
        note=_note(recipe),
    )
    inputs = [clips.fingerprint, *(dataset.fingerprint for dataset in predictions.values())]
    write_report(data, workdir.path / "reports" / digest(inputs)[:12] / "report.html")
    path = workdir.path / "report.html"
    write_report(data, path)
    return path


def _clip_facts(clips: DatasetRef, protocol: Protocol) -> dict[str, Row]:
    """Split, source and number of persons of each labelled clip, by its id."""
    table = ShardReader(clips).table().select(["clip_id", "action", "num_persons"])
    return {
        row["clip_id"]: {**row, **vars(source), "split": protocol.split_of(source)}
        for row, source in zip(table.to_pylist(), assemble.sources(clips), strict=True)
        if row["action"]
    }


def _answers(predictions: DatasetRef, facts: Mapping[str, Row]) -> list[Row]:
    return [{**facts[row["clip_id"]], **row} for row in ShardReader(predictions).table().to_pylist()]


def _of(rows: Iterable[Row], name: str, value: Any) -> list[Row]:
    return [row for row in rows if row[name] == value]


def _accuracy(rows: Sequence[Row], num_candidates: int) -> Accuracy:
    return accuracy([row["action"] for row in rows], [row["predicted"] for row in rows], num_candidates)


def _system(name: str, rows: Sequence[Row], candidates: Sequence[str]) -> System:
    test, cross = _of(rows, "split", "test"), _of(rows, "split", "cross_format")
    persons = sorted({row["num_persons"] for row in test})
    matrix = confusion_matrix([row["action"] for row in test], [row["predicted"] for row in test], candidates)
    return System(
        name=name,
        held_out=_accuracy(test, len(candidates)),
        cross_format=_accuracy(cross, len(candidates)) if cross else None,
        by_format={
            format: _accuracy(_of(rows, "format", format), len(candidates))
            for format in sorted({row["format"] for row in rows})
        },
        by_persons={
            f"{count} person" + "s" * (count > 1): _accuracy(_of(test, "num_persons", count), len(candidates))
            for count in (persons if len(persons) > 1 else ())
        },
        confusion=tuple(tuple(int(count) for count in row) for row in matrix),
    )


def _comparison(answers: Sequence[Sequence[Row]], split: str) -> Comparison | None:
    """The first two systems on the same clips of a split; None where there is nothing to compare."""
    right = [[row["predicted"] == row["action"] for row in _of(rows, "split", split)] for rows in answers]
    return compare(right[0], right[1]) if len(right) > 1 and right[0] else None


def _chain_label(student: Any, reader: ShardReader, rows: Sequence[Row], num_candidates: int) -> Accuracy:
    """How often the student's own chain ends in the right label, on some of the held-out clips."""
    some = spread(_of(rows, "split", "test"), _EXPLAINED)
    texts = explain(student, [reader.by_id(row["clip_id"]) for row in some])
    return accuracy([row["action"] for row in some], [read_label(text) or "" for text in texts], num_candidates)


def _made_from(workdir: Workdir, checkpoints: Mapping[str, CheckpointRef]) -> dict[str, DatasetRef]:
    """The pairs and chains that the stages really learned from: named by the examples of their runs."""
    found: dict[str, DatasetRef] = {}
    for checkpoint in checkpoints.values():
        for fingerprint in read_manifest(Path(read_run(checkpoint).examples.path)).inputs:
            for name in ("pairs", "chains"):
                dataset = find_dataset(workdir.data, name, fingerprint)
                if dataset is not None:
                    found[name] = dataset
    return found


def _times(
    clips: DatasetRef,
    made_from: Mapping[str, DatasetRef],
    checkpoints: Mapping[str, CheckpointRef],
    predictions: Mapping[str, DatasetRef],
) -> tuple[tuple[str, float], ...]:
    """Seconds that each step took when it was made; what was found ready still counts."""
    built = {"ingest": clips, **made_from, **{f"answers, {name}": ref for name, ref in predictions.items()}}
    seconds = {name: read_manifest(Path(ref.path)).built_s for name, ref in built.items()}
    trained = {name: launch_s(ref) for name, ref in checkpoints.items()}
    order = ("ingest", *checkpoints, *(name for name in seconds if name != "ingest"))
    return tuple((name, {**seconds, **trained}[name]) for name in order)


def _note(recipe: Recipe) -> str:
    if recipe.student.backbone.name != TINY:
        return ""
    return (
        "The language model is tiny and trained from scratch, so that the whole pipeline runs anywhere in minutes: the "
        "numbers show that the parts work together, not what a pre-trained model would reach."
    )


def _gallery(answers: Sequence[Sequence[Row]], students: Sequence[Any], reader: ShardReader) -> list[Example]:
    """A few answered clips of each format, drawn by the learned and the fixed renderer."""
    student, other = students[0], students[1] if len(students) > 1 else None
    answered = {row["clip_id"]: row["predicted"] for row in answers[1]} if other is not None else {}
    formats = sorted({row["format"] for row in answers[0]})
    picked = [row for name in formats for row in spread(_of(answers[0], "format", name), _PER_FORMAT)]
    clips = [reader.by_id(row["clip_id"]) for row in picked]
    learned = _gifs(student, clips)
    fixed = _gifs(other, clips) if other is not None else [b""] * len(clips)
    words = zip(picked, clips, learned, fixed, caption(student, clips), explain(student, clips), strict=True)
    return [
        Example(
            title=clip.topology.name,
            learned=drawn,
            fixed=drawn_fixed,
            truth=row["action"],
            predicted=row["predicted"],
            predicted_fixed=answered.get(row["clip_id"], ""),
            captions=clip.captions,
            written=written,
            explained=explained,
            format=clip.source.format,
            clip_id=clip.clip_id,
        )
        for row, clip, drawn, drawn_fixed, written, explained in words
    ]


def _gifs(student: Any, clips: Sequence[Clip]) -> list[bytes]:
    import torch

    from skeletonllm.model.student import with_renderer
    from skeletonllm.render.picture import gif_bytes, to_bytes

    renderer = with_renderer(student, size_px=_PICTURE_PX, num_frames=_PICTURE_FRAMES)
    gifs = []
    with torch.inference_mode():
        for clip in clips:
            frames = renderer(renderer.collate([clip]))[0]
            gifs.append(gif_bytes(to_bytes(frames), max(4.0, _PICTURE_FRAMES / max(clip.duration_s, 0.5))))
    return gifs


def _metrics(checkpoint: CheckpointRef) -> list[dict[str, int | float]]:
    return read_metrics(Path(checkpoint.path).parents[1] / METRICS)


def _curve(name: str, checkpoint: CheckpointRef) -> Curve:
    rows = _metrics(checkpoint)
    return Curve(name, tuple(int(row["step"]) for row in rows), tuple(row["train/loss"] for row in rows))


def _data_facts(reader: ShardReader, protocol: Protocol) -> tuple[tuple[str, str], ...]:
    statistics = reader.manifest.statistics
    topologies = ", ".join(f"{name} {count}" for name, count in statistics.get("topologies", {}).items())
    return (
        ("Clips", f"{len(reader)}, {statistics.get('frames', 0)} frames, {statistics.get('seconds', 0):.0f} s"),
        ("Held out", f"{protocol.field}: {', '.join(protocol.test)}"),
        ("Never trained on", ", ".join(protocol.cross_format) or "nothing"),
        ("Topologies", topologies),
    )


def _count_table(name: str, facts: Iterable[Row]) -> CountTable:
    """Clips by one of their facts and by split."""
    rows = list(facts)
    splits = tuple(split for split in ("train", "test", "cross_format") if _of(rows, "split", split))
    counts = Counter((row[name], row["split"]) for row in rows)
    values = sorted({row[name] for row in rows})
    return CountTable(name, splits, tuple((value, tuple(counts[value, s] for s in splits)) for value in values))
