"""Small runs of a stage, for tests: the tiny student on ten clips, with dropout, so that random numbers matter."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import nn

from skeletonllm.model.student import SkeletonLLM
from skeletonllm.plain import sha256_of
from skeletonllm.shards.schema import EXAMPLES
from skeletonllm.train import stage as stage_module
from skeletonllm.train.config import EngineConfig, LearningRates, RunConfig, StageConfig
from skeletonllm.train.data import Batch
from skeletonllm.train.ranks import Ranks
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


@dataclass(frozen=True)
class Trained:
    """What a process trained: of each step the loss, mean over all ranks, and the examples in their order."""

    checkpoint: Path | None
    losses: list[float]
    examples: list[list[str]]


class _Left(Exception):
    """The process ends before its run does."""


def train(run: RunConfig, folder: Path, until: int | None = None, dropout: float = 0.1) -> Trained:
    """Run a stage on this rank, with dropout; with `until` only so many steps of it, as if it were killed then."""
    made, loop = SkeletonLLM.build, stage_module.train
    losses, examples, last = list[float](), list[list[str]](), None
    mine: dict[int, list[str]] = {}

    def with_dropout(*arguments: Any, **named: Any) -> SkeletonLLM:
        student = made(*arguments, **named)
        student.mllm.get_input_embeddings().register_forward_hook(
            lambda module, _, output: nn.functional.dropout(output, dropout, module.training)
        )
        return student

    def watched(
        stage: Any, data: Any, engine: Any, collate: Any, position: Any, accumulation: int, log: Any, *more: Any
    ) -> None:
        ranks = Ranks(position.rank, engine.world_size)

        class Watched:
            def batches(self, step: int, *rest: Any) -> list[Batch]:
                if step == until:
                    raise _Left
                batches = data.batches(step, *rest)
                mine[step + 1] = [clip.clip_id for batch in batches for clip in batch.clips]
                return batches

        def logged(numbers: Any) -> None:
            losses.append(sum(ranks.told(numbers["train/loss"])) / ranks.num)
            # Asked for here: batches are made on another thread, which must not talk to the other ranks.
            rows = zip(*ranks.told(mine[numbers["step"]]), strict=True)
            examples.append([clip_id for row in rows for clip_id in row])
            log(numbers)

        loop(stage, Watched(), engine, collate, position, accumulation, logged, *more)

    SkeletonLLM.build, stage_module.train = with_dropout, watched
    try:
        last = stage_module.run_stage(run, folder)
    except _Left:
        pass
    finally:
        SkeletonLLM.build, stage_module.train = made, loop
    return Trained(last, losses, examples)


def weights(checkpoint: Path) -> dict[str, str]:
    """The hash of each part's weights."""
    return {path.name: sha256_of(path) for path in sorted(checkpoint.glob("*.safetensors"))}


def with_zero(run: RunConfig, zero_stage: int) -> RunConfig:
    """The same run with another kind of ZeRO."""
    return replace(run, engine=replace(run.engine, zero_stage=zero_stage))
