"""Claims in free text: a small closed grammar of parts, sides, verbs and times. What it cannot read, it says so."""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache

from skeletonllm.reasoning.chain import OPPOSITES, ChainStep, StepVerdict
from skeletonllm.reasoning.claims import check_step
from skeletonllm.reasoning.measure import best, not_measurable, supported
from skeletonllm.reasoning.signals import Signals
from skeletonllm.reasoning.tolerances import tolerances

_PARTS = {
    "wrist": "hand|wrist|palm|fist",
    "elbow": "arm|forearm|elbow",
    "ankle": "foot|ankle",
    "knee": "leg|knee",
    "spine": "trunk|torso|upper body|chest|spine",
    "head": "head",
    "pelvis": "body|pelvis|hips?|person|man|woman|he|she|somebody|someone",
}
_PLURALS = {
    "wrist": "hands|wrists|palms|fists",
    "elbow": "arms|forearms|elbows",
    "ankle": "feet|ankles",
    "knee": "legs|knees",
    "pelvis": "persons|people",
}
_CENTRES = ("pelvis", "spine", "head")
_SIDED = r"(?:(?P<side>left|right|both|the two|two|each) )?"
_SUBJECT = re.compile(
    rf"\b(?:(?P<whose>first|second|other) person s )?{_SIDED}"
    + "(?:"
    + "|".join(rf"(?P<{part}_many>{words})" for part, words in _PLURALS.items())
    + "|"
    + "|".join(rf"(?P<{part}>{words})" for part, words in _PARTS.items())
    + r")\b"
)
_TO_HEAD = r"(?:to|at|near|by|towards?) (?:the |his |her |their )?(?:head|mouth|face|ear|nose|chin|lips|forehead)s?"
# The first one that matches a part of the text reads it; so the special ones stand before the general ones.
_VERBS: tuple[tuple[str, str], ...] = (
    ("is above the head", r"(?:above|over) (?:the |his |her |their )?head|overhead"),
    ("is at the head", _TO_HEAD),
    ("swings", r"to and fro|back and forth|from side to side|up and down|(?:swing|wav|shak|oscillat)\w*"),
    ("turns left", r"(?:turn|rotat)\w*(?: to)?(?: the| his| her)? left"),
    ("turns right", r"(?:turn|rotat)\w*(?: to)?(?: the| his| her)? right"),
    (
        "holds still",
        r"(?:stay|hold|held|keep|kept|remain|stand)\w* still|rests?\b|keeps? (?:its|their) place|motionless",
    ),
    ("leads", r"(?:go|goes|moves?|sets? out) first|leads?\b"),
    (
        "approaches",
        r"(?:come|move|go|get|bring|brought)\w*(?: \w+)? (?:together|closer|nearer?)|approach\w*|get nearer|meets?\b"
        r"|closes? in",
    ),
    ("leaves", r"(?:come|move|go|get)\w* (?:apart|away|off)|separat\w*|(?:draw|spread)\w* apart|spreads?\b|leaves?\b"),
    ("moves forward", r"forwards?\b|ahead\b"),
    ("moves back", r"(?:move|go|draw|step|pull|back)\w* (?:back(?:wards?)?\b|away)|backwards?\b"),
    ("moves sideways", r"sideways|to (?:the|one|his|her|its) (?:left|right|side)\b"),
    (
        "raises",
        r"(?:ris|rais|lift|elevat)\w*|rose\b|(?:go|goes|move|moves|come|comes|get|gets|stand|stands|stood) up\b",
    ),
    (
        "lowers",
        r"(?:lower|sink|drop|descend)\w*|sank\b|(?:go|goes|move|moves|come|comes|get|gets|sit|sits|sat) down\b"
        r"|(?:fall|fell)\w*",
    ),
    ("straightens", r"(?:straighten|extend|stretch|unbend)\w*|(?:comes?|gets?|is|are) upright"),
    ("bends", r"(?:bend|flex|fold|lean|tilt|crouch)\w*|bent\b"),
)
_VERB_PATTERNS = tuple((predicate, re.compile(rf"\b(?:{pattern})")) for predicate, pattern in _VERBS)
_WAVING = re.compile(r"\bwav\w*")
_NEGATION = re.compile(r"\b(?:not|no|never|without|nor|neither|cannot|barely|hardly)\b")
_WHOLE = re.compile(r"\b(?:to and fro|back and forth|up and down)\b")
_RETURNS = re.compile(r"\b(?:(?:comes?|is|are) back(?: again)?(?: at the end)?|returns?|returned)\b")
_UNDONE = {
    "raises": "rises",
    "lowers": "sinks",
    "moves forward": "goes forward",
    "moves back": "goes backward",
    "extends": "straightens",
    "flexes": "bends",
    "bends": "bends",
    "straightens": "straightens",
    "approaches": "comes closer",
    "leaves": "goes apart",
    "turns left": "turns left",
    "turns right": "turns right",
}
_BREAKS = re.compile(
    r":|,? (?:and |but )?(?:then|afterwards|after that|next|later)\b"
    r"|,? ?\b(?:while|meanwhile|as|whereas|when)\b|,|\band\b"
)
_FRAMES = re.compile(
    r"\b(?:(?:in|from|between|during|over|at|for|within) )?(?:the )?frames? "
    r"(\d+)(?: ?(?:to|and|until|-) ?(?:frame )?(\d+))?"
)
_SECONDS = re.compile(
    r"\b(?:in|from|between|during|at|after) (\d+(?:\.\d+)?) ?s?(?:ec\w*)? ?"
    r"(?:to|and|until|-) ?(\d+(?:\.\d+)?) ?s(?:ec\w*)?\b"
)
_SHARES = (
    (re.compile(r"\b(?:at|in|from) the (?:start|beginning)\b|\bat first\b|\bfirst,|\binitially\b"), (0.0, 0.35)),
    (re.compile(r"\b(?:at|in|towards) the end\b|\bfinally\b|\bat last\b"), (0.65, 1.0)),
    (re.compile(r"\b(?:in|during|over) the first half\b"), (0.0, 0.5)),
    (re.compile(r"\b(?:in|during|over) the second half\b"), (0.5, 1.0)),
    (re.compile(r"\bthroughout\b|\ball the time\b|\bthe whole time\b"), (0.0, 1.0)),
)
_FILLERS = frozenset(
    word
    for words in (
        "a an the of to from in on at with by for over into its it his her their own this that he she they",
        "is are was were be been being does do has have and then while as also again same",
        "slowly quickly fast slow quick far little slightly clearly",
        "moves move moving goes go going comes come coming gets get reaches reach reaching puts shifts shift",
        "bring brings brought hold holds held keep keeps stays stay remains",
        "up down forward back out there not time s person first second other both each two left right",
    )
    for word in words.split()
)


