"""Predictions, chains and checkpoints -> report.html. Draws the pictures and asks the student for its words."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from pipelines.predict import load_student
from pipelines.split import protocol_of
from pipelines.workdir import Workdir
from skeletonllm.evaluate.metrics import Accuracy, accuracy, confusion_matrix, mcnemar_p
from skeletonllm.evaluate.predict import caption, explain
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.evaluate.report import Curve, Example, ReportData, ShownChain, ShownStep, System, write_report
from skeletonllm.plain import digest
from skeletonllm.reasoning.chain import ReasoningChain, read_label
from skeletonllm.recipes import Recipe
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, find_dataset
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.clip import Clip
from skeletonllm.train.loop import read_metrics
from skeletonllm.train.stage import METRICS

logger = logging.getLogger(__name__)

_PER_FORMAT = 3
_PICTURE_PX = 160
_PICTURE_FRAMES = 16
_CHAINS_SHOWN = 6
_EXPLAINED = 64
_NAMES = {"fixed_renderer": "fixed renderer"}

Row = dict[str, Any]


def run(
    workdir: Workdir,
    clips: DatasetRef,
    checkpoints: Mapping[str, CheckpointRef],
    predictions: Mapping[str, DatasetRef],
    recipe: Recipe,
    rule: str,
    cross_format: tuple[str, ...],
) -> Path:
    """Write the report of a run; returns where it lies.

    Args:
        workdir: where it is kept.
        clips: the clip data set.
        checkpoints: of every stage, by name.
        predictions: of the compared systems, the learned one first.
        recipe: what was run.
        rule: which clips tested.
        cross_format: formats that training never saw.
    """
    protocol = protocol_of(clips, rule, cross_format)
    reader = ShardReader(clips)
    answers = {name: ShardReader(dataset).table().to_pylist() for name, dataset in predictions.items()}
    first, *others = answers
    candidates = tuple(ShardReader(predictions[first]).manifest.config["actions"])
    systems = [_system(name, rows, reader, protocol, candidates) for name, rows in answers.items()]
    test_rows = _of_split(answers[first], reader, protocol, "test")
    student = load_student(checkpoints[first].path)
    chain_label = _chain_label(student, reader, test_rows, len(candidates))
    systems[0] = System(**{**vars(systems[0]), "name": "learned renderer", "chain_label": chain_label})
    chains = find_dataset(workdir.data, "chains")
    chain_rows = ShardReader(chains).table().to_pylist() if chains else []
    chain_manifest = ShardReader(chains).manifest if chains else None
    matrix = confusion_matrix([r["action"] for r in test_rows], [r["predicted"] for r in test_rows], candidates)
    data = ReportData(
        title=f"SkeletonLLM: {recipe.name}",
        command=f"recipe {recipe.name}, held out {rule}, never trained on {', '.join(cross_format) or 'nothing'}, "
        f"seed {recipe.seed}",
        systems=tuple(systems),
        p_value=_p_value(answers, first, others, reader, protocol),
        candidates=candidates,
        confusion=tuple(tuple(int(n) for n in row) for row in matrix),
        gallery=tuple(_gallery(answers, checkpoints, reader, student)),
        chains=tuple(_shown(row) for row in _spread(chain_rows, _CHAINS_SHOWN)),
        chain_rate=(
            sum(row["verdict"] == "accepted" for row in chain_rows),
            len(chain_rows) + (chain_manifest.num_rejected if chain_manifest else 0),
        ),
        step_counts=dict(
            Counter(v["verdict"] for row in chain_rows for v in json.loads(row["chain"])["step_verdicts"])
        ),
        teacher=chain_rows[0]["teacher"] if chain_rows else "none",
        curves=tuple(_curve(name, checkpoint) for name, checkpoint in checkpoints.items()),
        data=tuple(_facts(reader, protocol)),
        rejected=tuple((row["file"], row["reason"]) for row in reader.rejected()[:50]),
        times=tuple((name, _training_s(checkpoint)) for name, checkpoint in checkpoints.items()),
        versions=tuple((name, package_version(name)) for name in ("skeletonllm", "torch", "transformers", "deepspeed")),
    )
    inputs = [clips.fingerprint, *(dataset.fingerprint for dataset in predictions.values())]
    path = workdir.path / "reports" / digest(inputs)[:12] / "report.html"
    write_report(data, path)
    write_report(data, workdir.path / "report.html")
    return workdir.path / "report.html"


def _of_split(rows: Sequence[Row], reader: ShardReader, protocol: Protocol, split: str) -> list[Row]:
    return [row for row in rows if protocol.split_of(reader.by_id(row["clip_id"]).source) == split]


def _accuracy(rows: Sequence[Row], num_candidates: int) -> Accuracy:
    return accuracy([row["action"] for row in rows], [row["predicted"] for row in rows], num_candidates)


def _system(
    name: str, rows: Sequence[Row], reader: ShardReader, protocol: Protocol, candidates: Sequence[str]
) -> System:
    test = _of_split(rows, reader, protocol, "test")
    cross = _of_split(rows, reader, protocol, "cross_format")
    formats = sorted({row["format"] for row in test})
    return System(
        name=_NAMES.get(name, name),
        held_out=_accuracy(test, len(candidates)),
        cross_format=_accuracy(cross, len(candidates)) if cross else None,
        by_format={f: _accuracy([row for row in test if row["format"] == f], len(candidates)) for f in formats},
    )


def _p_value(
    answers: Mapping[str, Sequence[Row]], first: str, others: Sequence[str], reader: ShardReader, protocol: Protocol
) -> float | None:
    if not others:
        return None
    right = [
        [row["predicted"] == row["action"] for row in _of_split(answers[name], reader, protocol, "test")]
        for name in (first, others[0])
    ]
    return mcnemar_p(*right)


def _chain_label(student: Any, reader: ShardReader, rows: Sequence[Row], num_candidates: int) -> Accuracy:
    """How often the student's own chain ends in the right label, on some of the held-out clips."""
    some = _spread(rows, _EXPLAINED)
    texts = explain(student, [reader.by_id(row["clip_id"]) for row in some])
    return accuracy([row["action"] for row in some], [read_label(text) or "" for text in texts], num_candidates)


