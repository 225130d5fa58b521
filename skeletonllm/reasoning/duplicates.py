"""Chains that were told before: a reasoning that fits clips of two actions tells neither from the other."""

import hashlib
import re
from collections import OrderedDict

from skeletonllm.reasoning.chain import ReasoningChain

_SHINGLE_WORDS = 3
_NUM_HASHES = 12
_NEAR = 0.75  # share of hashes, an estimate of the share of shingles that two texts have in common
_PER_CLAIMS = 8
_MASK = (1 << 64) - 1
_FACTORS = tuple(
    int.from_bytes(hashlib.blake2b(bytes([n]), digest_size=8).digest(), "little") | 1 for n in range(_NUM_HASHES)
)


class Duplicates:
    """Finds near-duplicates among the chains of one run, in the order in which they come.

    What is rejected: a chain with the same claims in the same order and nearly the same words as an earlier one about a
    clip of another action. The first one stays. Chains of one action may be alike: clips in which the same happens are
    told in the same way, by the kinematic teacher above all, and each teaches what it is worth; they are only counted.
    A word that changes a claim ("up" for "down") makes it no duplicate, however alike the rest is.

    Args:
        most_kept: so many claim sequences are remembered; then the oldest are forgotten, and memory stays flat.
    """

    def __init__(self, most_kept: int = 100_000) -> None:
        self._seen: OrderedDict[int, list[tuple[tuple[int, ...], str, str]]] = OrderedDict()
        self._most_kept = most_kept
        self.num_alike = 0
        """Chains so far that were like an earlier one of the same action."""

    def add(self, chain: ReasoningChain) -> str | None:
        """Remember a chain; the reason to reject it, or None."""
        claims = _hash(repr([(s.person, s.part, s.side, s.predicate) for s in chain.steps]))
        prints = _prints(" ".join((chain.summary, *(step.text for step in chain.steps))))
        earlier = self._seen.setdefault(claims, [])
        alike = [one for one in earlier if _share(one[0], prints) >= _NEAR]
        for _, action, clip_id in alike:
            if action != chain.answer:
                return f"it says nearly the same as the chain of {clip_id}, which shows {action!r}: it tells neither"
        self.num_alike += bool(alike)
        if not alike and len(earlier) < _PER_CLAIMS:
            earlier.append((prints, chain.answer, chain.clip_id))
        if len(self._seen) > self._most_kept:
            self._seen.popitem(last=False)
        return None


def _prints(text: str) -> tuple[int, ...]:
    """The smallest of several hashes of all shingles (Broder, 1997): texts share as many as they share shingles."""
    words = re.findall(r"[^\W_]+", text.lower())
    shingles = {" ".join(words[at : at + _SHINGLE_WORDS]) for at in range(max(1, len(words) - _SHINGLE_WORDS + 1))}
    hashes = [_hash(shingle) for shingle in shingles]
    # Odd multipliers permute the 64-bit numbers.
    return tuple(min((value * factor) & _MASK for value in hashes) for factor in _FACTORS)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _share(one: tuple[int, ...], two: tuple[int, ...]) -> float:
    return sum(a == b for a, b in zip(one, two, strict=True)) / _NUM_HASHES
