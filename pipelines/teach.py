"""Training clips -> the teacher -> verified reasoning chains, shard by shard. Rejected ones stay, with reasons."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from pipelines.executor import Build, ExecutorName, Rejected, ShardOutput, map_shards
from pipelines.settings import Settings, read_settings
from pipelines.split import copies_of_held_out
from pipelines.teacher.database import ledger_url
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.limits import Limits
from pipelines.teacher.prices import Prices, find_prices
from pipelines.teacher.spending import shown_spending, spent_by_model, told_totals
from pipelines.teacher.terms import Totals
from pipelines.teacher.who import choose_teacher
from skeletonllm.errors import RequestError
from skeletonllm.evaluate.protocols import Protocol
from skeletonllm.plain import from_plain
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.reasoning.duplicates import Duplicates
from skeletonllm.reasoning.prompts import teacher_prompt_ids
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, dataset_folder, find_dataset
from skeletonllm.shards.reader import ShardReader
from skeletonllm.shards.schema import CHAINS, clips_from_table
from skeletonllm.shards.writer import shard_name
from skeletonllm.skeleton.clip import Clip

if TYPE_CHECKING:
    from pipelines.teacher.client import OpenAITeacher

logger = logging.getLogger(__name__)

VERSION = 2

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
    prompts: dict[str, str] = field(default_factory=dict)
    """The versions of the prompts that an `openai` teacher is asked with, by name."""
    limits: Limits = field(default_factory=Limits)
    """How much may be spent and how fast; the chains do not depend on it."""


@dataclass(frozen=True)
class Work:
    """A shard to be made."""

    clips: DatasetRef
    shard: int
    checkpoint: str | None
    ledger: Path
    budget: str
    config: TeachConfig


def configure(
    actions: tuple[str, ...],
    protocol: dict[str, Any],
    max_per_action: int | None = None,
    who: Settings | None = None,
    limits: Limits | None = None,
) -> TeachConfig:
    """Who teaches, which clips, up to what.

    Args:
        actions: the seen ones.
        protocol: which clips train.
        max_per_action: at most so many clips of an action and shard.
        who: as `choose_teacher` says; by default what the environment names.
        limits: how much may be spent and how fast.
    """
    who = who or choose_teacher(read_settings())
    kind: TeacherKind = "openai" if who.teacher_model else "kinematic"
    return TeachConfig(
        actions,
        protocol,
        kind,
        who.teacher_model,
        who.teacher_url if who.teacher_model else "",
        max_per_action,
        prompts=teacher_prompt_ids() if kind == "openai" else {},
        limits=limits or Limits(),
    )


def run(
    clips: DatasetRef,
    checkpoint: CheckpointRef | None,
    config: TeachConfig,
    root: Path,
    ledger: Path,
    executor: ExecutorName = "inline",
    watch: Callable[[Totals], None] | None = None,
) -> DatasetRef:
    """Build the chains of all training clips of the known actions.

    With `replay` the chains are those of the ledger. Where all replies are there, the data set is the one that asking
    made; where some are missing it has a name of its own, so that it is never taken for the whole one.

    Args:
        clips: the clip data set.
        checkpoint: whose renderer draws the frames that an `openai` teacher sees; the kinematic teacher needs none.
        config: who teaches.
        root: where data sets are kept.
        ledger: file of what was asked and what it cost, unless the settings name another ledger. What is in it is never
            asked, or paid for, again.
        executor: where the shards are worked on.
        watch: told what was spent while a server is asked, every second or at the end of a batch.

    Raises:
        BudgetError: a cap is reached; nothing is published, and the next run asks for the rest only.
        TeacherError: the server refuses, or does not answer at all; likewise.
    """
    build = build_of(clips, checkpoint, config, ledger)
    if config.limits.replay and config.teacher == "openai":
        replayed = replace(build, config={**build.config, "replay": _num_replies(ledger)})
        found = map_shards(replayed, root, executor)
        if ShardReader(found).manifest.statistics["unanswered"]:
            return found
    if config.teacher == "kinematic" or find_dataset(root, build.name, build.fingerprint) is not None:
        return map_shards(build, root, executor)
    if config.limits.batch:
        _fill(missing_work(build, root), watch)
        # What no batch has answered is not asked at the full price.
        config = replace(config, limits=replace(config.limits, replay=True))
        return map_shards(build_of(clips, checkpoint, config, ledger), root, executor)
    num_clips = sum(1 for work in missing_work(build, root) for _ in asked_clips(work))
    with (
        closing(open_ledger(ledger)) as opened,
        shown_spending(opened, build.fingerprint, config.limits.caps, num_clips, watch),
    ):
        _teacher_of(
            config, opened, build.fingerprint, ledger
        ).close()  # what is wrong with it is told before work begins
        return map_shards(build, root, executor, quiet=True)


def build_of(clips: DatasetRef, checkpoint: CheckpointRef | None, config: TeachConfig, ledger: Path) -> Build:
    """What `run` builds with the same arguments."""
    drawn = checkpoint if config.teacher == "openai" else None
    count = len(ShardReader(clips).manifest.shards)
    build = Build(
        name="chains",
        pipeline="teach",
        version=VERSION,
        config={key: value for key, value in vars(config).items() if key != "limits"},
        inputs=[clips.fingerprint, *([drawn.fingerprint] if drawn else [])],
        schema="chains",
        process_shard=process_shard,
        on_gpu=drawn is not None,
        lets_finish=True,  # requests that are under way are paid for
    )
    work = Work(clips, 0, drawn.path if drawn else None, ledger, build.fingerprint, config)
    return replace(build, shards=[replace(work, shard=shard) for shard in range(count)])


def missing_work(build: Build, root: Path) -> list[Work]:
    """What of it is not done yet."""
    folder, count = dataset_folder(root, build.name, build.fingerprint), len(build.shards)
    return [work for number, work in enumerate(build.shards) if not (folder / shard_name(number, count)).exists()]


def asked_clips(work: Work) -> Iterator[Clip]:
    """The clips of a shard that the teacher is asked about: of the training split and a seen action.

    Those that copy a clip that is held out are left out.
    """
    protocol = from_plain(Protocol, work.config.protocol, "protocol")
    copies = copies_of_held_out(work.clips, protocol)
    asked: Counter[str] = Counter()
    for clip in clips_from_table(ShardReader(work.clips).shard(work.shard)):
        trains = protocol.split_of(clip.source) == "train" and clip.clip_id not in copies
        if clip.action in work.config.actions and trains:
            asked[clip.action] += 1
            if work.config.max_per_action is None or asked[clip.action] <= work.config.max_per_action:
                yield clip


def process_shard(work: Work) -> ShardOutput:
    """Chains for one shard's training clips, each step checked against the joints."""
    if work.config.teacher == "openai":
        return _ask(work, asked_clips(work))
    from pipelines.teacher.kinematic import write_chain

    chains = _Chains()
    for place, clip in enumerate(asked_clips(work)):
        chains.add(place, clip, verify_chain(write_chain(clip, clip.action or ""), clip))
    return chains.output()


