"""Evidence of up to three kinds -> confusable pairs: which actions are taken for one another. All or nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.executor import Build, ShardOutput, write_table
from pipelines.settings import read_settings
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.mining.kinematics import Batch, kinematic_strengths
from skeletonllm.mining.merge import (
    EVIDENCE_KINDS,
    ConfusablePair,
    EvidenceKind,
    Weights,
    merge_evidence,
    named_strengths,
)
from skeletonllm.mining.student import student_strengths
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import PAIRS

VERSION = 2


@dataclass(frozen=True)
class MineConfig:
    """How many partners each action gets, and how much each kind of evidence counts."""

    actions: tuple[str, ...]
    """Those of the training split; no other can be in a pair."""
    top_k: int = 3
    weights: Weights = field(default_factory=Weights)


def kinds_of(asked: Sequence[str] | None) -> tuple[EvidenceKind, ...]:
    """The kinds of evidence to ask for: those that are named; else student and kinematics, and a teacher if one is set.

    Raises:
        ConfigError: there is no such kind, or the teacher is named and none is set.
    """
    settings = read_settings()
    has_teacher = bool(settings.teacher_model or settings.teacher_url)
    if asked is None:
        return EVIDENCE_KINDS if has_teacher else ("student", "kinematics")
    if unknown := [kind for kind in asked if kind not in EVIDENCE_KINDS]:
        raise ConfigError(f"--evidence: no {unknown[0]!r}; there are {', '.join(EVIDENCE_KINDS)}")
    if not asked:
        raise ConfigError(f"--evidence: none is named; name some of {', '.join(EVIDENCE_KINDS)}")
    if "teacher" in asked and not has_teacher:
        raise ConfigError(
            "--evidence teacher: no teacher is set; name a model in SKELETONLLM_TEACHER_MODEL (and its server in "
            "OPENAI_BASE_URL), or leave this kind out"
        )
    return tuple(kind for kind in EVIDENCE_KINDS if kind in asked)


def run(
    config: MineConfig,
    root: Path,
    predictions: DatasetRef | None = None,
    motion: DatasetRef | None = None,
    similar: DatasetRef | None = None,
) -> DatasetRef:
    """Mine the confusable pairs of the training actions from what is given.

    Args:
        config: which actions, and how evidence is weighed.
        root: where data sets are kept.
        predictions: a student's, of training clips.
        motion: of training clips.
        similar: a teacher's answers.

    Raises:
        ConfigError: no evidence is given.
        DataError: there are no training clips in it, or other clips than those.
    """
    given = [evidence for evidence in (predictions, motion, similar) if evidence is not None]
    if not given:
        raise ConfigError("mining: no evidence is given; give predictions, motion or a teacher's answers")

    def make() -> ShardOutput:
        pairs = _mine(config, predictions, motion, similar)
        table = pa.Table.from_pylist([asdict(pair) for pair in pairs], schema=PAIRS)
        spoke = {kind: sum(getattr(pair, kind) is not None for pair in pairs) for kind in EVIDENCE_KINDS}
        return ShardOutput(table, statistics={"pairs": len(pairs), **spoke})

    return write_table(build_of(config, given), root, make)


def build_of(config: MineConfig, evidence: Sequence[DatasetRef]) -> Build:
    """What `run` builds from this evidence, which need not be there yet."""
    return Build("pairs", "mine", VERSION, config, [one.fingerprint for one in evidence], "pairs")


def _mine(
    config: MineConfig, predictions: DatasetRef | None, motion: DatasetRef | None, similar: DatasetRef | None
) -> list[ConfusablePair]:
    strengths: dict[EvidenceKind, np.ndarray] = {}
    mistaken = None
    if predictions is not None:
        strengths["student"], mistaken = _student(predictions, config.actions)
    if motion is not None:
        reader = ShardReader(motion)
        if len(reader) == 0:
            raise DataError(f"{motion.path}: no motion to compare; are there labelled training clips?")
        strengths["kinematics"] = kinematic_strengths(lambda: _batches(reader), config.actions)
    if similar is not None:
        strengths["teacher"] = named_strengths(_named(similar, config.actions), config.actions)
    return merge_evidence(config.actions, strengths, mistaken, config.weights, config.top_k)


def _student(predictions: DatasetRef, actions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    reader = ShardReader(predictions)
    splits = reader.manifest.config.get("splits", ("an unknown split",))
    if set(splits) != {"train"}:
        raise DataError(
            f"{predictions.path}: predictions of {', '.join(splits)}; pairs are mined from training clips alone"
        )
    table = reader.table()
    if table.num_rows == 0:
        raise DataError(f"{predictions.path}: no predictions to mine; are there labelled training clips?")
    scores = np.stack(table.column("scores").to_pylist()).astype(np.float64)
    return student_strengths(table.column("action").to_pylist(), scores, actions)


def _batches(reader: ShardReader) -> Iterator[Batch]:
    for table in reader.tables():
        if table.num_rows:
            values = np.stack(table.column("statistics").to_pylist()).astype(np.float64)
            yield table.column("action").to_pylist(), values


def _named(similar: DatasetRef, actions: Sequence[str]) -> dict[str, list[str]]:
    rows = sorted(ShardReader(similar).table().to_pylist(), key=lambda row: row["rank"])
    named: dict[str, list[str]] = {}
    for row in rows:
        if row["action"] not in actions or row["similar"] not in actions:
            raise DataError(f"{similar.path}: names {row['similar']!r}, which is no action of training; ask again")
        named.setdefault(row["action"], []).append(row["similar"])
    return named
