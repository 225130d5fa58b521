"""A teacher's reasoning as data: steps that can be checked, parsed from any reply, and the text a student learns."""

import json
import re
from dataclasses import dataclass
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
    "swings",
    "holds still",
    "approaches",
    "leaves",
]
PREDICATES: tuple[str, ...] = Predicate.__args__
STEP_SIDES = ("left", "right", "center", "both")
_MAX_STEPS = 12

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
    start, end = text.find("{"), text.rfind("}")
    try:
        plain = json.loads(text[start : end + 1])
    except json.JSONDecodeError as error:
        raise ChainError(f"{clip_id}: the reply is no JSON object ({error}); it begins {text[:60]!r}") from None
    if not isinstance(plain, dict):
        raise ChainError(f"{clip_id}: the reply is a {type(plain).__name__}, must be a JSON object")
    for key, kind in (("summary", str), ("steps", list), ("answer", str)):
        if not isinstance(plain.get(key), kind):
            raise ChainError(f"{clip_id}: {key!r} is {plain.get(key)!r:.60}, must be a {kind.__name__}")
    if not 1 <= len(plain["steps"]) <= _MAX_STEPS:
        raise ChainError(f"{clip_id}: {len(plain['steps'])} steps, must be 1 to {_MAX_STEPS}")
    steps = tuple(_step(step, place, clip_id, num_frames) for place, step in enumerate(plain["steps"]))
    return ReasoningChain(
        clip_id, plain["summary"].strip(), steps, plain["answer"].strip(), teacher, prompt_version, request_key
    )


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
        raise ChainError(f"{where}: causes {list(step.causes)} must be earlier steps, 0 to {place - 1}")
    return step


def chain_text(chain: ReasoningChain) -> str:
    """What the student learns to write: the summary, the steps in their order, and the label on the last line."""
    steps = " ".join(f"{number}. {_spoken(step)}." for number, step in enumerate(chain.steps, start=1))
    return f"{chain.summary}\n{steps}\nLabel: {chain.answer}"


def read_label(text: str) -> str | None:
    """The label on a student's last line; None where there is none."""
    found = re.findall(r"Label: *(.+)", text)
    return found[-1].strip() if found else None


def _spoken(step: ChainStep) -> str:
    side = "" if step.side == "center" else f"{step.side} "
    other = "second person's " if step.person == 1 else ""
    return f"{other}{side}{step.part} {step.predicate}"
