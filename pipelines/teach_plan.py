"""What asking the teacher will take, and why, before a cent is spent: requests, tokens and cost. Asks nobody."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines import teach
from pipelines.executor import Build
from pipelines.teach import TeachConfig
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.prices import Prices, content_parts, picture_tokens
from pipelines.teacher.request import TeacherRequest
from pipelines.teacher.spending import past_answers
from pipelines.teacher.standing import standing
from pipelines.teacher.who import told_teacher
from skeletonllm.errors import ShardError
from skeletonllm.log import progress
from skeletonllm.plain import canonical_json, to_plain
from skeletonllm.reasoning.chain import CHAIN_SCHEMA
from skeletonllm.reasoning.prompts import chain_prompt_id
from skeletonllm.shards.manifest import (
    MANIFEST,
    CheckpointRef,
    DatasetRef,
    Manifest,
    dataset_folder,
    find_dataset,
    read_manifest,
)
from skeletonllm.skeleton.clip import Clip

# Until the ledger has as many answers of this model to this prompt:
_ENOUGH_ANSWERS = 5
_LETTERS_PER_TOKEN = 4  # of English and JSON, with the usual tokenisers
_PICTURE = (85, 170)  # of a picture, and of each 512 x 512 px of it: OpenAI's rule for gpt-4o
_CHAIN_TOKENS = 350  # of an answer
_REPAIRED = 0.15  # of the answers

_ANSWERED, _NEW, _CUT, _REPAIR, _LATER = "answered already", "new", "with more room", "repairs", "repairs, expected"
_NAMES = {"first": _NEW, "roomier": _CUT, "repair": _REPAIR}


@dataclass(frozen=True)
class Line:
    """Requests of one kind.

    Args:
        what: they are.
        requests: how many.
        prompt_tokens: as expected.
        completion_tokens: as expected.
        most_tokens: in and out together, from above.
        cost: as expected, USD; None where the model's price is not known.
        most_cost: from above.
        why: they are made, or not.
    """

    what: str
    requests: float
    prompt_tokens: float
    completion_tokens: float
    most_tokens: float
    cost: float | None
    most_cost: float | None
    why: str = ""


@dataclass(frozen=True)
class TeachPlan:
    """What will be done.

    Args:
        teacher: who is asked.
        folder: of the data set that comes out.
        is_done: whether it is there already.
        num_clips: that are asked about.
        lines: requests, kind after kind, and their total.
        notes: how the numbers came about, in sentences.
    """

    teacher: str
    folder: str
    is_done: bool
    num_clips: int = 0
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()


def plan(
    clips: DatasetRef, checkpoint: CheckpointRef | None, config: TeachConfig, root: Path, ledger: Path
) -> TeachPlan:
    """What `teach.run` with the same arguments would do. Draws the clips, since a request's key holds its pictures."""
    build = teach.build_of(clips, checkpoint, config, ledger)
    folder = dataset_folder(root, build.name, build.fingerprint)
    is_done = find_dataset(root, build.name, build.fingerprint) is not None
    told = TeachPlan(told_teacher(config.model, config.base_url), str(folder), is_done)
    if is_done:
        return told
    left = teach.missing_work(build, root)
    if config.teacher == "kinematic":
        num_clips = sum(1 for work in left for _ in teach.asked_clips(work))
        return replace(told, num_clips=num_clips, notes=("The offline teacher needs no request and costs nothing.",))
    with closing(teach.open_ledger(ledger)) as opened:
        estimate = Estimate(config, opened, teach.prices_of(ledger))
        counts = {kind: _Count(kind) for kind in (_ANSWERED, _NEW, _CUT, _REPAIR, _LATER)}
        num_clips = 0
        with progress("shards looked at", len(left), "shards") as tick:
            for number, work in enumerate(left, start=1):
                draw = teach.drawer(work)
                for clip in teach.asked_clips(work):
                    num_clips += 1
                    _count(clip, draw(clip), config, opened, estimate, counts)
                tick(number)
        spent = opened.totals(build.fingerprint)
    counts[_NEW].why = why_asked(build, root)
    counts[_LATER].why = f"of {100 * estimate.repaired:.0f} % of the first answers"
    counts[_ANSWERED].why = "the ledger has the reply"
    counts[_CUT].why, counts[_REPAIR].why = "the answer was cut for length", "the joints contradict the answer"
    lines = [count.line(estimate) for kind, count in counts.items() if count.requests or kind in (_ANSWERED, _NEW)]
    notes = (*estimate.notes, f"Spent on this data set so far: {spent.cost:.4f} USD in {spent.requests} requests.")
    return replace(told, num_clips=num_clips, lines=(*lines, _total(lines)), notes=notes)