class _Chains:
    """The rows of one shard. They come in any order and leave in that of the clips."""

    def __init__(self) -> None:
        self._chains: dict[int, tuple[str | None, ReasoningChain]] = {}
        self._rejected: dict[int, Rejected] = {}

    def add(self, place: int, clip: Clip, chain: ReasoningChain | Exception) -> None:
        """What came of a clip; of its movement nothing is kept."""
        if isinstance(chain, Exception):
            self._rejected[place] = Rejected(clip.source.file, clip.clip_id, str(chain))
            return
        self._chains[place] = clip.action, chain

    def output(self, **spent: int) -> ShardOutput:
        """All of it, as a shard."""
        told = Duplicates()
        chains = [(action, _unlike_others(chain, told)) for _, (action, chain) in sorted(self._chains.items())]
        steps = Counter(one.verdict for _, chain in chains for one in chain.step_verdicts)
        rows = [_row(action, chain) for action, chain in chains]
        rejected = tuple(self._rejected[place] for place in sorted(self._rejected))
        verdicts = Counter(row["verdict"] for row in rows)
        statistics = {
            "asked": len(rows) + len(rejected),
            "verdicts": dict(sorted(verdicts.items())),
            "steps": dict(sorted(steps.items())),
            **spent,
        }
        return ShardOutput(pa.Table.from_pylist(rows, schema=CHAINS), rejected, statistics)


def _unlike_others(chain: ReasoningChain, told: Duplicates) -> ReasoningChain:
    """The chain; rejected where it says what an earlier one of the shard says of another action."""
    why = told.add(chain) if chain.verdict == "accepted" else None
    return chain if why is None else replace(chain, verdict="rejected", reasons=(why,))


def _row(action: str | None, chain: ReasoningChain) -> dict[str, Any]:
    return {
        "clip_id": chain.clip_id,
        "action": action,
        "verdict": chain.verdict,
        "teacher": chain.teacher,
        "request_key": chain.request_key,
        "chain": json.dumps(chain.to_dict(), ensure_ascii=False, sort_keys=True),
    }


