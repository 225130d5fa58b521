"""Chains -> `chains.html` beside them: who taught, what became of each action's clips, and chains beside their pictures."""

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines.teacher.who import told_teacher
from skeletonllm.evaluate.report.chains import ActionVerdicts, ChainsPage, DrawnChain, render_chains
from skeletonllm.evaluate.report.data import ShownChain, ShownStep
from skeletonllm.plain import digest, write_whole
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.render.config import RenderConfig
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, Manifest
from skeletonllm.shards.reader import ShardReader

PAGE = "chains.html"

_SHOWN = 20
_REJECTED_SHARE = 4  # of the chains that are shown, every so many-th is a rejected one where there are any
_REASONS = 12
_SIZE_PX, _MOMENTS = 128, 10

Row = dict[str, Any]
Facts = Iterable[tuple[str, str]]


def write_page(
    chains: DatasetRef, clips: DatasetRef, checkpoint: CheckpointRef | None = None, facts: Facts = ()
) -> Path:
    """Write the page of a data set of chains, once; it lies beside the shards.

    Args:
        chains: the data set.
        clips: that the teacher was asked about.
        checkpoint: whose renderer draws them; by default they are drawn as before any training.
        facts: about the run, name and value, besides those that the data set tells itself.
    """
    path = Path(chains.path) / PAGE
    if not path.exists():
        write_whole(path, render_chains(collect(chains, clips, checkpoint, facts)))
    return path


def collect(
    chains: DatasetRef,
    clips: DatasetRef,
    checkpoint: CheckpointRef | None = None,
    facts: Facts = (),
    num_shown: int = _SHOWN,
) -> ChainsPage:
    """Who taught, what became of the clips, and some chains beside their pictures; the arguments are `write_page`'s."""
    reader = ShardReader(chains)
    rows = reader.table().to_pylist()
    rejected = reader.rejected()
    action_of = _actions(clips, {one["place"] for one in rejected})
    verdicts = Counter((row["action"], row["verdict"]) for row in rows)
    without = Counter(action_of.get(one["place"], "") for one in rejected)
    names = sorted({action for action, _ in verdicts} | set(without))
    reasons = Counter(_kind(one["reason"], one["place"]) for one in rejected)
    steps: Counter[str] = Counter()
    for row in rows:
        chain = json.loads(row["chain"])
        steps.update(verdict["verdict"] for verdict in chain["step_verdicts"])
        reasons.update(_kind(reason, row["clip_id"]) for reason in chain["reasons"])
    return ChainsPage(
        teacher=teacher_of(reader.manifest),
        facts=tuple(facts),
        actions=tuple(
            ActionVerdicts(name, verdicts[name, "accepted"], verdicts[name, "rejected"], without[name])
            for name in names
        ),
        steps=dict(steps.most_common()),
        reasons=tuple(reasons.most_common(_REASONS)),
        chains=tuple(_drawn(pick_chains(rows, num_shown), ShardReader(clips), checkpoint)),
    )


def teacher_of(chains: Manifest) -> str:
    """Who taught, in words."""
    return told_teacher(chains.config.get("model", ""), chains.config.get("base_url", ""))