@dataclass(frozen=True)
class Claim:
    """What one clause says.

    Args:
        words: the clause.
        steps: what is to be measured; none where nothing in it can be.
        fault: why nothing is.
        anytime: whether no time is named: then it may happen at any time.
        either: whether no side is named: then either may do it.
        unread: words that are not understood.
    """

    words: str
    steps: tuple[ChainStep, ...] = ()
    fault: str = ""
    anytime: bool = True
    either: bool = False
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """A claim with the verdict of each of its steps."""

    claim: Claim
    verdicts: tuple[StepVerdict, ...]


def check_text(text: str, signals: Signals, held: Collection[ChainStep] = ()) -> list[Checked]:
    """Every clause of a text, measured against the joints; what cannot be read is not measurable.

    Args:
        text: in English.
        signals: of the clip.
        held: claims that were supported in some frames: they need not be measured again where no time is named.
    """
    allowed = tolerances(signals)
    known = {(step.person, step.part, step.side, step.predicate) for step in held}
    found = []
    for claim in read_claims(text, signals.num_frames, signals.fps):
        verdicts = []
        for step in claim.steps:
            if claim.anytime and (step.person, step.part, step.side, step.predicate) in known:
                verdicts.append(supported("as one of the steps"))
                continue
            sides = [replace(step, side=side) for side in ("left", "right")] if claim.either else [step]
            verdicts.append(best(check_step(one, signals, allowed, claim.anytime) for one in sides))
        found.append(Checked(claim, tuple(verdicts) or (not_measurable(claim.fault),)))
    return found


def read_claims(text: str, num_frames: int, fps: float) -> tuple[Claim, ...]:
    """The claims of a text.

    Args:
        text: in English, in any case.
        num_frames: of the clip.
        fps: frames per second, for times in seconds.
    """
    claims: list[Claim] = []
    subject = None
    for sentence in re.split(r"(?<!\d)\.|\.(?!\d)|[;!?]", _plain(text)):
        window = None
        for start, end, breaks in _clauses(sentence):
            clause = sentence[start:end].strip(" ,")
            if breaks.strip(" ,") in ("then", "and then", "next", "later", "after that", "afterwards"):
                window = None
            went = claims[-1].steps[:1] if claims else ()
            found, rest = _frames(_returned(clause, went), fps)
            window = found or window  # frames hold for the clauses that follow, "at the end" for its own
            shared, rest = _share(rest, num_frames)
            if not rest:
                continue
            claim, subject = _read(clause, rest, subject, shared or window, num_frames)
            claims.append(claim)
    return tuple(claims)


def _returned(rest: str, went: tuple[ChainStep, ...]) -> str:
    """A clause in which "comes back" is what undoes the claim before it, if anything does."""
    back = OPPOSITES.get(went[0].predicate) if went else None
    return rest if back is None else _RETURNS.sub(_UNDONE[back], rest)


def _plain(text: str) -> str:
    """Lower case, one space between words, and pairs of sides as one word."""
    plain = re.sub(r"\s+", " ", text.lower().replace("’", "'").replace("'s ", " s ").replace("–", "-"))
    return re.sub(r"\b(?:left and right|right and left)\b", "both", plain)


