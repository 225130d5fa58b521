"""What is asked about a clip, round after round, and the asking of it by the Batch API."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pipelines.teacher.ask import chain_request, read_chain, repair_request, roomier_request
from pipelines.teacher.batch import BatchTeacher
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.request import TeacherRequest
from skeletonllm.errors import RequestError, TeacherError
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.skeleton.clip import Clip

logger = logging.getLogger(__name__)

Kind = Literal["first", "roomier", "repair"]
# A first question, its repair, and each of them with more room.
_MOST_ROUNDS = 4


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


def ask_in_rounds(teacher: BatchTeacher, open_requests: Callable[[], Iterable[TeacherRequest]]) -> None:
    """Ask by the Batch API until no clip has a question left; the replies are in the ledger afterwards.

    Args:
        teacher: of batches.
        open_requests: the next request of each clip that has one; it is gone through several times.

    Raises:
        TeacherError: requests have no reply yet, and a later run, or a higher cap, may bring it.
    """
    ended: dict[str, TeacherError] = {}
    for number in range(1, _MOST_ROUNDS + 1):
        left = _Again(lambda: (request for request in open_requests() if request.key not in ended))
        if next(iter(left), None) is None:
            break
        logger.info("round %d of questions goes to the Batch API", number)
        ended.update(teacher.ask(left))
        for error in ended.values():
            if not isinstance(error, RequestError):
                raise error


@dataclass(frozen=True)
class _Again:
    """An iterable that can be gone through again."""

    make: Callable[[], Iterator[TeacherRequest]]

    def __iter__(self) -> Iterator[TeacherRequest]:
        return self.make()
