"""Facts in words: several ways to say each, drawn by a text, never with the words of the action itself."""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from skeletonllm.reasoning.facts import Fact
from skeletonllm.reasoning.leak import leaked_words

_NOUNS = {"wrist": "hand", "ankle": "foot", "pelvis": "body", "elbow": "arm", "knee": "leg", "spine": "trunk"}
_PLURALS = {"foot": "feet"}

# Of one and of several: "the hand ...", "both hands ...". The last way of each says least and leaks least.
_ONE = {
    "raises": ("goes up", "rises", "is lifted"),
    "lowers": ("goes down", "sinks", "is lowered"),
    "moves forward": ("goes forward", "reaches forward", "goes ahead"),
    "moves back": ("goes back", "draws back", "goes backward"),
    "moves sideways": ("goes to the side", "shifts sideways", "goes sideways"),
    "extends": ("straightens", "stretches", "stretches out"),
    "flexes": ("bends", "is bent", "folds"),
    "bends": ("bends over", "leans over", "tilts"),
    "straightens": ("straightens", "comes upright", "gets upright"),
    "swings": ("goes to and fro", "swings to and fro", "goes back and forth"),
    "holds still": ("stays still", "keeps its place", "rests"),
    "is above the head": ("is above the head", "stays above the head", "is overhead"),
    "is at the head": ("is at the head", "stays at the head", "is held to the head"),
    "turns left": ("turns to the left", "turns left", "rotates to the left"),
    "turns right": ("turns to the right", "turns right", "rotates to the right"),
    "leads": ("goes first", "leads", "sets out first"),
    "approaches": ("comes closer", "comes near", "closes in"),
    "leaves": ("goes away", "moves off", "gets away"),
}
_MANY = {
    "raises": ("go up", "rise", "are lifted"),
    "lowers": ("go down", "sink", "are lowered"),
    "moves forward": ("go forward", "reach forward", "go ahead"),
    "moves back": ("go back", "draw back", "go backward"),
    "moves sideways": ("go to the side", "shift sideways", "go sideways"),
    "extends": ("straighten", "stretch", "stretch out"),
    "flexes": ("bend", "are bent", "fold"),
    "swings": ("go to and fro", "swing to and fro", "go back and forth"),
    "holds still": ("stay still", "keep their place", "rest"),
    "is above the head": ("are above the head", "stay above the head", "are overhead"),
    "is at the head": ("are at the head", "stay at the head", "are held to the head"),
    "approaches": ("come together", "come closer", "get nearer"),
    "leaves": ("go apart", "move apart", "part"),
}
_TRAVEL = {
    "moves forward": ("comes forward", "goes ahead"),
    "moves back": ("backs away", "goes back"),
}
_THEN = ("then", "and then")
_WHILE = ("while", "as")
_MAX_CLAUSES = 2
# What leads back from where a part went: sitting down and a knee bend differ in nothing else.
_BACK = {
    ("pelvis", "raises"): "lowers",
    ("pelvis", "lowers"): "raises",
    ("spine", "bends"): "straightens",
    ("wrist", "raises"): "lowers",
    ("wrist", "moves forward"): "moves back",
    ("ankle", "raises"): "lowers",
    ("ankle", "moves forward"): "moves back",
}
_QUICK = {"body sizes": 1.5, "degrees": 300.0}  # a second
_SLOW = {"body sizes": 0.2, "degrees": 35.0}
_RETURN = (("returns", "comes back", "is back at the end"), ("return", "come back", "are back at the end"))
_REMAIN = (("stays there", "remains there", "does not come back"), ("stay there", "remain there", "do not come back"))


class Draw:
    """Choices that depend on a text alone, and pass over those that name the action.

    Args:
        seed: the clip's id.
        action: whose words are avoided.
    """

    def __init__(self, seed: str, action: str) -> None:
        self._state = int(hashlib.sha256(seed.encode()).hexdigest(), 16)
        self._action = action

    def one(self, choices: Sequence[str]) -> str:
        """The next choice; the last one where all of them name the action."""
        allowed = [choice for choice in choices if leaked_words(choice, self._action) is None]
        self._state, place = divmod(self._state, max(1, len(allowed)))
        return allowed[place] if allowed else choices[-1]


