"""The offline teacher: true, varied chains written from what the joints do. The default where no server is configured."""

from collections.abc import Iterable, Sequence

from pipelines.teacher.wording import Draw, summary, words
from skeletonllm.reasoning.chain import OPPOSITES, ChainStep, ReasoningChain
from skeletonllm.reasoning.facts import Fact, measure_facts, merge_sides
from skeletonllm.reasoning.signals import Signals, measure_signals
from skeletonllm.skeleton.clip import Clip

NAME = "kinematic"

_MAX_STEPS = 4
_MIN_SCORE = 0.9  # of the second step on
_BACK_AGAIN = 0.4  # what goes out comes back: the way back tells less
_SAME_PART = 0.75

# How telling a fact is beside its size: what the trunk does says more than the way a hand moves with it.
_TELLING = {
    ("pelvis", "raises"): 1.7,
    ("pelvis", "lowers"): 1.7,
    ("pelvis", "moves sideways"): 0.8,
    ("pelvis", "turns left"): 1.2,
    ("pelvis", "turns right"): 1.2,
    ("spine", "bends"): 1.8,
    ("spine", "straightens"): 0.9,
    ("wrist", "moves sideways"): 0.5,
    ("wrist", "holds still"): 0.6,
    ("wrist", "is at the head"): 1.3,
    ("wrist", "swings"): 1.4,
    ("wrist", "approaches"): 0.7,
    ("wrist", "leaves"): 0.5,
    ("ankle", "raises"): 1.3,
    ("ankle", "moves forward"): 1.1,
    ("ankle", "swings"): 0.6,
    ("ankle", "moves sideways"): 0.6,
    ("elbow", "extends"): 0.5,
    ("elbow", "flexes"): 0.4,
    ("knee", "extends"): 0.5,
    ("knee", "flexes"): 0.7,
}


def write_chain(clip: Clip, action: str) -> ReasoningChain:
    """A chain for a clip: the facts that tell most, in the order in which they happen.

    The wording is drawn by the clip's id, so it varies between clips and never between runs. The action's own words are
    avoided before the answer.
    """
    draw = Draw(clip.clip_id, action)
    signals = measure_signals(clip)
    facts = merge_sides(measure_facts(clip, signals))
    chosen = choose_facts(facts) or [_stillness(signals)]
    steps = tuple(_step(fact, place, chosen, draw) for place, fact in enumerate(chosen))
    main = max(chosen, key=lambda fact: _score(fact, ()))
    return ReasoningChain(clip.clip_id, summary(main, chosen, facts, draw), steps, action, NAME, prompt_version="")


def choose_facts(facts: Sequence[Fact]) -> list[Fact]:
    """The most telling facts in the order of time; none where there are none.

    Args:
        facts: strongest first, sides merged.
    """
    left = [fact for fact in facts if not _follows_from_another(fact, facts)]
    chosen: list[Fact] = []
    while left and len(chosen) < _MAX_STEPS:
        best = max(left, key=lambda fact: _score(fact, chosen))
        if chosen and _score(best, chosen) < _MIN_SCORE:
            break
        chosen.append(best)
        left = [fact for fact in left if fact is not best and not _repeats(fact, best)]
    return sorted(chosen, key=lambda fact: (fact.first_frame, fact.last_frame, fact.part, fact.side, fact.predicate))


def _stillness(signals: Signals) -> Fact:
    """That a part which can be seen stays where it is: the body, else a hand or another."""
    wanted = ((0, "pelvis", "center"), (0, "wrist", "right"), (0, "wrist", "left"))
    key = next((key for key in (*wanted, *signals.paths) if key in signals.paths), wanted[0])
    return Fact(*key, "holds still", 0, signals.num_frames - 1, 0.0, 1.0)


def _score(fact: Fact, chosen: Iterable[Fact]) -> float:
    score = fact.strength * _TELLING.get((fact.part, fact.predicate), 1.0)
    for other in chosen:
        if (other.person, other.part) == (fact.person, fact.part):
            back = other.predicate == OPPOSITES.get(fact.predicate) and other.first_frame <= fact.first_frame
            score *= _BACK_AGAIN if back else _SAME_PART
    return score


def _repeats(fact: Fact, chosen: Fact) -> bool:
    """Whether a fact says again what is chosen already: the same of one side, or at another time."""
    same = (fact.person, fact.part, fact.predicate) == (chosen.person, chosen.part, chosen.predicate)
    return same and (fact.side == chosen.side or "both" in (fact.side, chosen.side))


def _follows_from_another(fact: Fact, facts: Sequence[Fact]) -> bool:
    """Whether a fact only says what another one says better.

    A change of the gap between the hands says that one of them moved; a walk that is not quite straight goes sideways.
    """
    if (fact.part, fact.predicate) == ("pelvis", "moves sideways"):
        return any(
            (other.person, other.part) == (fact.person, "pelvis")
            and other.predicate in ("moves forward", "moves back")
            and other.amount > 3 * fact.amount
            for other in facts
        )
    if fact.part != "wrist" or fact.side != "both" or fact.predicate not in ("approaches", "leaves", "swings"):
        return False
    moved: dict[str, float] = {"left": 0.0, "right": 0.0}
    for other in facts:
        if (other.person, other.part) == (fact.person, "wrist") and other.unit == "body sizes":
            if other.predicate in ("approaches", "leaves"):
                continue
            for side in ("left", "right") if other.side == "both" else (other.side,):
                moved[side] = max(moved[side], other.amount)
    return min(moved.values()) < 0.4 * max(moved.values())


def _step(fact: Fact, place: int, facts: Sequence[Fact], draw: Draw) -> ChainStep:
    before = place - 1
    causes = (before,) if place and facts[before].last_frame <= fact.first_frame else ()
    return ChainStep(
        fact.person,
        fact.part,
        fact.side,
        fact.predicate,
        fact.first_frame,
        fact.last_frame,
        words(fact, draw),
        causes,
    )
