"""The offline teacher: true, varied chains written from what the joints do. The default where no server is configured."""

import hashlib
from collections.abc import Sequence
from itertools import pairwise

from skeletonllm.reasoning.chain import ChainStep, ReasoningChain
from skeletonllm.reasoning.facts import Fact, measure_facts
from skeletonllm.reasoning.prompts import PROMPT_VERSION
from skeletonllm.skeleton.clip import Clip

NAME = "kinematic"
_MAX_STEPS = 4

_NOUNS = {"wrist": "hand", "ankle": "foot", "pelvis": "body", "elbow": "arm", "knee": "leg", "head": "head"}
_VERBS = {
    "raises": ("goes up", "rises", "is lifted"),
    "lowers": ("goes down", "sinks", "is lowered"),
    "moves forward": ("goes forward", "reaches forward"),
    "moves back": ("goes back", "draws back"),
    "moves sideways": ("goes to the side", "shifts sideways"),
    "extends": ("straightens", "stretches out"),
    "flexes": ("bends", "folds"),
    "swings": ("goes back and forth", "moves to and fro"),
    "approaches": ("come together", "close in"),
    "leaves": ("move apart", "part"),
    "holds still": ("stays still", "hardly moves"),
}
_BODY_VERBS = {"moves forward": ("goes forward", "comes forward"), "moves back": ("goes back", "backs away")}
_THEN = ("then", "after that", "next")


def write_chain(clip: Clip, action: str) -> ReasoningChain:
    """A chain for a clip: the facts that stand out most, in the order in which they happen.

    The wording is drawn by the clip's id, so it varies between clips and never between runs.
    """
    draw = _Draw(clip.clip_id)
    facts = choose_facts(measure_facts(clip), clip)
    steps = tuple(_step(fact, place, facts, draw) for place, fact in enumerate(facts))
    return ReasoningChain(clip.clip_id, _summary(steps, draw), steps, action, NAME, PROMPT_VERSION)


def choose_facts(facts: Sequence[Fact], clip: Clip) -> list[Fact]:
    """The strongest facts, at most one of a kind for each part, in the order of time; stillness where there are none."""
    chosen: list[Fact] = []
    for fact in facts:
        same = [f for f in chosen if (f.person, f.part, f.side) == (fact.person, fact.part, fact.side)]
        if any(f.predicate == fact.predicate for f in same) or len(same) >= 2:
            continue
        chosen.append(fact)
        if len(chosen) == _MAX_STEPS:
            break
    if not chosen:
        chosen = [Fact(0, "pelvis", "center", "holds still", 0, clip.num_frames - 1, 0.0, 1.0)]
    return sorted(chosen, key=lambda fact: (fact.first_frame, fact.last_frame, fact.part, fact.side, fact.predicate))


def _step(fact: Fact, place: int, facts: Sequence[Fact], draw: "_Draw") -> ChainStep:
    causes = tuple(
        earlier for earlier in range(place) if facts[earlier].last_frame <= fact.first_frame and earlier == place - 1
    )
    return ChainStep(
        fact.person,
        fact.part,
        fact.side,
        fact.predicate,
        fact.first_frame,
        fact.last_frame,
        _clause(fact, draw),
        causes,
    )


def _clause(fact: Fact, draw: "_Draw") -> str:
    verbs = _BODY_VERBS if fact.part == "pelvis" and fact.predicate in _BODY_VERBS else _VERBS
    verb = draw.one(verbs[fact.predicate])
    if fact.side == "both":
        who = "the two persons" if fact.part == "pelvis" else f"the {_NOUNS.get(fact.part, fact.part)}s"
        return f"{who} {verb}"
    side = "" if fact.side == "center" else f"{fact.side} "
    other = "of the second person " if fact.person == 1 else ""
    return f"the {side}{_NOUNS.get(fact.part, fact.part)} {other}{verb}"


def _summary(steps: Sequence[ChainStep], draw: "_Draw") -> str:
    parts = [steps[0].text]
    for before, step in pairwise(steps):
        together = step.first_frame < before.last_frame
        parts.append(f"{'while' if together else draw.one(_THEN)} {step.text}")
    text = ", ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


class _Draw:
    """Choices that depend on a text alone."""

    def __init__(self, seed: str) -> None:
        self._state = int(hashlib.sha256(seed.encode()).hexdigest(), 16)

    def one(self, choices: Sequence[str]) -> str:
        """The next choice."""
        self._state, place = divmod(self._state, len(choices))
        return choices[place]
