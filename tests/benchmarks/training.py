"""Where the time of a training step goes, what DeepSpeed and saving add to it, and what a second rank brings."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
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
from skeletonllm.train.loop import read_metrics
from skeletonllm.train.stage import run_stage
from tests.benchmarks.measure import Row, duration
from tests.makers import write_clips, write_dataset
from tests.ranks import run_ranks

_GROUP = "train, 16 clips"
_STEPS = 6  # of a run between two saves


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

    def __init__(self, clips: list[Clip], config: EngineConfig) -> None:
        recipe = quickstart()
        self.stage, prompt = recipe.stages[0], mqa_prompt(ACTIONS)
        self.student = SkeletonLLM.build(recipe.student, corpus=[prompt, *ACTIONS]).train()
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
    """Processor time of a step under DeepSpeed over that of a plain loop; they take turns."""
    kinds = {"plain": EngineConfig(kind="plain")}
    kinds |= {f"ZeRO {zero_stage}": EngineConfig(zero_stage=zero_stage) for zero_stage in (0, 1, 2, 3)}
    steps = {name: _Step(clips, config) for name, config in kinds.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(2 * runs + 1):
        for name, step in steps.items():
            batch, started = step.collate(), time.process_time()
            step.learn(batch)
            taken[name].append(time.process_time() - started)
    plain = median(taken["plain"][1:])
    for name, seconds in taken.items():
        if name != "plain":
            over = [100 * (each / plain - 1) for each in seconds[1:]]
            yield Row("train, engine", f"{name} over a plain loop", median(over), "%", min(over), max(over))


def _whole_runs(clips: list[Clip], root: Path, runs: int) -> Iterator[Row]:
    """What `run_stage` logs on one rank and on two, and what it takes from one step to the next where it saves."""
    rows = [
        {"example_id": clip.clip_id, "clip_id": clip.clip_id, "stage": "s", "prompt": mqa_prompt(ACTIONS)}
        | {"target": clip.action or ACTIONS[0], "weight": 1.0}
        for clip in clips
    ]
    data = write_clips(root, clips), write_dataset(root, "examples", pa.Table.from_pylist(rows, schema=EXAMPLES))
    alone, pair = (_run(run_ranks(num, _train, *data, root / str(num), runs)[0]) for num in (1, 2))
    for name, found in (("one rank", alone), ("two ranks", pair)):
        waits = [100 * wait / step for wait, step in zip(found.waits, found.steps, strict=True)]
        yield Row("train, whole run", f"{name}: waits for data, share of a step", median(waits), "%", *_ends(waits))
        share = 100 * found.save_s / (quickstart().engine.checkpoint_every * median(found.steps) + found.save_s)
        yield Row("train, whole run", f"{name}: a save", found.save_s, "s", found.save_s, found.save_s)
        yield Row("train, whole run", f"{name}: saves, share of the time", share, "%", share, share)
    ratio = median(alone.steps) / median(pair.steps)
    yield Row("train, whole run", "two ranks, times as fast as one", ratio, "", ratio, ratio)


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


@dataclass(frozen=True)
class _Run:
    steps: list[float]
    waits: list[float]
    save_s: float


def _train(clips: DatasetRef, examples: DatasetRef, folder: Path, runs: int) -> Path:
    recipe = quickstart()
    stage = replace(recipe.stages[0], max_steps=_STEPS * (runs + 1), epochs=1000.0)
    engine = replace(recipe.engine, checkpoint_every=_STEPS)
    run_stage(RunConfig(stage, recipe.student, engine, clips, examples, None, 0), folder)
    return folder


def _run(folder: Path) -> _Run:
    """Without the steps up to the first save, in which much is done for the first time."""
    rows = read_metrics(folder / "metrics.jsonl")
    between = [(after["time_s"] - before["time_s"] - after["train/step_s"], before) for before, after in pairwise(rows)]
    saves = [seconds for seconds, before in between if before["step"] % _STEPS == 0][1:]
    counted = rows[_STEPS:]
    return _Run([row["train/step_s"] for row in counted], [row["data/wait_s"] for row in counted], median(saves))
