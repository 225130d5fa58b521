"""A teacher's reasoning as data: steps that can be checked, parsed from any reply, and the text a student learns."""

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from skeletonllm.errors import ChainError, ConfigError
from skeletonllm.plain import from_plain, to_plain
from skeletonllm.skeleton.topology import BODY_PARTS

Predicate = Literal[
    "raises",
    "lowers",
    "moves forward",
    "moves back",
    "moves sideways",
    "extends",
    "flexes",
    "bends",
    "straightens",
    "swings",
    "holds still",
    "is above the head",
    "is at the head",
    "approaches",
    "leaves",
    "turns left",
    "turns right",
    "leads",
]
PREDICATES: tuple[str, ...] = Predicate.__args__
_OPPOSITES = {
    "raises": "lowers",
    "moves forward": "moves back",
    "extends": "flexes",
    "bends": "straightens",
    "approaches": "leaves",
    "turns left": "turns right",
}
OPPOSITES = _OPPOSITES | {back: there for there, back in _OPPOSITES.items()}
STEP_SIDES = ("left", "right", "center", "both")
_MAX_STEPS = 12
_MAX_TEXT = 600
_MAX_OBJECTS = 50  # that a reply is searched for
_NOUNS = {"wrist": "hand", "ankle": "foot", "pelvis": "body", "elbow": "arm", "knee": "leg", "spine": "trunk"}
_PLURALS = {"foot": "feet"}
_VERBS = {  # of one, of both
    "raises": ("rises", "rise"),
    "lowers": ("sinks", "sink"),
    "moves forward": ("moves forward", "move forward"),
    "moves back": ("moves back", "move back"),
    "moves sideways": ("moves sideways", "move sideways"),
    "extends": ("straightens", "straighten"),
    "flexes": ("bends", "bend"),
    "bends": ("bends", "bend"),
    "straightens": ("straightens", "straighten"),
    "swings": ("swings", "swing"),
    "holds still": ("holds still", "hold still"),
    "is above the head": ("is above the head", "are above the head"),
    "is at the head": ("is at the head", "are at the head"),
    "approaches": ("approaches", "approach"),
    "leaves": ("leaves", "part"),
    "turns left": ("turns left", "turn left"),
    "turns right": ("turns right", "turn right"),
    "leads": ("leads", "lead"),
}

CHAIN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["summary", "steps", "answer"],
    "properties": {
        "summary": {"type": "string", "description": "One sentence on what moves how, without naming the action."},
        "steps": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["person", "part", "side", "predicate", "first_frame", "last_frame", "causes", "text"],
                "properties": {
                    "person": {"type": "integer", "description": "0 for the first person, 1 for the second."},
                    "part": {"type": "string", "enum": list(BODY_PARTS)},
                    "side": {"type": "string", "enum": list(STEP_SIDES)},
                    "predicate": {"type": "string", "enum": list(PREDICATES)},
                    "first_frame": {"type": "integer"},
                    "last_frame": {"type": "integer"},
                    "causes": {"type": "array", "items": {"type": "integer"}, "description": "Earlier steps, from 0."},
                    "text": {"type": "string"},
                },
            },
        },
        "answer": {"type": "string", "description": "The action's name."},
    },
}


@dataclass(frozen=True)
class ChainStep:
    """One claim about one body part.

    Args:
        person: 0 or 1.
        part: of the shared vocabulary.
        side: `left`, `right`, `center`, or `both` where the two sides do it together or to each other.
        predicate: what it does.
        first_frame: of the clip, where it begins.
        last_frame: where it ends.
        text: the same in words.
        causes: numbers of earlier steps that it follows from.
    """

    person: int
    part: str
    side: str
    predicate: str
    first_frame: int
    last_frame: int
    text: str
    causes: tuple[int, ...] = ()


@dataclass(frozen=True)
class StepVerdict:
    """What the joints say about a step."""

    verdict: Literal["supported", "contradicted", "not measurable"]
    reason: str


