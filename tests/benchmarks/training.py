"""Where the time of a training step goes, what DeepSpeed and saving add to it, and what a second rank brings."""

import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import torch

from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.recipes import quickstart
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.schema import EXAMPLES
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.simulate import ACTIONS
from skeletonllm.train.config import EngineConfig, RunConfig
from skeletonllm.train.engine import Engine, make_engine, parameter_groups
from skeletonllm.train.metrics import read_metrics
from skeletonllm.train.stage import run_stage
from tests.benchmarks.measure import Row, duration
from tests.makers import write_clips, write_dataset
from tests.ranks import run_ranks

_GROUP = "train, 16 clips"
_STEPS = 6  # of a run between two saves
_TURNS = 2  # runs of each kind, in turns
_WARM_UP = 3  # steps that are not counted


def training(clips: list[Clip], root: Path, runs: int) -> Iterator[Row]:
    """One optimiser step of the quickstart's first stage; then whole runs of it."""
    yield from _shares(_Step(clips, EngineConfig(kind="plain")), runs)
    yield from _overhead(clips, runs)
    yield from _whole_runs(clips, root / "training", runs)


@dataclass(frozen=True)
class _Batch:
    prepared: list[Any]
    prompts: list[str]
    answers: list[str]


class _Step:
    """A student in training, and one batch."""

    def __init__(self, clips: list[Clip], config: EngineConfig, recompute: bool = False) -> None:
        recipe = quickstart()
        self.stage, prompt = recipe.stages[0], mqa_prompt(ACTIONS)
        backbone = replace(recipe.student.backbone, gradient_checkpointing=recompute)
        student = SkeletonLLM.build(replace(recipe.student, backbone=backbone), corpus=[prompt, *ACTIONS])
        self.student = student.train()
        self.student.set_trainable(self.stage.trains)
        groups = parameter_groups(self.student.named_parts(), self.stage)
        self.engine: Engine = make_engine(self.student, groups, config, self.stage.batch_size)
        some = (clips * self.stage.batch_size)[: self.stage.batch_size]
        prepared = [self.student.renderer.prepare(clip) for clip in some]
        self.batch = _Batch(prepared, [prompt] * len(some), [clip.action or ACTIONS[0] for clip in some])

    def collate(self) -> Any:
        """What the data's side does in a step."""
        return self.student.renderer.collate(self.batch.prepared, generator=torch.Generator().manual_seed(0))

    def learn(self, batch: Any) -> None:
        """Forward, backward, and a step of the optimiser."""
        self.engine.backward(self.engine.loss(batch, self.batch.prompts, self.batch.answers))
        self.engine.step(vars(self.stage.learning_rates))


def _shares(step: _Step, runs: int) -> Iterator[Row]:
    shares: dict[str, list[float]] = {}
    for _ in range(runs + 1):
        marks = [time.perf_counter()]
        batch = step.collate()
        marks.append(time.perf_counter())
        step.student.renderer(batch).sum().backward()
        step.student.zero_grad(set_to_none=True)
        marks.append(time.perf_counter())
        step.engine.backward(step.engine.loss(batch, step.batch.prompts, step.batch.answers))
        marks.append(time.perf_counter())
        step.engine.step(vars(step.stage.learning_rates))
        marks.append(time.perf_counter())
        data, render, all_of_it, optimiser = (after - before for before, after in pairwise(marks))
        for name, seconds in (
            ("data", data),
            ("render, forward + backward", render),
            ("model, forward + backward", all_of_it - render),
            ("optimiser", optimiser),
            ("the whole step", data + all_of_it + optimiser),
        ):
            shares.setdefault(name, []).append(seconds)
    for name, seconds in shares.items():
        yield duration(_GROUP, name, seconds[1:])


def _overhead(clips: list[Clip], runs: int) -> Iterator[Row]:
    """Processor time of a step over that of a plain loop; the share is of two steps that followed one another."""
    plain = EngineConfig(kind="plain")
    kinds = {"plain": (plain, False)}
    kinds |= {f"ZeRO {zero_stage}": (EngineConfig(zero_stage=zero_stage), False) for zero_stage in (0, 1, 2, 3)}
    kinds["recomputed activations"] = (plain, True)
    taken = _in_turns(clips, kinds, 2 * runs)
    for name in list(kinds)[1:]:
        over = [100 * (own / alone - 1) for own, alone in zip(taken[name], taken["plain"], strict=True)]
        yield Row("train, engine", f"{name} over a plain loop", median(over), "%", *_ends(over))


