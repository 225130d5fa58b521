"""Whether a text gives an action's name away. Words are compared by their stems: "waving" names "wave"."""

import re
from collections.abc import Iterable
from functools import lru_cache

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

    Either a word that only the name would bring in ("wave", "drink"), or all words of the name side by side.
    """
    name = [stem(word) for word in _words(action)]
    words = _words(text)
    stems = [stem(word) for word in words]
    own = {part for part in name if part not in _NEUTRAL_STEMS}
    for word, root in zip(words, stems, strict=True):
        if root in own:
            return word
    if not name:
        return None
    span = len(name) + _MAX_BETWEEN * (len(name) - 1)
    for start in range(len(stems)):
        if stems[start] in name and set(name) <= set(stems[start : start + span]):
            return " ".join(words[start : start + span])
    return None


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


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())


def _stems(words: Iterable[str]) -> frozenset[str]:
    return frozenset(stem(word) for word in words)


_NEUTRAL_STEMS = _stems(_NEUTRAL.split())
