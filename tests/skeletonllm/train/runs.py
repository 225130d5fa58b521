"""Small runs of a stage, for tests: the tiny student on ten clips, with dropout, so that random numbers matter."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import nn

from skeletonllm.model.student import SkeletonLLM
from skeletonllm.plain import sha256_of
from skeletonllm.shards.schema import EXAMPLES
from skeletonllm.train import stage as stage_module
from skeletonllm.train.config import EngineConfig, LearningRates, RunConfig, StageConfig
from skeletonllm.train.loop import read_metrics
from tests.makers import make_clip, write_clips, write_dataset
from tests.students import ACTIONS, tiny_student

PARTS = ("renderer", "projector", "language_adapter")


def make_run(root: Path, num_steps: int = 8, batch_size: int = 6, **engine: Any) -> RunConfig:
    """A run of a few steps on ten clips of three actions."""
    clips = [make_clip(f"c{place}", seed=place, num_frames=4) for place in range(10)]
    rows = [
        {
            "example_id": clip.clip_id,
            "clip_id": clip.clip_id,
            "stage": "warmup",
            "prompt": "which?",
            "target": ACTIONS[place % len(ACTIONS)],
            "weight": 1.0,
        }
        for place, clip in enumerate(clips)
    ]
    stage = StageConfig(
        *("warmup", PARTS, ("mqa",)),
        epochs=100.0,
        batch_size=batch_size,
        max_steps=num_steps,
        learning_rates=LearningRates(renderer=1e-2, projector=1e-3, language_adapter=1e-3),
    )
    return RunConfig(
        stage,
        tiny_student().config,
        EngineConfig(**{"checkpoint_every": 4, **engine}),
        write_clips(root, clips),
        write_dataset(root, "examples", pa.Table.from_pylist(rows, schema=EXAMPLES)),
        None,
        seed=1,
    )


def train(run: RunConfig, folder: Path, until: int | None = None, dropout: float = 0.1) -> Path:
    """Run a stage with dropout; with `until` the process leaves after so many steps, once they are saved."""
    made = SkeletonLLM.build

    def with_dropout(*arguments: Any, **named: Any) -> SkeletonLLM:
        student = made(*arguments, **named)
        student.mllm.get_input_embeddings().register_forward_hook(
            lambda module, _, output: nn.functional.dropout(output, dropout, module.training)
        )
        return student

    loop = stage_module.train

    def cut(stage: Any, data: Any, engine: Any, collate: Any, position: Any, *more: Any) -> None:
        """The learning rates of the whole run, but not all of its steps."""

        class Short:
            def __getattr__(self, name: str) -> Any:
                return getattr(data, name)

            def batches(self, step: int, *rest: Any) -> Any:
                if until is not None and step >= until:
                    raise Left
                return data.batches(step, *rest)

        loop(stage, Short(), engine, collate, position, *more)

    SkeletonLLM.build = with_dropout
    stage_module.train = cut
    try:
        return stage_module.run_stage(run, folder)
    except Left:
        return folder
    finally:
        SkeletonLLM.build, stage_module.train = made, loop


class Left(Exception):
    """A process that ends before its run does."""


def losses(folder: Path) -> list[float]:
    """Of each step, exactly."""
    return [row["train/loss"] for row in read_metrics(folder / "metrics.jsonl")]


def weights(checkpoint: Path) -> dict[str, str]:
    """The hash of each part's weights."""
    return {path.name: sha256_of(path) for path in sorted(checkpoint.glob("*.safetensors"))}


def with_zero(run: RunConfig, zero_stage: int) -> RunConfig:
    """The same run with another kind of ZeRO."""
    return replace(run, engine=replace(run.engine, zero_stage=zero_stage))


def copy(folder: Path, to: Path) -> Path:
    """A run's folder, to go on from it twice."""
    shutil.copytree(folder, to)
    return to