def _in_turns(
    clips: list[Clip], kinds: Mapping[str, tuple[EngineConfig, bool]], num_steps: int
) -> dict[str, list[float]]:
    """Seconds of processor time of each step. Each kind has a process of its own: ZeRO 3 changes torch for all in one."""
    starter = multiprocessing.get_context("forkserver")
    workers: dict[str, Any] = {}
    for name, kind in kinds.items():
        workers[name], other = starter.Pipe()
        starter.Process(target=_take_turns, args=(other, clips, *kind), daemon=True).start()
        other.close()
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(_WARM_UP + num_steps + 1):
        for name, worker in workers.items():
            worker.send(turn < _WARM_UP + num_steps)
            if turn < _WARM_UP + num_steps:
                taken[name].append(worker.recv())
    return {name: seconds[_WARM_UP:] for name, seconds in taken.items()}


def _take_turns(asked: Connection, clips: list[Clip], config: EngineConfig, recompute: bool) -> None:
    step = _Step(clips, config, recompute)
    batch = step.collate()
    while asked.recv():
        started = time.process_time()
        step.learn(batch)
        asked.send(time.process_time() - started)


def _whole_runs(clips: list[Clip], root: Path, runs: int) -> Iterator[Row]:
    """What `run_stage` logs on one rank and on two, and what it takes from one step to the next where it saves."""
    num_steps = _STEPS * (runs // _TURNS + 2)
    few = _data(root / "few", clips)
    num_new = quickstart().stages[0].batch_size * num_steps
    copies = -(-num_new // len(clips))
    new = [replace(clip, clip_id=f"{clip.clip_id}-{copy}") for copy in range(copies) for clip in clips]
    many = _data(root / "many", new[:num_new])
    found: dict[tuple[str, int], list[_Run]] = {}
    for turn in range(_TURNS):
        for name, data in (("few", few), ("many", many)):
            for num in (1, 2):
                folder = root / f"{name}-{num}-{turn}"
                found.setdefault((name, num), []).append(_run(run_ranks(num, _train, *data, folder, num_steps)[0]))
    for num, ranks in ((1, "one rank"), (2, "two ranks")):
        for name, what in (("few", "waits for data"), ("many", "waits for clips not seen before")):
            waits = [wait for run in found[name, num] for wait in run.waits]
            yield Row("train, whole run", f"{ranks}: {what}, share of a step", median(waits), "%", *_ends(waits))
        saves = [seconds for run in found["few", num] for seconds in run.saves]
        yield duration("train, whole run", f"{ranks}: a save", saves)
        between = quickstart().engine.checkpoint_every * median(run.step_s for run in found["few", num])
        shares = [100 * seconds / (between + seconds) for seconds in saves]
        yield Row("train, whole run", f"{ranks}: saves, share of the time", median(shares), "%", *_ends(shares))
    ratios = [one.step_s / two.step_s for one, two in zip(found["few", 1], found["few", 2], strict=True)]
    yield Row("train, whole run", "two ranks, times as fast as one", median(ratios), "", *_ends(ratios))


def _data(root: Path, clips: list[Clip]) -> tuple[DatasetRef, DatasetRef]:
    rows = [
        {"example_id": clip.clip_id, "clip_id": clip.clip_id, "stage": "s", "prompt": mqa_prompt(ACTIONS)}
        | {"target": clip.action or ACTIONS[0], "weight": 1.0}
        for clip in clips
    ]
    return write_clips(root, clips), write_dataset(root, "examples", pa.Table.from_pylist(rows, schema=EXAMPLES))


def _ends(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values)


@dataclass(frozen=True)
class _Run:
    """Of one run: seconds of a step (median), shares of the steps that were waited, seconds of the saves."""

    step_s: float
    waits: list[float]
    saves: list[float]


def _train(clips: DatasetRef, examples: DatasetRef, folder: Path, num_steps: int) -> Path:
    recipe = quickstart()
    stage = replace(recipe.stages[0], max_steps=num_steps, epochs=1000.0)
    engine = replace(recipe.engine, checkpoint_every=_STEPS)
    run_stage(RunConfig(stage, recipe.student, engine, clips, examples, None, 0), folder)
    return folder


def _run(folder: Path) -> _Run:
    """Without the steps up to the first save, in which much is done for the first time."""
    rows = read_metrics(folder / "metrics.jsonl")
    between = [(after["time_s"] - before["time_s"] - after["train/step_s"], before) for before, after in pairwise(rows)]
    saves = [seconds for seconds, before in between if before["step"] % _STEPS == 0][1:]
    counted = rows[_STEPS:]
    waits = [100 * row["data/wait_s"] / row["train/step_s"] for row in counted]
    return _Run(median(row["train/step_s"] for row in counted), waits, saves)
