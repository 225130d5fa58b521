"""What a training stage is, as plain data. Imports nothing heavy: recipes and `--help` read it."""

import math
from dataclasses import dataclass, field
from typing import Literal

from skeletonllm.errors import ConfigError
from skeletonllm.model.config import StudentConfig
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef

Part = Literal["renderer", "projector", "language_adapter"]


@dataclass(frozen=True)
class EngineConfig:
    """How the optimiser's work is done and shared among processes."""

    kind: Literal["deepspeed", "plain"] = "deepspeed"
    """`plain` is a bare PyTorch loop on one process, for trying things."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What DeepSpeed shares among processes: 1 optimiser state, 2 gradients too, 3 weights too, but for the renderer's.

    While 3 starts, each process holds the whole model before it is shared out.
    """
    offload: Literal["nothing", "optimizer", "optimizer_and_weights"] = "nothing"
    """What waits in the machine's memory instead of the GPU's: slower, for models that do not fit. Weights need ZeRO 3."""
    num_workers: int = 1
    """Processes on each machine, one per GPU where there are GPUs."""
    num_nodes: int = 1
    """Machines. More than one are those of the Ray cluster at RAY_ADDRESS; they must share the work folder."""
    needs_gpu: bool = False
    """Whether a machine without GPUs is refused, and one with some is waited for where a cluster has none yet; else GPUs
    are taken where there are any."""
    gradient_accumulation: int = 1
    """Micro-batches of a step. Changes no result but for the rounding of sums, as long as all examples weigh the same."""
    gradient_clipping: float = 1.0
    checkpoint_every: int = 100
    """Optimiser steps between checkpoints; the last step is always saved."""
    keep_last: int = 2
    """Newest checkpoints that are kept; at least two, so that one may be damaged."""
    keep_best: int = 0
    """Checkpoints that are kept besides: the best of all."""
    best_by: str = "train/loss"
    """What tells the best: a name in `metrics.jsonl` that begins with `train/`; the loss is that of one batch."""
    best_is: Literal["lowest", "highest"] = "lowest"
    hang_after_s: float = 1800.0
    """After so long without a step, saving included, the workers are ended and start again from the last checkpoint."""
    start_within_s: float = 1800.0
    """So long, or `hang_after_s` if that is longer, they have for their first step, loading included."""
    grace_s: float = 25.0
    """What a step and a save may take after a SIGTERM, before the workers are killed. Keep it below what whoever sends
    the signal allows: 30 s in Kubernetes (`terminationGracePeriodSeconds`) and Slurm (`KillWait`), unless told
    otherwise."""
    tensorboard: bool = False
    """Whether `metrics.jsonl` is written for TensorBoard too; needs `pip install skeletonllm[tensorboard]`."""

    @property
    def world_size(self) -> int:
        """Processes on all machines together."""
        return self.num_workers * self.num_nodes

    def __post_init__(self) -> None:
        if self.kind == "plain" and self.world_size > 1:
            raise ConfigError(f"engine.kind is 'plain' with {self.world_size} workers; it has one, use 'deepspeed'")
        for name in ("hang_after_s", "start_within_s", "grace_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"engine.{name} is {getattr(self, name)}, must be a number of seconds above 0")
        least = {"num_workers": 1, "num_nodes": 1, "gradient_accumulation": 1, "checkpoint_every": 1}
        least |= {"keep_last": 2, "keep_best": 0}
        for name, smallest in least.items():
            if getattr(self, name) < smallest:
                raise ConfigError(f"engine.{name} is {getattr(self, name)}, must be at least {smallest}")
        needed = {"nothing": 0, "optimizer": 1, "optimizer_and_weights": 3}[self.offload]
        if needed and (self.kind == "plain" or self.zero_stage < needed):
            raise ConfigError(
                f"engine.offload is {self.offload!r} with engine.kind={self.kind}, zero_stage={self.zero_stage}; it needs "
                f"'deepspeed' and zero_stage {needed} or higher"
            )


@dataclass(frozen=True)
class LearningRates:
    """Peak learning rate of each part. The renderer has its own: with the language model's it hardly moves."""

    renderer: float = 1e-3
    projector: float = 1e-3
    language_adapter: float = 1e-3


@dataclass(frozen=True)
class StageConfig:
    """One of the four stages of training."""

    name: str
    trains: tuple[Part, ...]
    """Parts whose weights move; all else is frozen."""
    examples: tuple[Literal["mqa", "yes_no", "chain", "caption"], ...]
    """What the stage's examples ask for."""
    epochs: float = 1.0
    batch_size: int = 16
    """Clips of one optimiser step, over all processes."""
    group_by_length: int = 1
    """So many steps share out their examples by length, so that little of a batch is padding; 1: they stay as shuffled.

    With 8 the steps of the quickstart's last three stages take 1.13 to 1.25 times less CPU time. Its students were no
    better for it: 96.4 against 98.0 %, one seed; a step then holds examples of one kind.
    """
    learning_rates: LearningRates = field(default_factory=LearningRates)
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises from 0; then it falls along a cosine to a tenth."""
    weight_decay: float = 0.01
    max_steps: int | None = None

    def examples_each(self, world_size: int, accumulation: int) -> int:
        """Examples of one process in one micro-step.

        Raises:
            ConfigError: the batch cannot be divided so.
        """
        each, left = divmod(self.batch_size, world_size * accumulation)
        if left:
            raise ConfigError(
                f"stage {self.name}: batch_size {self.batch_size} cannot be divided by {world_size} workers x "
                f"{accumulation} accumulation steps; choose a multiple"
            )
        return each

    def __post_init__(self) -> None:
        if not self.trains:
            raise ConfigError(f"stage {self.name}: trains nothing; name at least one part")
        if self.epochs <= 0 or self.batch_size < 1 or self.group_by_length < 1:
            raise ConfigError(
                f"stage {self.name}: epochs {self.epochs}, batch_size {self.batch_size}, group_by_length "
                f"{self.group_by_length}; must be positive"
            )
        if self.max_steps is not None and self.max_steps < 1:
            raise ConfigError(
                f"stage {self.name}: max_steps {self.max_steps}, must be at least 1, or null for no limit"
            )


@dataclass(frozen=True)
class RunConfig:
    """All that one training run depends on; its hash names the checkpoint."""

    stage: StageConfig
    student: StudentConfig
    engine: EngineConfig
    clips: DatasetRef
    examples: DatasetRef
    init_from: CheckpointRef | None
    seed: int

    def __post_init__(self) -> None:
        self.stage.examples_each(self.engine.world_size, self.engine.gradient_accumulation)
