"""Training clips -> the teacher -> verified reasoning chains, shard by shard. Rejected ones stay, with reasons."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pipelines.executor import Build, ExecutorName, Rejected, ShardOutput, map_shards
from pipelines.settings import read_settings
from skeletonllm.errors import ChainError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import from_plain
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.reasoning.prompts import PROMPT_VERSION
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import CHAINS, clips_from_table
from skeletonllm.skeleton.clip import Clip

logger = logging.getLogger(__name__)

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


def configure(actions: tuple[str, ...], protocol: dict[str, Any], max_per_action: int | None = None) -> TeachConfig:
    """The teacher that the settings name, else the offline one."""
    settings = read_settings()
    kind: TeacherKind = "openai" if settings.teacher_model else "kinematic"
    logger.info("the teacher is %s", settings.teacher_model or "the offline kinematic one (none is configured)")
    return TeachConfig(actions, protocol, kind, settings.teacher_model, settings.teacher_url, max_per_action)


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
    return map_shards(build_of(clips, checkpoint, config, replies), root, executor)


def build_of(clips: DatasetRef, checkpoint: CheckpointRef | None, config: TeachConfig, replies: Path) -> Build:
    """What `run` builds with the same arguments; the checkpoint need not be there yet."""
    drawn = checkpoint if config.teacher == "openai" else None
    count = len(ShardReader(clips).manifest.shards)
    return Build(
        name="chains",
        pipeline="teach",
        version=VERSION,
        config={**vars(config), "concurrency": None},
        inputs=[clips.fingerprint, *([drawn.fingerprint] if drawn else [])],
        schema="chains",
        process_shard=process_shard,
        on_gpu=drawn is not None,
        shards=[_Work(clips, i, drawn.path if drawn else None, str(replies), config) for i in range(count)],
    )


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
        spent: dict[str, int] = {}
    else:
        answered, spent = _ask(work, clips)
    return _output(answered, spent)


def _output(answered: Iterable[tuple[Clip, ReasoningChain | ChainError]], spent: dict[str, int]) -> ShardOutput:
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


def _ask(work: _Work, clips: Sequence[Clip]) -> tuple[list[tuple[Clip, ReasoningChain | ChainError]], dict[str, int]]:
    """Chains from an OpenAI-compatible server, and the tokens they took."""
    from pipelines.teacher.ask import ask_for_chains

    settings = replace(read_settings(), teacher_url=work.config.base_url)
    answered = ask_for_chains(
        clips, _frames(work, clips), work.config.model, settings, Path(work.replies), work.config.concurrency
    )
    replies = [reply for one in answered for reply in one.replies]
    spent = {
        "prompt_tokens": sum(reply.prompt_tokens for reply in replies),
        "completion_tokens": sum(reply.completion_tokens for reply in replies),
    }
    return [(one.clip, one.chain) for one in answered], spent


def _frames(work: _Work, clips: Sequence[Clip]) -> list[list[bytes]]:
    """PNG frames of each clip, as the checkpoint's renderer draws them."""
    import torch

    from pipelines.predict import load_student
    from skeletonllm.render.picture import png_frames

    if work.checkpoint is None:
        return [[] for _ in clips]
    renderer = load_student(work.checkpoint).renderer
    pictures = []
    with torch.inference_mode():
        for clip in clips:
            batch = renderer.collate([clip]).to(next(renderer.parameters(), torch.empty(0)).device)
            pictures.append(png_frames(renderer(batch)[0].cpu()))
    return pictures
