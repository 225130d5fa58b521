"""Training clips -> the teacher -> verified reasoning chains, shard by shard. Rejected ones stay, with reasons."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.reasoning.prompts import PROMPT_VERSION
from skeletonllm.reasoning.verify import verify_chain

from pipelines.executor import Build, ExecutorName, Rejected, ShardOutput, map_shards
from skeletonllm.errors import ChainError
from skeletonllm.plain import from_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import CHAINS, clips_from_table
from skeletonllm.skeleton.clip import Clip

VERSION = 1

TeacherKind = Literal["kinematic", "openai"]


@dataclass(frozen=True)
class TeachConfig:
    """Who teaches, and which clips."""

    actions: tuple[str, ...]
    protocol: dict[str, Any]
    teacher: TeacherKind = "kinematic"
    """`openai` is any server that speaks the protocol; its address and key come from the environment."""
    model: str = ""
    base_url: str = ""
    max_per_action: int | None = None
    """At most so many clips of an action and shard are asked about; None for all."""
    concurrency: int = 8
    prompt_version: str = PROMPT_VERSION


@dataclass(frozen=True)
class _Work:
    clips: DatasetRef
    shard: int
    checkpoint: str | None
    replies: str
    config: TeachConfig


def run(
    clips: DatasetRef,
    checkpoint: CheckpointRef | None,
    config: TeachConfig,
    root: Path,
    replies: Path,
    executor: ExecutorName = "inline",
) -> DatasetRef:
    """Build the chains of all training clips of the known actions.

    Args:
        clips: the clip data set.
        checkpoint: whose renderer draws the frames that an `openai` teacher sees; the kinematic teacher needs none.
        config: who teaches.
        root: where data sets are kept.
        replies: the store of replies by request key; what is in it is never asked, or paid for, again.
        executor: where the shards are worked on.
    """
    drawn = checkpoint if config.teacher == "openai" else None
    count = len(ShardReader(clips).manifest.shards)
    build = Build(
        name="chains",
        pipeline="teach",
        version=VERSION,
        config={**vars(config), "concurrency": None},
        inputs=[clips.fingerprint, *([drawn.fingerprint] if drawn else [])],
        schema="chains",
        process_shard=process_shard,
        shards=[_Work(clips, i, drawn.path if drawn else None, str(replies), config) for i in range(count)],
    )
    return map_shards(build, root, executor)


def process_shard(work: _Work) -> ShardOutput:
    """Chains for one shard's training clips, each step checked against the joints."""
    protocol = from_plain(Protocol, work.config.protocol, "protocol")
    asked: Counter[str] = Counter()
    clips = []
    for clip in clips_from_table(ShardReader(work.clips).shard(work.shard)):
        if clip.action not in work.config.actions or protocol.split_of(clip.source) != "train":
            continue
        asked[clip.action] += 1
        if work.config.max_per_action is None or asked[clip.action] <= work.config.max_per_action:
            clips.append(clip)
    if work.config.teacher == "kinematic":
        from pipelines.teacher.kinematic import write_chain

        answered: Iterable[tuple[Clip, ReasoningChain | ChainError]] = (
            (clip, verify_chain(write_chain(clip, clip.action or ""), clip)) for clip in clips
        )
        spent: dict[str, float] = {}
    else:
        answered, spent = _ask(work, clips)
    return _output(answered, spent)


def _output(answered: Iterable[tuple[Clip, ReasoningChain | ChainError]], spent: dict[str, float]) -> ShardOutput:
    rows, rejected, steps = [], [], Counter()
    for clip, chain in answered:
        if isinstance(chain, ChainError):
            rejected.append(Rejected(clip.source.file, clip.clip_id, str(chain)))
            continue
        steps.update(verdict.verdict for verdict in chain.step_verdicts)
        rows.append(
            {
                "clip_id": clip.clip_id,
                "action": clip.action,
                "verdict": chain.verdict,
                "teacher": chain.teacher,
                "request_key": chain.request_key,
                "chain": json.dumps(chain.to_dict(), ensure_ascii=False, sort_keys=True),
            }
        )
    verdicts = Counter(row["verdict"] for row in rows)
    statistics = {"asked": len(rows) + len(rejected), "verdicts": dict(verdicts), "steps": dict(steps), **spent}
    return ShardOutput(pa.Table.from_pylist(rows, schema=CHAINS), tuple(rejected), statistics)


def _ask(work: _Work, clips: Sequence[Clip]) -> tuple[list[tuple[Clip, ReasoningChain | ChainError]], dict[str, float]]:
    """Ask an OpenAI-compatible server: once with the frames, once more with the facts where joints contradict it."""
    from pipelines.settings import read_settings
    from pipelines.teacher.ask import ask_for_chains

    frames = _frames(work, clips)
    return ask_for_chains(clips, frames, work.config, read_settings(), Path(work.replies))


def _frames(work: _Work, clips: Sequence[Clip]) -> list[list[bytes]]:
    """PNG frames of each clip, as the checkpoint's renderer draws them."""
    import torch
    from skeletonllm.render.picture import png_frames

    from pipelines.predict import load_student

    if work.checkpoint is None:
        return [[] for _ in clips]
    renderer = load_student(work.checkpoint).renderer
    pictures = []
    with torch.inference_mode():
        for clip in clips:
            batch = renderer.collate([clip]).to(next(renderer.parameters(), torch.empty(0)).device)
            pictures.append(png_frames(renderer(batch)[0].cpu()))
    return pictures