HEADS = ("", "requests", "tokens in", "tokens out", "USD", "tokens at most", "USD at most", "why")


def cells(line: Line) -> tuple[str, ...]:
    """A line as texts, in the order of `HEADS`."""
    if line.what == _ANSWERED:
        return line.what, f"{line.requests:,.0f}", "", "", "", "", "", line.why
    numbers = (line.requests, line.prompt_tokens, line.completion_tokens)
    costs = (
        "?" if cost is None else f"{cost:.4f}" if cost < 1 else f"{cost:,.2f}" for cost in (line.cost, line.most_cost)
    )
    cost, most_cost = costs
    return line.what, *(f"{number:,.0f}" for number in numbers), cost, f"{line.most_tokens:,.0f}", most_cost, line.why


def markdown_of(plan: TeachPlan) -> str:
    """The plan in Markdown."""
    if plan.is_done:
        return f"The teacher is {plan.teacher}. Nothing to do: {plan.folder} is there already."
    table = [f"| {' | '.join(cells(line))} |" for line in plan.lines]
    if table:
        table = ["", f"| {' | '.join(HEADS)} |", "|---" + "|---:" * (len(HEADS) - 2) + "|---|", *table, ""]
    asked = f"The teacher is {plan.teacher}. Clips to be asked about: {plan.num_clips:,}."
    return "\n".join([asked, *table, *(f"* {note}" for note in plan.notes), f"* The data set will be {plan.folder}."])


def why_asked(build: Build, root: Path) -> str:
    """What differs from the chains that are there: from those that are most like the ones to be made."""
    there = [_differences(build, manifest) for manifest in _manifests(root / build.name)]
    if not there:
        return "no chains are here yet"
    return f"changed since the last chains: {', '.join(min(there, key=len)) or 'how they are made'}"


