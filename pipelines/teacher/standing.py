"""How far the asking about a clip has come, by the replies that the ledger has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.teacher.ask import chain_request, read_chain, repair_request, roomier_request
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.request import TeacherRequest
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.skeleton.clip import Clip

Kind = Literal["first", "roomier", "repair"]


@dataclass(frozen=True)
class Standing:
    """How far the asking about a clip has come.

    Args:
        answered: requests that have a reply.
        kind: of the next one.
        request: the next one; None where nothing is left to ask.
    """

    answered: int
    kind: Kind
    request: TeacherRequest | None


def standing(clip: Clip, pictures: Sequence[bytes], model: str, base_url: str, ledger: Ledger) -> Standing:
    """How far the asking about a clip has come, by the replies that the ledger has."""
    request, kind, answered, repaired = chain_request(clip, pictures, model, base_url), "first", 0, False
    while True:
        reply = ledger.reply(request.key)
        if reply is None:
            return Standing(answered, kind, request)
        answered += 1
        if reply.finish_reason == "length" and kind != "roomier":
            request, kind = roomier_request(request), "roomier"
            continue
        chain = read_chain(reply, request, clip)
        if repaired or not isinstance(chain, ReasoningChain) or chain.verdict == "accepted":
            return Standing(answered, kind, None)
        request, kind, repaired = repair_request(request, chain), "repair", True
