"""One student behind several renderers, trained alike with several seeds: which renderer shows more?"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.metrics import SeedMean, compare_seeds, mean_over_seeds
from skeletonllm.evaluate.report.dots import dots_page
from skeletonllm.plain import from_plain, write_whole
from skeletonllm.recipes import Recipe
from skeletonllm.render.diagnosis import PAPER_SPEED_COLOR, SPEED_M_PER_S
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.train.checkpoint import read_meta
from skeletonllm.train.config import StageConfig

STAGE = "compare_renderers"
NOTE = (
    f"{SPEED_M_PER_S} m/s show: mean change of a Gaussian's colour at that speed; x paper: as a multiple of the paper's "
    "released weights. Motion drawn as paths, as jtm does, is not in it."
)


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


def facts(answers: DatasetRef) -> dict[str, Any]:
    """How many clips were asked about, and how often guessing would be right."""
    reader = ShardReader(answers)
    return {"clips": len(reader), "chance": 1 / len(reader.manifest.config["actions"])}


def write_results(path: Path, results: Sequence[Result], told: Mapping[str, Any]) -> None:
    """All numbers as JSON, and beside it a page with a dot plot.

    Args:
        path: of the JSON.
        results: of each variant.
        told: `hold_out`, `epochs`, and what `facts` says.
    """
    plain = {**told, "results": [asdict(result) for result in results]}
    write_whole(path, json.dumps(plain, indent=2) + "\n")
    seeds = len(results[0].mean.each)
    page = dots_page(
        "What each renderer is worth",
        f"The same student behind each, trained alike: {told['epochs']:g} epochs, {seeds} seeds. "
        f"{told['clips']} clips test ({told['hold_out']}).",
        [(result.name, result.mean) for result in results],
        told["chance"],
        heads(results[0].name),
        [cells(result) for result in results],
        NOTE,
    )
    write_whole(path.with_suffix(".html"), page)


def heads(first: str) -> list[str]:
    """Of the columns of `cells`; `first` is what the others are compared with."""
    return ["renderer", "accuracy, %", "each seed", f"less {first}", f"{SPEED_M_PER_S} m/s show", "x paper"]


def cells(result: Result) -> list[str]:
    """A row of the table: accuracy, seeds, difference, reaction to speed, and how often that of the paper's weights."""
    return [
        result.name,
        _text(result.mean),
        " ".join(f"{100 * value:.1f}" for value in result.mean.each),
        "" if result.against is None else _text(result.against, "+.1f"),
        f"{result.speed_color:.4f}",
        f"{result.speed_color / PAPER_SPEED_COLOR:.0f}",
    ]


def read_results(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """What `write_results` wrote: what was told, and the results."""
    plain = json.loads(path.read_text())
    results = [from_plain(Result, row, str(path)) for row in plain.pop("results")]
    return plain, results


def _text(mean: SeedMean, form: str = ".1f") -> str:
    """The mean, and its interval, in percent."""
    value, low, high = (f"{100 * share:{form}}" for share in (mean.mean, mean.low, mean.high))
    return f"{value} ({low} to {high})"


def _right(answers: DatasetRef) -> np.ndarray:
    """Whether each test clip was answered rightly, in the order of their ids."""
    rows = sorted(ShardReader(answers).table().to_pylist(), key=lambda row: row["clip_id"])
    return np.array([row["action"] == row["predicted"] for row in rows], bool)


def _speed_color(checkpoint: CheckpointRef) -> float:
    """How much the colours of the trained renderer change with 2.25 m/s."""
    return read_meta(Path(checkpoint.path)).metrics["renderer/speed_color"]
