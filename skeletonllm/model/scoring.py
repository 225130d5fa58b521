"""Rank candidate answers by likelihood: clip and question are read once, then all candidates in one row, as a tree.

What candidates start with in common is read once too. Each token sees the prompt and its own ancestors, nothing else, so
the scores are those of one forward for each candidate.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

# Likelihoods of the whole vocabulary held at once.
_MAX_LOGITS = 2**27
_SLIDING, _FULL = "sliding_attention", "full_attention"
_ROOT = 0
_PAPER_TOKENS, _PAPER_REPETITION_PENALTY = 16, 1.05


@dataclass(frozen=True)
class AnswerTree:
    """Answers that share what they start with.

    Args:
        ids: tokens that another follows, parents first.
        depth: how many tokens of the answer stand before each.
        sees: which of them each may look at: its ancestors and itself.
        after: for each step of an answer, where its likelihood is read: 0 at the end of the prompt, n + 1 at token n.
        token: the step's token.
        steps: which steps each answer takes.
    """

    ids: Int64[Tensor, " tokens"]
    depth: Int64[Tensor, " tokens"]
    sees: Bool[Tensor, "tokens tokens"]
    after: Int64[Tensor, " steps"]
    token: Int64[Tensor, " steps"]
    steps: Bool[Tensor, "answers steps"]


@lru_cache(maxsize=16)
def plant(answers: tuple[tuple[int, ...], ...], device: torch.device) -> AnswerTree:
    """The tree of some answers, each at least one token long and none the beginning of another.

    Args:
        answers: token ids with their end token.
        device: where the tensors are wanted.
    """
    places: dict[tuple[int, ...], int] = {(): _ROOT}
    steps: dict[tuple[int, ...], int] = {}
    for answer in answers:
        for end in range(1, len(answer) + 1):
            begun = answer[:end]
            steps.setdefault(begun, len(steps))
            if end < len(answer):
                places.setdefault(begun, len(places))
    nodes = list(places)[1:]
    lines = [[places[node[:end]] - 1 for end in range(1, len(node) + 1)] for node in nodes]
    taken = [[steps[answer[:end]] for end in range(1, len(answer) + 1)] for answer in answers]

    def whole(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=device)

    return AnswerTree(
        ids=whole([node[-1] for node in nodes]),
        depth=whole([len(node) - 1 for node in nodes]),
        sees=_marked(lines, len(nodes)).to(device),
        after=whole([places[step[:-1]] for step in steps]),
        token=whole([step[-1] for step in steps]),
        steps=_marked(taken, len(steps)).to(device),
    )


def _marked(places: list[list[int]], width: int) -> Tensor:
    """Rows that are True at some places."""
    marked = torch.zeros(len(places), width, dtype=torch.bool)
    rows = [number for number, row in enumerate(places) for _ in row]
    marked[rows, [place for row in places for place in row]] = True
    return marked


@torch.inference_mode()
def rank_shared(
    mllm: Any, inputs: Mapping[str, Tensor], answers: Sequence[Sequence[int]]
) -> Float[Tensor, "batch answers"]:
    """Mean log-likelihood per token of each answer after each prompt.

    Args:
        mllm: the model.
        inputs: left-padded prompts with their positions and pixels.
        answers: different token ids with their end token.
    """
    prefix = mllm(**inputs, use_cache=True, logits_to_keep=1)
    scores = torch.empty(len(inputs["input_ids"]), len(answers), device=inputs["input_ids"].device)
    most = max(1, _MAX_LOGITS // (len(scores) * prefix.logits.shape[-1]))
    for some in _portions(answers, most):
        tree = plant(tuple(tuple(answers[number]) for number in some), scores.device)
        scores[:, some] = _tree_scores(mllm, prefix, inputs, tree)
    return scores


def _portions(answers: Sequence[Sequence[int]], most: int) -> Iterator[list[int]]:
    """Numbers of answers whose tokens are at most so many together, or one answer; similar ones side by side."""
    some: list[int] = []
    tokens = 0
    for number in sorted(range(len(answers)), key=lambda number: list(answers[number])):
        if some and tokens + len(answers[number]) > most:
            yield some
            some, tokens = [], 0
        some.append(number)
        tokens += len(answers[number])
    yield some


def _tree_scores(
    mllm: Any, prefix: Any, inputs: Mapping[str, Tensor], tree: AnswerTree
) -> Float[Tensor, "batch answers"]:
    logits = prefix.logits[:, -1:]
    if len(tree.ids):
        logits = torch.cat((logits, _tree_logits(mllm, prefix.cache, inputs, tree)), 1)
    logits = logits.float()
    each = logits[:, tree.after, tree.token] - logits.logsumexp(-1)[:, tree.after]
    return each @ tree.steps.T.float() / tree.steps.sum(1)


def _tree_logits(mllm: Any, cache: Any, inputs: Mapping[str, Tensor], tree: AnswerTree) -> Tensor:
    batch = len(inputs["input_ids"])
    positions = inputs["position_ids"][..., -1:] + 1 + tree.depth
    output = mllm(
        input_ids=tree.ids.expand(batch, -1),
        attention_mask=_tree_masks(mllm, cache, inputs["attention_mask"], tree),
        position_ids=positions,
        cache=_branch(cache),
        use_cache=True,
    )
    return output.logits


def _branch(cache: Any) -> Any:
    """A cache that goes on from this one, which stays as it is; the tensors are shared, for they are never written to."""
    branch = copy.copy(cache)
    branch.layers = [copy.copy(layer) for layer in cache.layers]
    return branch


def _tree_masks(mllm: Any, cache: Any, mask: Tensor, tree: AnswerTree) -> Tensor | dict[str, Tensor]:
    """What the tokens of a tree look at, for each kind of attention that the language model has, as numbers to add."""
    config = mllm.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or [_FULL])
    if _SLIDING not in kinds:
        return _added(_full_mask(mask, tree), mllm.dtype)
    kept = next(layer.keys.shape[-2] for layer in cache.layers if layer.is_sliding)
    sliding = _full_mask(mask[:, -kept:], tree) & _within(config.sliding_window, kept, tree)
    return {_FULL: _added(_full_mask(mask, tree), mllm.dtype), _SLIDING: _added(sliding, mllm.dtype)}


def _full_mask(mask: Tensor, tree: AnswerTree) -> Bool[Tensor, "batch 1 tokens seen"]:
    size = (len(mask), 1, len(tree.ids), -1)
    return torch.cat((mask.bool()[:, None, None].expand(*size), tree.sees.expand(*size)), -1)


def _within(window: int, kept: int, tree: AnswerTree) -> Bool[Tensor, "tokens seen"]:
    """Tokens nearer than the window, of the `kept` last ones of the prompt and those of the tree."""
    places = torch.cat((torch.arange(-kept, 0, device=tree.depth.device), tree.depth))
    return tree.depth[:, None] - places < window


def _added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.where(seen, 0.0, torch.finfo(dtype).min).to(dtype)


def only(answers: Sequence[Sequence[int]], num_before: int) -> Callable[[int, Tensor], list[int]]:
    """For `generate`: the tokens that may come next when nothing but these answers may be written.

    Args:
        answers: token ids with their end token.
        num_before: tokens of the prompts, padding included.
    """
    following: dict[tuple[int, ...], set[int]] = {}
    for answer in answers:
        for end, token in enumerate(answer):
            following.setdefault(tuple(answer[:end]), set()).add(token)
    ends = sorted({answer[-1] for answer in answers})

    def allowed(_row: int, ids: Tensor) -> list[int]:
        return sorted(following.get(tuple(ids[num_before:].tolist()), ends))

    return allowed


def named(answers: Sequence[str], candidates: Sequence[str]) -> Bool[Tensor, "answers candidates"]:
    """Which candidates stand in which free answers, letter case aside."""
    rows = [[candidate.lower() in answer.lower() for candidate in candidates] for answer in answers]
    return torch.tensor(rows, dtype=torch.bool).view(len(answers), len(candidates))


def paper_protocol(
    student: Any, batch: Any, prompts: Sequence[str], candidates: Sequence[str]
) -> Bool[Tensor, "batch candidates"]:
    """Which candidates the student's own words name; the paper (arXiv 2603.18003) counts a clip whose action is among them.

    It writes greedily, at most 16 tokens. An answer may name several candidates or none, and one name may stand in another:
    ranking has none of these weaknesses.

    Args:
        student: who is asked; `SkeletonLLM`.
        batch: the clips.
        prompts: one for each.
        candidates: the names that are looked for.
    """
    written = student.generate(
        batch, prompts, max_new_tokens=_PAPER_TOKENS, repetition_penalty=_PAPER_REPETITION_PENALTY
    )
    return named(written, candidates)