def _ask(work: Work, clips: Iterator[Clip]) -> ShardOutput:
    """Chains from an OpenAI-compatible server, in the clips' order, and the tokens they took."""
    from pipelines.teacher.ask import ask_for_chains

    config = work.config
    chains = _Chains()
    spent: Counter[str] = Counter(prompt_tokens=0, completion_tokens=0, unanswered=0)
    with closing(open_ledger(work.ledger)) as ledger:
        teacher = _teacher_of(config, ledger, work.budget, work.ledger)
        with closing(teacher):
            for one in ask_for_chains(
                clips, drawer(work), teacher, config.model, config.base_url, config.limits.at_once
            ):
                chains.add(one.place, one.clip, one.chain)
                spent["prompt_tokens"] += sum(reply.prompt_tokens for reply in one.replies)
                spent["completion_tokens"] += sum(reply.completion_tokens for reply in one.replies)
                spent["unanswered"] += isinstance(one.chain, RequestError)
    return chains.output(**spent)


def _teacher_of(config: TeachConfig, ledger: Ledger, budget: str, file: Path) -> "OpenAITeacher":
    """Whoever is asked.

    Raises:
        ConfigError: the key is missing, the address may not be asked, or a cap cannot be kept without the model's price.
    """
    from pipelines.teacher.client import OpenAITeacher

    settings = replace(read_settings(), teacher_model=config.model, teacher_url=config.base_url)
    return OpenAITeacher(settings, ledger, budget, config.limits, prices_of(file))


def _fill(works: Sequence[Work], watch: Callable[[Totals], None] | None) -> None:
    """Bring all that the shards ask into the ledger, by batches; a shard at a time would wait a day for each."""
    from pipelines.teacher.ask_in_batch import fill_in_batch
    from pipelines.teacher.batch import BatchTeacher

    if not works:
        return
    work, config = works[0], works[0].config
    settings = replace(read_settings(), teacher_model=config.model, teacher_url=config.base_url)
    with closing(open_ledger(work.ledger)) as ledger:
        teacher = BatchTeacher(settings, ledger, work.budget, config.limits.caps, prices_of(work.ledger))
        with closing(teacher):
            fill_in_batch(_Asked(works), drawer(work), teacher, ledger, config.model, config.base_url)
        if watch is not None:
            watch(ledger.totals(work.budget))


@dataclass(frozen=True)
class _Asked:
    """The clips of several shards, any number of times."""

    works: Sequence[Work]

    def __iter__(self) -> Iterator[Clip]:
        for work in self.works:
            yield from asked_clips(work)


def open_ledger(file: Path) -> Ledger:
    """The ledger that the settings name, else that of a file."""
    return Ledger.open(ledger_url(read_settings().ledger_url, file))


def prices_of(ledger: Path) -> Prices:
    """What models cost: of the user's file, beside the ledger or where the settings say, and of the package."""
    return Prices.read(find_prices(ledger.parent, read_settings().prices_file))


def facts_of(
    chains: DatasetRef, checkpoint: CheckpointRef | None, config: TeachConfig, ledger: Path
) -> list[tuple[str, str]]:
    """How the chains were made and what they cost, name and value, for people to read."""
    if config.teacher == "kinematic":
        return [("chains", chains.path), ("cost", "nothing: no server was asked")]
    drawn = f"{checkpoint.name} {checkpoint.fingerprint[:12]}" if checkpoint else "nobody: no pictures were shown"
    with closing(open_ledger(ledger)) as opened:
        spent = told_totals(opened.totals(chains.fingerprint), config.limits.caps)
        models = [f"{one.model}: {one.cost:.4f} USD" for one in spent_by_model(opened, chains.fingerprint)]
    facts = [("chains", chains.path), ("pictures drawn by", drawn), ("spent", spent), ("by model", "; ".join(models))]
    return facts + [(f"prompt {name}", version) for name, version in config.prompts.items()]


def _num_replies(ledger: Path) -> int:
    with closing(open_ledger(ledger)) as opened:
        return opened.totals().settled


def drawer(work: Work) -> Callable[[Clip], list[bytes]]:
    """Draws a clip as PNG frames, as the checkpoint's renderer does; nothing where there is no checkpoint."""
    if work.checkpoint is None:
        return lambda clip: []
    import torch

    from pipelines.predict import load_student
    from skeletonllm.render.picture import png_frames

    renderer = load_student(work.checkpoint).renderer

    def draw(clip: Clip) -> list[bytes]:
        with torch.inference_mode():
            batch = renderer.collate([clip]).to(next(renderer.parameters(), torch.empty(0)).device)
            return png_frames(renderer(batch)[0].cpu())

    return draw