def words(fact: Fact, draw: Draw) -> str:
    """A fact as a clause: "the left hand quickly goes up"."""
    pace = ""
    if fact.per_s >= _QUICK.get(fact.unit, np.inf):
        pace = draw.one(("quickly ", ""))
    elif 0 < fact.per_s <= _SLOW.get(fact.unit, 0):
        pace = draw.one(("slowly ", ""))
    verb = _verb(fact, draw)
    if verb.startswith(("is ", "are ")):
        helper, _, verb = verb.partition(" ")
        pace = f"{helper} {pace}"
    return f"{_subject(fact)} {pace}{verb}"


def summary(main: Fact, chosen: Sequence[Fact], facts: Sequence[Fact], draw: Draw) -> str:
    """One sentence on what the part that tells most does, from its first movement to where it ends up.

    Args:
        main: the step that tells most.
        chosen: the steps.
        facts: all of them, strongest first: they say what else that part does.
        draw: for the wording.
    """
    same = [fact for fact in chosen if _same_part(fact, main) and fact is not main]
    same = sorted(same, key=lambda fact: -fact.strength)[: _MAX_CLAUSES - 1]
    own = sorted([main, *same], key=lambda fact: (fact.first_frame, fact.last_frame))
    text = f"{_subject(own[0])} {_verb(own[0], draw)}"
    for before, fact in pairwise(own):
        text += f", {draw.one(_THEN)} " if fact.first_frame >= before.last_frame else " and "
        text += _verb(fact, draw)
    text += _ending(own, main, facts, draw)
    others = [fact for fact in chosen if not _same_part(fact, main)]
    beside = next((fact for fact in others if _overlap(fact, own)), None)
    if beside is not None:
        said = f"{_subject(beside)} {_verb(beside, draw)}"
        text = draw.one((f"{text}, {draw.one(_WHILE)} {said}", f"as {said}, {text}"))
    return f"{text[0].upper()}{text[1:]}."


def _ending(own: Sequence[Fact], main: Fact, facts: Iterable[Fact], draw: Draw) -> str:
    """Whether the part comes back or stays where it went, where that is clear: by its height, if that changed."""
    went = next((fact for fact in own if fact.predicate == "raises"), main)
    back = _BACK.get((went.part, went.predicate))
    ways_back = (back,) if went.part == "pelvis" else (back, "lowers", "moves back")
    if back is None or any(fact is not went and fact.predicate in ways_back for fact in own):
        return ""
    same = [fact for fact in facts if _same_part(fact, went) and fact.predicate == back]
    if any(fact.first_frame < went.first_frame for fact in same):
        return ""
    amount = sum(fact.amount for fact in same)
    plural = own[0].side == "both" and own[0].part != "pelvis"
    if amount > 0.7 * went.amount:
        return f"{', then' if len(own) > 1 else ' and'} {draw.one(_RETURN[plural])}"
    return f" and {draw.one(_REMAIN[plural])}" if amount < 0.2 * went.amount and len(own) == 1 else ""


def _same_part(one: Fact, two: Fact) -> bool:
    return (one.person, one.part, one.side) == (two.person, two.part, two.side)


def _overlap(fact: Fact, own: Iterable[Fact]) -> bool:
    return any(min(fact.last_frame, one.last_frame) > max(fact.first_frame, one.first_frame) for one in own)


def _verb(fact: Fact, draw: Draw) -> str:
    if fact.side == "both":
        verb = draw.one(_MANY[fact.predicate])
    elif fact.part == "pelvis" and fact.predicate in _TRAVEL:
        verb = draw.one(_TRAVEL[fact.predicate])
    else:
        verb = draw.one(_ONE[fact.predicate])
    return verb


def _subject(fact: Fact) -> str:
    noun = _NOUNS.get(fact.part, fact.part)
    whose = "the second person's" if fact.person == 1 else ""
    if fact.side == "both":
        if fact.part == "pelvis":
            return "the two persons"
        return f"{whose} {'two ' if whose else 'both '}{_PLURALS.get(noun, noun + 's')}".strip()
    side = "" if fact.side == "center" else f"{fact.side} "
    return f"{whose or 'the'} {side}{noun}"
