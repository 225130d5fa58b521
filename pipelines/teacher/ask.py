"""Chains from a server: ask, parse, check against the joints, ask once more with what was measured."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

from pipelines.teacher.client import OpenAITeacher
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.errors import ChainError, RequestError, TeacherError
from skeletonllm.reasoning.chain import ReasoningChain, parse_chain
from skeletonllm.reasoning.facts import measure_facts
from skeletonllm.reasoning.prompts import chain_prompt_id, repair_messages, teacher_messages
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton.clip import Clip

_FACTS_TOLD = 8
_SAMPLING = {"temperature": 0.2, "max_tokens": 1024}
# Clips that are drawn while all threads are busy, so that none of them waits for the renderer.
_DRAWN_AHEAD = 2

Draw = Callable[[Clip], Sequence[bytes]]


class Teacher(Protocol):
    """Whoever answers requests."""

    def ask(self, request: TeacherRequest) -> TeacherReply:
        """The reply to a request."""
        ...

    def judge(self, request: TeacherRequest, clip: Clip, chain: ReasoningChain | ChainError) -> None:
        """Note what a reply was worth."""
        ...


@dataclass(frozen=True)
class Answered:
    """What came of one clip.

    Args:
        place: among the clips that were asked about.
        clip: itself.
        chain: checked; or why there is none.
        replies: that it took, of this run or an earlier one.
    """

    place: int
    clip: Clip
    chain: ReasoningChain | ChainError | RequestError
    replies: tuple[TeacherReply, ...]


def ask_for_chains(
    clips: Iterable[Clip], draw: Draw, teacher: OpenAITeacher, model: str, base_url: str, at_once: int
) -> Iterator[Answered]:
    """Chains for clips, several at a time, in the order in which they are answered.

    At most a few clips more than are asked about at once are held, so there may be any number of them.

    Args:
        clips: with their true actions.
        draw: PNG files of a clip, as the renderer of the student draws it.
        teacher: who is asked.
        model: as the server calls it.
        base_url: of the server.
        at_once: clips under way at most.

    Raises:
        TeacherError: the server refused, or does not answer at all, or a cap is reached. What was under way has ended, and
            its replies are in the ledger.
    """
    with ThreadPoolExecutor(at_once, thread_name_prefix="ask") as pool:
        waiting: set[Future[Answered]] = set()
        try:
            for place, clip in enumerate(clips):
                if len(waiting) >= at_once + _DRAWN_AHEAD:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (one.result() for one in done)
                waiting.add(pool.submit(ask_about, teacher, place, clip, draw(clip), model, base_url))
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (one.result() for one in done)
        finally:
            if waiting:  # an error, or nobody reads on: what waits is not sent
                teacher.end(TeacherError("the asking was stopped"))


def ask_about(
    teacher: Teacher, place: int, clip: Clip, pictures: Sequence[bytes], model: str, base_url: str
) -> Answered:
    """A clip's chain: asked once more where the joints contradict the first.

    Raises:
        TeacherError: as the teacher does, unless it is about this one request.
    """
    replies: list[TeacherReply] = []
    chain = None
    try:
        chain, request = _ask_with_room(teacher, chain_request(clip, pictures, model, base_url), clip, replies)
        if isinstance(chain, ReasoningChain) and chain.verdict == "rejected":
            chain, _ = _ask_with_room(teacher, repair_request(request, chain), clip, replies)
    except RequestError as error:
        chain = chain or error  # a chain that could not be repaired keeps its own reasons
    return Answered(place, clip, chain, tuple(replies))


def chain_request(clip: Clip, pictures: Sequence[bytes], model: str, base_url: str) -> TeacherRequest:
    """What a teacher is asked about a clip first."""
    facts = measure_facts(clip)[:_FACTS_TOLD]
    messages = teacher_messages(clip.clip_id, clip.action or "", clip.num_frames, facts, pictures)
    return TeacherRequest(model, tuple(messages), _SAMPLING, base_url, chain_prompt_id())


def roomier_request(request: TeacherRequest) -> TeacherRequest:
    """The same with twice the room, for an answer that was cut for length."""
    return replace(request, sampling={**request.sampling, "max_tokens": 2 * request.sampling["max_tokens"]})


def repair_request(request: TeacherRequest, chain: ReasoningChain) -> TeacherRequest:
    """The same and what the joints contradict in its answer."""
    messages = tuple(repair_messages(request.messages, chain))
    return replace(request, messages=messages, prompt_version=chain_prompt_id(is_repair=True))


def read_chain(reply: TeacherReply, request: TeacherRequest, clip: Clip) -> ReasoningChain | ChainError:
    """The checked chain of a reply, or what is wrong with it."""
    try:
        chain = parse_chain(
            reply.text, clip.clip_id, request.model, request.prompt_version, request.key, clip.num_frames
        )
    except ChainError as error:
        return error
    return verify_chain(chain, clip)


def _ask_with_room(
    teacher: Teacher, request: TeacherRequest, clip: Clip, replies: list[TeacherReply]
) -> tuple[ReasoningChain | ChainError, TeacherRequest]:
    """The chain of a request; asked once more with twice the room where the answer was cut."""
    replies.append(teacher.ask(request))
    if replies[-1].finish_reason == "length":
        request = roomier_request(request)
        replies.append(teacher.ask(request))
    chain = read_chain(replies[-1], request, clip)
    teacher.judge(request, clip, chain)
    return chain, request