def _gallery(
    answers: Mapping[str, Sequence[Row]],
    checkpoints: Mapping[str, CheckpointRef],
    reader: ShardReader,
    student: Any,
) -> list[Example]:
    """A few answered clips of each format, drawn by the learned and the fixed renderer."""
    first, *others = answers
    fixed = load_student(checkpoints[others[0]].path) if others else student
    answered = {row["clip_id"]: row["predicted"] for row in answers[others[0]]} if others else {}
    by_format: dict[str, list[Row]] = {}
    for row in answers[first]:
        by_format.setdefault(row["format"], []).append(row)
    picked = [row for name in sorted(by_format) for row in _spread(by_format[name], _PER_FORMAT)]
    clips = [reader.by_id(row["clip_id"]) for row in picked]
    learned_gifs, fixed_gifs = _gifs(student, clips), _gifs(fixed, clips)
    words = zip(picked, clips, learned_gifs, fixed_gifs, caption(student, clips), explain(student, clips), strict=True)
    return [
        Example(
            title=f"{clip.source.format}: {clip.topology.name}",
            learned=learned,
            fixed=drawn,
            truth=row["action"],
            predicted=row["predicted"],
            predicted_fixed=answered.get(row["clip_id"], ""),
            captions=clip.captions,
            written=written,
            explained=explained,
        )
        for row, clip, learned, drawn, written, explained in words
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


def _spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Some rows, each of another action as far as that goes, chosen by the hash of their clips."""
    order = sorted(rows, key=lambda row: digest(row["clip_id"]))
    seen: Counter[str] = Counter()
    turns = []
    for row in order:
        turns.append((seen[row["action"]], row))
        seen[row["action"]] += 1
    return [row for _, row in sorted(turns, key=lambda turn: turn[0])[:count]]


def _shown(row: Row) -> ShownChain:
    chain = ReasoningChain.from_dict(json.loads(row["chain"]))
    steps = tuple(
        ShownStep(step.text, verdict.verdict, verdict.reason)
        for step, verdict in zip(chain.steps, chain.step_verdicts, strict=True)
    )
    return ShownChain(chain.clip_id, chain.answer, chain.summary, steps, chain.verdict, chain.reasons)


def _curve(name: str, checkpoint: CheckpointRef) -> Curve:
    rows = read_metrics(Path(checkpoint.path).parents[1] / METRICS)
    return Curve(name, tuple(int(row["step"]) for row in rows), tuple(row["train/loss"] for row in rows))


def _training_s(checkpoint: CheckpointRef) -> float:
    rows = read_metrics(Path(checkpoint.path).parents[1] / METRICS)
    return sum(row["train/step_s"] for row in rows)


def _facts(reader: ShardReader, protocol: Protocol) -> list[tuple[str, str]]:
    statistics = reader.manifest.statistics
    splits = Counter(protocol.split_of(clip.source) for clip in reader.clips() if clip.action)
    counted = {
        name: ", ".join(f"{k or 'unknown'} {v}" for k, v in statistics.get(name, {}).items()) for name in statistics
    }
    return [
        (
            "Clips",
            f"{len(reader)}, {statistics.get('seconds', 0):.0f} s, {reader.manifest.num_rejected} files rejected",
        ),
        ("Splits", ", ".join(f"{name} {count}" for name, count in sorted(splits.items()))),
        ("Held out", f"{protocol.field}: {', '.join(protocol.test)}"),
        ("Formats", str(counted.get("formats", ""))),
        ("Topologies", str(counted.get("topologies", ""))),
        ("Actions", str(counted.get("actions", ""))),
        ("Persons in a clip", str(counted.get("persons", ""))),
        ("Fingerprint", reader.manifest.fingerprint),
    ]