def _clauses(sentence: str) -> list[tuple[int, int, str]]:
    """Start and end of each clause, and what broke it off from the one before; "between frame 2 and 5" is one."""
    kept = [(m.start(), m.end()) for pattern in (_FRAMES, _SECONDS, _WHOLE) for m in pattern.finditer(sentence)]
    clauses, start, before = [], 0, ""
    for found in _BREAKS.finditer(sentence):
        if any(first < found.end() and found.start() < last for first, last in kept):
            continue
        clauses.append((start, found.start(), before))
        start, before = found.end(), found.group()
    return [*clauses, (start, len(sentence), before)]


def _frames(clause: str, fps: float) -> tuple[tuple[int, int] | None, str]:
    """The frames that a clause names, or those of its seconds, and the rest of it."""
    if not any(letter.isdigit() for letter in clause):
        return None, clause.strip(" ,")
    if found := _FRAMES.search(clause):
        first = int(found[1])
        window = (first, int(found[2]) if found[2] else first)
    elif found := _SECONDS.search(clause):
        window = (round(float(found[1]) * fps), round(float(found[2]) * fps))
    else:
        return None, clause.strip(" ,")
    return window, (clause[: found.start()] + clause[found.end() :]).strip(" ,")


@lru_cache(maxsize=4096)
def _share(clause: str, num_frames: int) -> tuple[tuple[int, int] | None, str]:
    """The frames of "at the start" and the like, and the rest of the clause."""
    for pattern, (low, high) in _SHARES:
        if found := pattern.search(clause):
            window = (round(low * (num_frames - 1)), round(high * (num_frames - 1)))
            return window, (clause[: found.start()] + clause[found.end() :]).strip(" ,")
    return None, clause


@dataclass(frozen=True)
class _Subject:
    person: int
    part: str
    side: str
    either: bool


def _read(
    words: str, rest: str, before: _Subject | None, window: tuple[int, int] | None, num_frames: int
) -> tuple[Claim, _Subject | None]:
    """What a clause claims; one without a subject speaks of the one before."""
    # Objects are told apart from the subject by their place: "the hand goes to the head" is about the hand.
    predicates, unread = _predicates(rest)
    subject, place = _subject(rest)
    if subject is None or (before is not None and predicates and place > predicates[0][1]):
        subject = before or subject
    if _NEGATION.search(rest):
        return Claim(words, fault=f"what is denied is not measured: {words!r}", unread=unread), subject
    if subject is None:
        return Claim(words, fault=f"no body part is named that is known here: {words!r}", unread=unread), None
    if not predicates:
        return Claim(words, fault=f"no movement is named that can be measured: {words!r}", unread=unread), subject
    first, last = window or (0, num_frames - 1)
    acting = subject
    if subject.part == "pelvis" and _WAVING.search(rest):  # a person waves with a hand; which one is not said
        acting = replace(subject, part="wrist", side="right", either=True)
    steps = []
    for predicate, _ in predicates:
        begins = first
        if predicate in ("is at the head", "is above the head") and any(
            other in ("raises", "moves forward") for other, _ in predicates
        ):
            begins = max(first, last - max(1, (last - first) // 6))  # where the way to it ends
        steps.append(_step(acting, predicate, begins if window else first, last, words))
    return Claim(words, tuple(steps), "", window is None, acting.either, unread), subject


@lru_cache(maxsize=4096)
def _predicates(rest: str) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """The predicates of a clause in the order of its words, each with its place, and the words that nothing reads."""
    found, left = [], rest
    for predicate, pattern in _VERB_PATTERNS:
        if match := pattern.search(left):
            found.append((predicate, match.start()))
            left = pattern.sub(lambda read: "#" * (read.end() - read.start()), left)
    known = _SUBJECT.sub(" ", left)
    unread = tuple(word for word in re.findall(r"[a-z]+|[0-9.]+", known) if word not in _FILLERS)
    return tuple(sorted(found, key=lambda one: one[1])), unread


@lru_cache(maxsize=4096)
def _subject(rest: str) -> tuple[_Subject | None, int]:
    """The first body part that is named, and where."""
    found = _SUBJECT.search(rest)
    if found is None:
        return None, -1
    name = next(key for key, word in found.groupdict().items() if word and key not in ("side", "whose"))
    part, many = name.removesuffix("_many"), name.endswith("_many")
    person = 1 if found["whose"] in ("second", "other") else 0
    if part in _CENTRES:
        return _Subject(person, part, "both" if many else "center", False), found.start()
    side = found["side"] if found["side"] in ("left", "right") else "both" if found["side"] or many else ""
    return _Subject(person, part, side or "right", not side), found.start()


def _step(subject: _Subject, predicate: str, first: int, last: int, words: str) -> ChainStep:
    """The claim in the words of a chain: an arm is raised by its hand, a trunk bends, an elbow flexes."""
    part = subject.part
    limb = part in ("elbow", "knee", "wrist", "ankle")
    if predicate in ("bends", "straightens"):
        predicate = {"bends": "flexes", "straightens": "extends"}[predicate] if limb else predicate
        part = part if limb else "spine"
    elif part in ("elbow", "knee"):
        part = {"elbow": "wrist", "knee": "ankle"}[part]
    elif part == "spine" and predicate not in ("turns left", "turns right"):
        part = "pelvis"
    return ChainStep(subject.person, part, subject.side, predicate, first, last, words)
