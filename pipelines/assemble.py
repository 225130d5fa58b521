"""Clips, pairs and chains -> the training examples of one stage. All or nothing; no prompt is given the answer."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.executor import Build, ShardOutput, write_table
from skeletonllm.errors import ConfigError, DataError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.reasoning.chain import ReasoningChain, chain_text
from skeletonllm.reasoning.prompts import caption_prompt, chain_prompt, mqa_prompt, prompt_ids, yes_no_prompt
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import EXAMPLES
from skeletonllm.skeleton.clip import Source

VERSION = 1
KINDS = ("mqa", "yes_no", "chain", "caption")  # each has the prompt of its name


@dataclass(frozen=True)
class AssembleConfig:
    """Which examples a stage learns from."""

    stage: str
    examples: tuple[str, ...]
    actions: tuple[str, ...]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class _Row:
    """What examples are made of: a training clip without its arrays."""

    clip_id: str
    action: str | None
    captions: tuple[str, ...]


def run(
    clips: DatasetRef, pairs: DatasetRef | None, chains: DatasetRef | None, config: AssembleConfig, root: Path
) -> DatasetRef:
    """Make a stage's examples from the clips of the training split.

    Raises:
        ConfigError: an example's kind is unknown, or the stage needs pairs or chains that were not given.
        DataError: no example came out.
    """
    for kind in set(config.examples) - set(KINDS):
        raise ConfigError(f"examples of kind {kind!r} are unknown; known are {', '.join(KINDS)}")
    needed = {"yes_no": pairs, "chain": chains}
    for kind in config.examples:
        if kind in needed and needed[kind] is None:
            raise ConfigError(f"stage {config.stage}: examples of kind {kind!r} need a data set that was not given")

    def make() -> ShardOutput:
        training = _training_rows(clips, config)
        rows = [
            {"example_id": f"{kind}/{row.clip_id}/{n}", "clip_id": row.clip_id, "stage": config.stage, **example}
            for kind in config.examples
            for row, n, example in _examples(kind, training, config.actions, pairs, chains)
        ]
        if not rows:
            raise DataError(f"{clips.path}: no example for stage {config.stage}; is the training split empty?")
        table = pa.Table.from_pylist([{"weight": 1.0, **row} for row in rows], schema=EXAMPLES)
        return ShardOutput(table, statistics={"examples": len(rows), "clips": len(training)})

    return write_table(build_of(clips, pairs, chains, config), root, make)


def build_of(clips: DatasetRef, pairs: DatasetRef | None, chains: DatasetRef | None, config: AssembleConfig) -> Build:
    """What `run` builds with the same arguments; pairs and chains need not be there yet."""
    inputs = [dataset.fingerprint for dataset in (clips, pairs, chains) if dataset is not None]
    # The words of a prompt are part of the examples of its kind, and of no others.
    named = {**to_plain(config), "prompts": prompt_ids(config.examples)}
    return Build(f"examples_{config.stage}", "assemble", VERSION, named, inputs, "examples")


def preview(
    clips: DatasetRef, pairs: DatasetRef | None, chains: DatasetRef | None, config: AssembleConfig
) -> dict[str, list[tuple[str, str]]]:
    """Prompts and targets of each kind of example, without writing any; without pairs or chains, as many as can be made."""
    training = _training_rows(clips, config)
    return {
        kind: [
            (example["prompt"], example["target"])
            for _, _, example in _examples(kind, training, config.actions, pairs, chains)
        ]
        for kind in config.examples
    }


def training_actions(clips: DatasetRef, protocol: Protocol) -> tuple[str, ...]:
    """The actions of the training split, sorted: the candidates of every question."""
    rows = _split_rows(clips, protocol, "train")
    return tuple(sorted({row.action for row in rows if row.action}))


def corpus(clips: DatasetRef, protocol: Protocol) -> list[str]:
    """Texts that a tokenizer made on the spot should know: the training clips' actions and captions, sorted."""
    rows = _split_rows(clips, protocol, "train")
    return sorted({text for row in rows for text in (row.action, *row.captions) if text})


def sources(clips: DatasetRef) -> list[Source]:
    """Where each clip comes from."""
    names = list(Source.__dataclass_fields__)
    table = ShardReader(clips).table().select([f"source_{name}" for name in names])
    return [Source(**{name: row[f"source_{name}"] for name in names}) for row in table.to_pylist()]


def _split_rows(clips: DatasetRef, protocol: Protocol, split: str) -> list[_Row]:
    table = ShardReader(clips).table().select(["clip_id", "action", "captions"])
    return [
        _Row(row["clip_id"], row["action"], tuple(row["captions"]))
        for row, source in zip(table.to_pylist(), sources(clips), strict=True)
        if protocol.split_of(source) == split
    ]


def _training_rows(clips: DatasetRef, config: AssembleConfig) -> list[_Row]:
    return _split_rows(clips, from_plain(Protocol, config.protocol, "protocol"), "train")


def _examples(
    kind: str, rows: Sequence[_Row], actions: Sequence[str], pairs: DatasetRef | None, chains: DatasetRef | None
) -> Iterator[tuple[_Row, int, dict[str, Any]]]:
    if kind == "mqa":
        for row in rows:
            if row.action:
                yield row, 0, {"prompt": mqa_prompt(actions), "target": row.action}
    elif kind == "yes_no":
        partners = _partners(pairs)
        for row in rows:
            if row.action:
                yield row, 0, {"prompt": yes_no_prompt(row.action), "target": "yes"}
                if partners.get(row.action):
                    other = _pick(row.clip_id, partners[row.action])
                    yield row, 1, {"prompt": yes_no_prompt(other), "target": "no"}
    elif kind == "chain":
        accepted = _accepted(chains)
        for row in rows:
            if row.clip_id in accepted:
                yield row, 0, {"prompt": chain_prompt(), "target": chain_text(accepted[row.clip_id])}
    else:
        for row in rows:
            if row.captions:
                yield row, 0, {"prompt": caption_prompt(), "target": _pick(row.clip_id, row.captions)}


def _partners(pairs: DatasetRef | None) -> Mapping[str, list[str]]:
    partners: dict[str, list[str]] = {}
    for row in ShardReader(pairs).table().to_pylist() if pairs else []:
        partners.setdefault(row["action"], []).append(row["confused_with"])
    return partners


def _accepted(chains: DatasetRef | None) -> Mapping[str, ReasoningChain]:
    rows = ShardReader(chains).table().to_pylist() if chains else []
    return {
        row["clip_id"]: ReasoningChain.from_dict(json.loads(row["chain"]))
        for row in rows
        if row["verdict"] == "accepted"
    }


def _pick(clip_id: str, choices: Sequence[str]) -> str:
    """One of the choices, by the clip's id alone."""
    return choices[int(hashlib.sha256(clip_id.encode()).hexdigest(), 16) % len(choices)]