def markdown_of(page: ChainsPage) -> str:
    """The page in Markdown, for where no page can be shown; what comes from data is escaped."""
    total = page.total
    lines = [
        f"**Teacher: {_escaped(page.teacher)}**; {total.accepted} of {total.asked} clips have an accepted chain",
        *_table(("what", "value"), page.facts),
        *_table(("claims", "count"), page.steps.items()),
        *_table(
            ("action", "accepted", "rejected", "without a chain"),
            ((one.action, one.accepted, one.rejected, one.without) for one in page.actions),
        ),
        *_table(("why not", "count"), page.reasons),
    ]
    for drawn in page.chains:
        chain = drawn.chain
        picture = base64.b64encode(drawn.strip).decode()
        lines += [
            "",
            f"### {_escaped(chain.action)}: {chain.verdict}",
            f"{_escaped(chain.clip_id)}, frames {', '.join(map(str, drawn.frames))}",
            "",
            f"![{len(drawn.frames)} moments of the clip](data:image/webp;base64,{picture})",
            "",
            _escaped(chain.summary),
            "",
        ]
        for number, step in enumerate(chain.steps, start=1):
            frames = f", frames {step.frames[0]} to {step.frames[1]}" if step.frames else ""
            lines.append(f"{number}. {_escaped(step.text)}{frames}: **{step.verdict}**, {_escaped(step.reason)}")
        lines += [f"* {_escaped(reason)}" for reason in chain.reasons]
    return "\n".join(lines)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; none where it has no rows."""
    lines = ["| " + " | ".join(_escaped(str(cell)) for cell in row) + " |" for row in rows]
    if not lines:
        return []
    right = "|".join(["---", *["---:"] * (len(heads) - 1)])
    return ["", "| " + " | ".join(heads) + " |", f"|{right}|", *lines]


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|!#&~])", r"\\\1", " ".join(text.split()))


def pick_chains(rows: Sequence[Row], count: int) -> list[Row]:
    """Some chains to look at, each of another action as far as that goes; rejected ones among them, last."""
    rejected = [row for row in rows if row["verdict"] == "rejected"]
    bad = spread(rejected, count // _REJECTED_SHARE)
    good = spread([row for row in rows if row["verdict"] != "rejected"], count - len(bad))
    return good + (bad if len(good) + len(bad) == count else spread(rejected, count - len(good)))


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Some rows, each of another action as far as that goes, chosen by the hash of their clips."""
    order = sorted(rows, key=lambda row: digest(row["clip_id"]))
    seen: Counter[str] = Counter()
    turns = []
    for row in order:
        turns.append((seen[row["action"]], row))
        seen[row["action"]] += 1
    return [row for _, row in sorted(turns, key=lambda turn: turn[0])[:count]]


def shown_chain(row: Row) -> ShownChain:
    """A row of a data set of chains as people read it."""
    chain = ReasoningChain.from_dict(json.loads(row["chain"]))
    steps = tuple(
        ShownStep(
            step.text or f"{step.side} {step.part} {step.predicate}",
            verdict.verdict,
            verdict.reason,
            (step.first_frame, step.last_frame),
        )
        for step, verdict in zip(chain.steps, chain.step_verdicts, strict=True)
    )
    return ShownChain(chain.clip_id, chain.answer, chain.summary, steps, chain.verdict, chain.reasons)


def _drawn(rows: Sequence[Row], reader: ShardReader, checkpoint: CheckpointRef | None) -> Iterator[DrawnChain]:
    """Chains beside strips of their clips, as a checkpoint's renderer draws them."""
    import torch

    from skeletonllm.render.picture import strip_webp

    renderer = _renderer(checkpoint)
    with torch.inference_mode():
        for row in rows:
            clip = reader.by_id(row["clip_id"])
            batch = renderer.collate([clip])
            frames = (batch.times_s[0] * clip.fps).round().int().tolist()
            about = ", ".join(filter(None, (clip.source.dataset or clip.source.format, clip.source.subject)))
            strip = strip_webp(renderer(batch)[0])
            yield DrawnChain(shown_chain(row), about, strip, tuple(frames), clip.num_frames)


def _renderer(checkpoint: CheckpointRef | None) -> Any:
    if checkpoint is None:
        from skeletonllm.render import build_renderer

        return build_renderer(RenderConfig(size_px=_SIZE_PX, num_frames=_MOMENTS)).eval()
    from pipelines.predict import load_student
    from skeletonllm.model.student import with_renderer

    return with_renderer(load_student(checkpoint.path), size_px=_SIZE_PX, num_frames=_MOMENTS, num_views=1).eval()


def _actions(clips: DatasetRef, clip_ids: set[str]) -> dict[str, str]:
    if not clip_ids:
        return {}
    table = ShardReader(clips).table().select(["clip_id", "action"])
    return {row["clip_id"]: row["action"] or "" for row in table.to_pylist() if row["clip_id"] in clip_ids}


def _kind(reason: str, clip_id: str) -> str:
    """A reason without what is its clip's own: ids, numbers, quotations."""
    text = reason.removeprefix(f"{clip_id}: ")
    text = re.sub(r"^step \d+:? ?", "", text)
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "…", text)
    return re.sub(r"[+-]?\d+(\.\d+)?", "…", text)
