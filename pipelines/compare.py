"""One student behind several renderers, trained alike with several seeds: which renderer shows more?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.metrics import SeedMean, compare_seeds, mean_over_seeds
from skeletonllm.plain import write_whole
from skeletonllm.recipes import Recipe
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.train.checkpoint import read_meta
from skeletonllm.train.config import StageConfig

STAGE = "compare_renderers"


@dataclass(frozen=True)
class Variant:
    """A renderer as it is compared.

    Args:
        name: in the table.
        changes: of the recipe's render configuration.
        learns: whether its weights move.
    """

    name: str
    changes: Mapping[str, Any]
    learns: bool = False


VARIANTS = (
    Variant("learned", {}, learns=True),
    Variant("frozen-start", {}),
    Variant("frozen-random", {"start": "random"}),
    Variant("learned-from-random", {"start": "random"}, learns=True),
    Variant("skeleton_2d", {"renderer": "skeleton_2d"}),
    Variant("skeleton_3d_velocity", {"renderer": "skeleton_3d_velocity"}),
    Variant("jtm", {"renderer": "jtm"}),
)


@dataclass(frozen=True)
class Result:
    """What came out of one variant.

    Args:
        name: of the variant.
        mean: accuracy over all seeds with its interval, and of each seed.
        against: the difference to the first variant, paired clip by clip; None for that one itself.
        speed_color: how much 2.25 m/s change the colour at the end of training, mean over the seeds.
    """

    name: str
    mean: SeedMean
    against: SeedMean | None
    speed_color: float


def pick(names: Sequence[str]) -> list[Variant]:
    """Variants by name; all where none is named.

    Raises:
        ConfigError: no such variant.
    """
    known = {variant.name: variant for variant in VARIANTS}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--renderers: no {unknown[0]!r}; there are {', '.join(known)}")
    return [known[name] for name in names] if names else list(VARIANTS)


def configure(recipe: Recipe, variant: Variant, epochs: float) -> tuple[StageConfig, Any]:
    """The stage and the student of a variant: the recipe's first stage, with the renderer's weights moving or not."""
    first = recipe.stages[0]
    trains = tuple(part for part in first.trains if variant.learns or part != "renderer")
    stage = replace(first, name=STAGE, trains=trains, epochs=epochs)
    return stage, replace(recipe.student, render=replace(recipe.student.render, **variant.changes))


def collect(runs: Mapping[str, Sequence[tuple[CheckpointRef, DatasetRef]]]) -> list[Result]:
    """The results of all variants; the first one is what the others are compared with.

    Args:
        runs: of each variant by name, a checkpoint and its answers about the test clips for each seed.

    Raises:
        DataError: nothing was asked.
    """
    rights = {name: np.stack([_right(answers) for _, answers in pairs]) for name, pairs in runs.items()}
    first = next(iter(rights.values()))
    if not first.size:
        raise DataError("no test clip was asked about; choose another --hold-out")
    return [
        Result(
            name,
            mean_over_seeds(right),
            None if right is first else compare_seeds(right, first),
            float(np.mean([_speed_color(checkpoint) for checkpoint, _ in runs[name]])),
        )
        for name, right in rights.items()
    ]


def write_results(path: Path, results: Sequence[Result], told: Mapping[str, Any]) -> None:
    """All numbers as JSON."""
    plain = {**told, "results": [asdict(result) for result in results]}
    write_whole(path, json.dumps(plain, indent=2) + "\n")


def _right(answers: DatasetRef) -> np.ndarray:
    """Whether each test clip was answered rightly, in the order of their ids."""
    rows = sorted(ShardReader(answers).table().to_pylist(), key=lambda row: row["clip_id"])
    return np.array([row["action"] == row["predicted"] for row in rows], bool)


def _speed_color(checkpoint: CheckpointRef) -> float:
    """How much the colours of the trained renderer change with 2.25 m/s."""
    return read_meta(Path(checkpoint.path)).metrics["renderer/speed_color"]