@dataclass(frozen=True)
class ReasoningChain:
    """A teacher's reasoning in steps, with its answer, and what came of checking it."""

    clip_id: str
    summary: str
    steps: tuple[ChainStep, ...]
    answer: str
    teacher: str
    prompt_version: str
    request_key: str = ""
    verdict: Literal["", "accepted", "rejected"] = ""
    step_verdicts: tuple[StepVerdict, ...] = ()
    reasons: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return to_plain(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "ReasoningChain":
        """The chain of plain values that `to_dict` made."""
        return from_plain(cls, plain, f"chain of {plain.get('clip_id')}")


def parse_chain(
    text: str, clip_id: str, teacher: str, prompt_version: str, request_key: str = "", num_frames: int | None = None
) -> ReasoningChain:
    """A chain from a reply: JSON, alone or inside other text (models without structured output wrap it).

    Raises:
        ChainError: says what is wrong and where, so that it can be asked again or rejected with the reason.
    """
    plain = _json_object(text, clip_id)
    for key, kind in (("summary", str), ("steps", list), ("answer", str)):
        if not isinstance(plain.get(key), kind):
            raise ChainError(f"{clip_id}: {key!r} is {plain.get(key)!r:.60}, must be a {kind.__name__}")
    if not 1 <= len(plain["steps"]) <= _MAX_STEPS:
        raise ChainError(f"{clip_id}: {len(plain['steps'])} steps, must be 1 to {_MAX_STEPS}")
    steps = tuple(_step(step, place, clip_id, num_frames) for place, step in enumerate(plain["steps"]))
    summary = _one_line(plain["summary"], f"{clip_id}: the summary")
    answer = _one_line(plain["answer"], f"{clip_id}: the answer")
    return ReasoningChain(clip_id, summary, steps, answer, teacher, prompt_version, request_key)


def _json_object(text: str, clip_id: str) -> dict[str, Any]:
    """The last JSON object of a reply that has steps (thinking aloud comes first), else the only one there is."""
    decoder, found, at, fault = json.JSONDecoder(), None, text.find("{"), "there is no {"
    for _ in range(_MAX_OBJECTS):
        if at == -1:
            break
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:  # a number of 5000 digits is a plain ValueError
            fault, end = str(error) or type(error).__name__, at + 1
        else:
            found = value if found is None or "steps" in value else found
        at = text.find("{", end)
    if found is None:
        raise ChainError(f"{clip_id}: the reply is no JSON object ({fault}); it begins {text[:60]!r}")
    return found


def _one_line(text: str, where: str) -> str:
    """A text without line breaks: they would make lines of a target that are not its own.

    Raises:
        ChainError: too long, empty, or not writable as UTF-8.
    """
    line = " ".join(text.split())
    if not 1 <= len(line) <= _MAX_TEXT:
        raise ChainError(f"{where} has {len(line)} characters, must have 1 to {_MAX_TEXT}")
    if any("\ud800" <= letter <= "\udfff" for letter in line):
        raise ChainError(f"{where} holds half of a UTF-16 pair, must be whole characters: {line[:40]!r}")
    return line


def _step(plain: Any, place: int, clip_id: str, num_frames: int | None) -> ChainStep:
    where = f"{clip_id}: step {place}"
    if not isinstance(plain, dict):
        raise ChainError(f"{where}: is {plain!r:.40}, must be an object")
    try:
        step = from_plain(ChainStep, {"person": 0, "text": "", "causes": [], **plain}, where)
    except ConfigError as error:
        raise ChainError(str(error)) from None
    for name, known in (("part", BODY_PARTS), ("side", STEP_SIDES), ("predicate", PREDICATES)):
        if getattr(step, name) not in known:
            raise ChainError(f"{where}: {name} is {getattr(step, name)!r}, must be one of {', '.join(known)}")
    if not 0 <= step.first_frame <= step.last_frame or (num_frames is not None and step.last_frame >= num_frames):
        raise ChainError(
            f"{where}: frames {step.first_frame} to {step.last_frame}, must rise within 0 to "
            f"{'the last' if num_frames is None else num_frames - 1}"
        )
    if any(not 0 <= cause < place for cause in step.causes):
        raise ChainError(f"{where}: causes {list(step.causes)} must be numbers of earlier steps, below {place}")
    if step.person not in (0, 1):
        raise ChainError(f"{where}: person is {step.person}, must be 0 or 1")
    return replace(step, text=_one_line(step.text, f"{where}: text") if step.text.strip() else "")


def chain_text(chain: ReasoningChain) -> str:
    """What the student learns to write: the summary, the steps in their order, and the label on the last line."""
    steps = " ".join(f"{number}. {_spoken(step)}." for number, step in enumerate(chain.steps, start=1))
    return f"{chain.summary}\n{steps}\nLabel: {chain.answer}"


def read_label(text: str) -> str | None:
    """The label on a student's last line; None where there is none."""
    found = re.findall(r"Label: *(.+)", text)
    return found[-1].strip() if found else None


def _spoken(step: ChainStep) -> str:
    """A step in the few words that a small student can learn."""
    one, many = _VERBS[step.predicate]
    noun = _NOUNS.get(step.part, step.part)
    whose = "second person's " if step.person == 1 else ""
    if step.side == "both":
        if step.part == "pelvis":
            return f"the two persons {many}"
        return f"{whose}both {_PLURALS.get(noun, noun + 's')} {many}"
    side = "" if step.side == "center" else f"{step.side} "
    return f"{whose}{side}{noun} {one}"
