"""Chains by the Batch API: a batch of first questions, then one of repairs, until nothing more has to be asked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pipelines.teacher.ask import Draw, ask_about
from pipelines.teacher.batch import BatchTeacher
from pipelines.teacher.ledger import Ledger
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.errors import ChainError, TeacherError
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.skeleton.clip import Clip


def fill_in_batch(
    clips: Iterable[Clip], draw: Draw, teacher: BatchTeacher, ledger: Ledger, model: str, base_url: str
) -> None:
    """Bring into the ledger all that `ask_for_chains` will ask about clips; it then finds every reply there.

    Args:
        clips: with their true actions; gone through once for each round, so that not all are in memory.
        draw: PNG files of a clip, as the renderer of the student draws it.
        teacher: who is asked.
        ledger: the teacher's.
        model: as the server calls it.
        base_url: of the server.

    Raises:
        BudgetError: a cap is reached.
        TeacherBusyError: some requests stayed without an answer; a later run may bring one.
        TeacherError: the server refuses. What was answered until then is in the ledger, and what is under way goes on.
    """
    walk = _Walk(clips, draw, ledger, model, base_url)
    num_asked = -1
    while num_asked != walk.num_asked:
        num_asked = walk.num_asked
        walk.ended.update(teacher.ask(walk))
    if walk.stopped is not None:
        raise walk.stopped


@dataclass
class _Walk:
    """The requests to be asked next: of each clip that is not through, the first without a reply."""

    clips: Iterable[Clip]
    draw: Draw
    ledger: Ledger
    model: str
    base_url: str
    ended: dict[str, TeacherError] = field(default_factory=dict)
    num_asked: int = 0
    stopped: TeacherError | None = None
    _through: set[int] = field(default_factory=set)

    def __iter__(self) -> Iterator[TeacherRequest]:
        for place, clip in enumerate(self.clips):
            if place in self._through:
                continue
            known = _Known(self.ledger, self.ended)
            try:
                ask_about(known, place, clip, self.draw(clip), self.model, self.base_url)
            except _NotYetError:
                assert known.wanted is not None
                self.num_asked += 1
                yield known.wanted
                continue
            except TeacherError as error:  # a cap is reached, say: of the others all may be known
                self.stopped = self.stopped or error
            self._through.add(place)


class _NotYetError(TeacherError):
    """A request that has neither a reply nor a reason why it has none."""


class _Known:
    """Answers with what is known, and keeps the request of which nothing is."""

    def __init__(self, ledger: Ledger, ended: dict[str, TeacherError]) -> None:
        self._ledger, self._ended = ledger, ended
        self.wanted: TeacherRequest | None = None

    def ask(self, request: TeacherRequest) -> TeacherReply:
        known = self._ledger.reply(request.key)
        if known is not None:
            return known
        if request.key in self._ended:
            raise self._ended[request.key]
        self.wanted = request
        raise _NotYetError(request.key)

    def judge(self, request: TeacherRequest, clip: Clip, chain: ReasoningChain | ChainError) -> None:
        """Left to who makes the chains of the replies."""
