"""Whether a text gives an action's name away. Words are compared by their stems: "waving" names "wave"."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from skeletonllm.reasoning.synonyms import SYNONYMS

_IRREGULAR = {
    "threw": "throw", "thrown": "throw", "sat": "sit", "stood": "stand", "took": "take", "taken": "take",
    "shook": "shake", "shaken": "shake", "fell": "fall", "fallen": "fall", "drank": "drink", "drunk": "drink",
    "ate": "eat", "eaten": "eat", "wore": "wear", "worn": "wear", "wrote": "write", "written": "write",
    "tore": "tear", "torn": "tear", "knelt": "kneel", "gave": "give", "given": "give", "held": "hold",
    "caught": "catch", "ran": "run", "swam": "swim", "fought": "fight", "bent": "bend", "lay": "lie", "lying": "lie",
}  # fmt: skip

# Words that describe any movement: alone they name no action ("put the hand up" is no "put on a hat").
_NEUTRAL = """
a an the of from to on off in into onto out up down over under with and or at by for it its one ones own two
both other person someone something body head neck face trunk back chest shoulder arm elbow wrist hand finger
leg knee ankle foot feet hip side left right forward backward sideways ahead away toward towards apart together
around near front raise lower rise sink lift move make go come take put get give hold reach bend straighten
stretch fold turn lean swing step do while then again high low object position
"""
# Between the words of a name: "raises the hand", "picks it up".
_MAX_BETWEEN = 1


def leaked_words(text: str, action: str) -> str | None:
    """The words of a text that name the action; None where none do.

    Either a word that only the name would bring in ("wave", "drink"), a synonym of it ("toss" for "throw"), or all words of
    the name side by side.
    """
    name = _name(action)
    words = _words(text)
    stems = [stem(word) for word in words]
    for word, root in zip(words, stems, strict=True):
        if root in name.own:
            return word
    for phrase in name.phrases:
        if (found := _together(phrase, stems)) is not None:
            return " ".join(words[found])
    found = _together(name.stems, stems)
    return None if found is None else " ".join(words[found])


def _together(wanted: tuple[str, ...], stems: Sequence[str]) -> slice | None:
    """Where all of some stems stand side by side, in any order; None where they do not."""
    if not wanted or not set(wanted) <= set(stems):
        return None
    span = len(wanted) + _MAX_BETWEEN * (len(wanted) - 1)
    for start, root in enumerate(stems):
        if root in wanted and set(wanted) <= set(stems[start : start + span]):
            return slice(start, start + span)
    return None


@dataclass(frozen=True)
class _Name:
    """An action's name as it is looked for: all its stems, those that only it brings in, and phrases that mean it."""

    stems: tuple[str, ...]
    own: frozenset[str]
    phrases: tuple[tuple[str, ...], ...]


@lru_cache(maxsize=1024)
def _name(action: str) -> _Name:
    stems = tuple(stem(word) for word in _words(action))
    own = {part for part in stems if part not in _NEUTRAL_STEMS}
    others = [other for key, listed in _SYNONYMS.items() if set(key) <= set(stems) for other in listed]
    single = {other[0] for other in others if len(other) == 1}
    phrases = {other for other in others if len(other) > 1}
    return _Name(stems, frozenset(own | single), tuple(sorted(phrases)))


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A verb's or noun's stem, roughly: `waves`, `waving` and `wave` have one."""
    word = _IRREGULAR.get(word, word)
    for ending, least in (("ing", 3), ("ies", 2), ("ied", 2), ("es", 3), ("ed", 3), ("s", 3)):
        if word.endswith(ending) and len(word) - len(ending) >= least and not word.endswith("ss"):
            word = word[: -len(ending)] + ("y" if ending in ("ies", "ied") else "")
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiou":
        word = word[:-1]
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[^\W_]+", text.lower()))


def _stems(words: Iterable[str]) -> frozenset[str]:
    return frozenset(stem(word) for word in words)


_NEUTRAL_STEMS = _stems(_NEUTRAL.split())
_SYNONYMS = {
    tuple(stem(word) for word in key.split()): tuple(tuple(stem(word) for word in other.split()) for other in others)
    for key, others in SYNONYMS.items()
}