class Estimate:
    """What a request will take: by what answers to its prompt have taken so far, else by rules that the notes tell.

    Args:
        config: who is asked.
        ledger: of past answers.
        prices: of models.
    """

    def __init__(self, config: TeachConfig, ledger: Ledger, prices: Prices) -> None:
        self._prices, self._in_batch = prices, config.limits.batch
        self._price = prices.of(config.model, config.base_url)
        first, again = (past_answers(ledger, config.model, config.base_url, chain_prompt_id(r)) for r in (False, True))
        self._past = first if first.count >= _ENOUGH_ANSWERS else None
        self.repaired = min(1.0, again.count / first.count) if self._past else _REPAIRED
        self._picture = self._price.picture if self._price is not None and self._price.input else _PICTURE

    def tokens(self, request: TeacherRequest) -> tuple[float, float]:
        """Of the prompt and of the answer, as expected."""
        if self._past is not None:
            return self._past.prompt_tokens, self._past.completion_tokens
        letters, pictures = len(canonical_json(CHAIN_SCHEMA)), 0
        for message in request.messages:
            for kind, text in content_parts(message["content"]):
                if kind == "picture":
                    pictures += picture_tokens(text, self._picture)
                else:
                    letters += len(text)
        return letters / _LETTERS_PER_TOKEN + pictures, _CHAIN_TOKENS

    def most(self, request: TeacherRequest) -> tuple[int, float | None]:
        """Tokens in and out together, and USD, from above: what the ledger will reserve."""
        bound = self._prices.bound(request, self._in_batch)
        return bound.tokens, None if self._price is None else bound.cost

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float | None:
        """USD; None where nobody knows the price."""
        if self._price is None:
            return None
        return self._price.cost(round(prompt_tokens), round(completion_tokens), in_batch=self._in_batch)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the numbers come about."""
        base, tile = self._picture
        if self._past is not None:
            expected = f"Expected: the mean of {self._past.count} answers of this model to this prompt."
        else:
            expected = (
                f"Expected: {_LETTERS_PER_TOKEN} letters of text a token; {base} tokens a picture and {tile} more for each "
                f"512 x 512 px of it; {_CHAIN_TOKENS} tokens an answer; {100 * _REPAIRED:.0f} % of the answers repaired. "
                f"From {_ENOUGH_ANSWERS} answers on the ledger knows better."
            )
        most = "At most: a token for each byte of text, pictures as published, each answer as long as it may be."
        if self._price is None:
            price = "The price of this model is not known: add it to prices.toml to see the cost, or give --max-tokens."
        else:
            date = f", as of {self._price.as_of}" if self._price.as_of else ""
            price = f"{self._price.input:g} USD for a million tokens in, {self._price.output:g} out{date}."
        return expected, most, price


@dataclass
class _Count:
    """Requests of one kind, added up."""

    what: str
    why: str = ""
    requests: float = 0.0
    prompt_tokens: float = 0.0
    completion_tokens: float = 0.0
    most_tokens: int = 0
    most_cost: float | None = 0.0

    def add(self, tokens: tuple[float, float], most: tuple[int, float | None], share: float = 1.0) -> None:
        """One more request, or a share of one that may be needed."""
        self.requests += share
        self.prompt_tokens += share * tokens[0]
        self.completion_tokens += share * tokens[1]
        self.most_tokens += most[0]
        self.most_cost = _plus(self.most_cost, most[1])

    def line(self, estimate: Estimate) -> Line:
        """What it comes to."""
        cost = estimate.cost(self.prompt_tokens, self.completion_tokens)
        return Line(
            self.what,
            self.requests,
            self.prompt_tokens,
            self.completion_tokens,
            self.most_tokens,
            cost,
            None if cost is None else self.most_cost,
            self.why,
        )


def _count(
    clip: Clip,
    pictures: Sequence[bytes],
    config: TeachConfig,
    ledger: Ledger,
    estimate: Estimate,
    counts: dict[str, _Count],
) -> None:
    """A clip's questions: those that are answered, the next, and what may come after it."""
    stands = standing(clip, pictures, config.model, config.base_url, ledger)
    counts[_ANSWERED].requests += stands.answered
    if stands.request is None:
        return
    tokens, most = estimate.tokens(stands.request), estimate.most(stands.request)
    counts[_NAMES[stands.kind]].add(tokens, most)
    if stands.kind != "repair":
        # The second question holds the first, its answer and what is wrong with it; it may need the same room again.
        again = (sum(tokens), tokens[1])
        counts[_LATER].add(again, (2 * most[0], _plus(most[1], most[1])), estimate.repaired)


def _total(lines: Sequence[Line]) -> Line:
    costs, most_costs = [line.cost for line in lines], [line.most_cost for line in lines]
    asked = [line for line in lines if line.what != _ANSWERED]
    return Line(
        "to be asked",
        sum(line.requests for line in asked),
        sum(line.prompt_tokens for line in asked),
        sum(line.completion_tokens for line in asked),
        sum(line.most_tokens for line in asked),
        None if None in costs else sum(cost or 0.0 for cost in costs),
        None if None in most_costs else sum(cost or 0.0 for cost in most_costs),
    )


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _manifests(folder: Path) -> Iterator[Manifest]:
    for path in sorted(folder.glob(f"*/{MANIFEST}")):
        try:
            yield read_manifest(path.parent)
        except ShardError:  # of another version
            continue


def _differences(build: Build, made: Manifest) -> list[str]:
    """What a data set of chains was made from otherwise, in words."""
    config, other = to_plain(build.config), made.config
    changed = ["the pipeline"] if build.version != made.version else []
    inputs = [*build.inputs, ""][:2], [*made.inputs, ""][:2]
    changed += [name for name, one, two in zip(("the clips", "the checkpoint"), *inputs, strict=True) if one != two]
    names = {"protocol": "what is held out", "actions": "the seen actions", "max_per_action": "clips of an action"}
    changed += [words for name, words in names.items() if config.get(name) != other.get(name)]
    if config.get("teacher") != other.get("teacher"):
        return [*changed, "the teacher"]
    names = {"model": "the model", "base_url": "the server"}
    changed += [words for name, words in names.items() if config.get(name) != other.get(name)]
    prompts, before = config.get("prompts", {}), other.get("prompts", {})
    return changed + [
        f"the prompt {name}" for name in sorted({*prompts, *before}) if prompts.get(name) != before.get(name)
    ]
