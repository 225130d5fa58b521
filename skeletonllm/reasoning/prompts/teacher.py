"""What a teacher is asked."""

from collections.abc import Sequence
from typing import Any

from skeletonllm.reasoning.chain import BODY_PARTS, CHAIN_SCHEMA, PREDICATES, STEP_SIDES, ReasoningChain
from skeletonllm.reasoning.facts import Fact
from skeletonllm.reasoning.prompts.pictures import image_parts
from skeletonllm.reasoning.prompts.template import as_data, fill_prompt, prompt_id, prompt_ids

_SYSTEM_ENDS = "\n---\n"
_ASKED = ("teacher_chain", "teacher_pictures", "teacher_facts")
_REPAIR = "teacher_repair"


def chain_prompt_id(is_repair: bool = False) -> str:
    """The version of the prompt that a chain answers."""
    return prompt_id(_REPAIR if is_repair else _ASKED[0], CHAIN_SCHEMA)


def teacher_prompt_ids() -> dict[str, str]:
    """The versions of all prompts that chains depend on, by name."""
    return prompt_ids((*_ASKED, _REPAIR), CHAIN_SCHEMA)


def teacher_messages(
    clip_id: str, action: str, num_frames: int, facts: Sequence[Fact], pictures: Sequence[bytes]
) -> list[dict[str, Any]]:
    """What a teacher is asked about one clip.

    The label and the id come from data sets: they are given as JSON strings, marked as data, so that nothing in them reads
    as an instruction.

    Args:
        clip_id: for the record.
        action: the true label; the chain must lead to it without naming it.
        num_frames: of the clip; steps are placed in these.
        facts: measured from the joints.
        pictures: PNG files, evenly spread over the clip.
    """
    evidence = []
    if pictures:
        evidence.append(fill_prompt("teacher_pictures", num_pictures=len(pictures)))
    if facts:
        evidence.append(fill_prompt("teacher_facts", measured="\n".join(f"- {fact_text(fact)}" for fact in facts)))
    filled = fill_prompt(
        "teacher_chain",
        data=as_data({"clip": clip_id, "label": action, "num_frames": num_frames}),
        evidence="\n".join(evidence),
        parts=", ".join(BODY_PARTS),
        sides=", ".join(STEP_SIDES),
        predicates=", ".join(PREDICATES),
    )
    system, _, asked = filled.partition(_SYSTEM_ENDS)
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": [{"type": "text", "text": asked}, *image_parts(pictures)]},
    ]


def repair_messages(messages: Sequence[dict[str, Any]], chain: ReasoningChain) -> list[dict[str, Any]]:
    """The second and last request, after the joints contradicted a chain: the same, with what was measured."""
    plain = chain.to_dict()
    given = as_data({key: plain[key] for key in ("summary", "steps", "answer")})
    faults = "\n".join(f"- {reason}" for reason in chain.reasons)
    return [
        *messages,
        {"role": "assistant", "content": given},
        {"role": "user", "content": fill_prompt(_REPAIR, faults=faults)},
    ]


def fact_text(fact: Fact) -> str:
    """A measured fact in one line."""
    side = "" if fact.side == "center" else f"{fact.side} "
    return (
        f"person {fact.person}: {side}{fact.part} {fact.predicate} by {fact.amount:.2f} {fact.unit}, "
        f"frames {fact.first_frame} to {fact.last_frame}"
    )
