"""Chains from a server: ask, parse, check against the joints, ask once more with what was measured."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.settings import Settings
from pipelines.teacher.client import OpenAITeacher
from pipelines.teacher.replies import ReplyStore
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.errors import ChainError
from skeletonllm.reasoning.chain import ReasoningChain, parse_chain
from skeletonllm.reasoning.facts import measure_facts
from skeletonllm.reasoning.prompts import chain_prompt_id, repair_messages, teacher_messages
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton.clip import Clip

_FACTS_TOLD = 8
_SAMPLING = {"temperature": 0.2, "max_tokens": 1024}


@dataclass(frozen=True)
class Answered:
    """What came of one clip: a checked chain, or why there is none."""

    clip: Clip
    chain: ReasoningChain | ChainError
    replies: tuple[TeacherReply, ...]


def ask_for_chains(
    clips: Sequence[Clip],
    pictures: Sequence[Sequence[bytes]],
    model: str,
    settings: Settings,
    store: Path,
    concurrency: int = 8,
) -> list[Answered]:
    """Chains for clips, several at a time, in the clips' order.

    Args:
        clips: with their true actions.
        pictures: PNG files of each clip, as the renderer of the student draws it.
        model: as the server calls it.
        settings: address and key.
        store: file of the replies; what is in it is not asked again.
        concurrency: requests under way at once.

    Raises:
        TeacherError: the server refused, or did not answer.
    """
    teacher = OpenAITeacher(settings, ReplyStore(store))
    with ThreadPoolExecutor(max_workers=concurrency) as pool:
        pairs = zip(clips, pictures, strict=True)
        asked = [pool.submit(_ask, teacher, clip, shown, model, settings.teacher_url) for clip, shown in pairs]
        return [answer.result() for answer in asked]


def _ask(teacher: OpenAITeacher, clip: Clip, pictures: Sequence[bytes], model: str, base_url: str) -> Answered:
    facts = measure_facts(clip)[:_FACTS_TOLD]
    messages = teacher_messages(clip.clip_id, clip.action or "", clip.num_frames, facts, pictures)
    request = TeacherRequest(model, tuple(messages), _SAMPLING, base_url)
    reply = teacher.ask(request)
    chain = _read(reply, request, clip)
    if isinstance(chain, ChainError) or chain.verdict == "accepted":
        return Answered(clip, chain, (reply,))
    second = replace(request, messages=tuple(repair_messages(messages, chain)))
    repaired = teacher.ask(second)
    return Answered(clip, _read(repaired, second, clip), (reply, repaired))


def _read(reply: TeacherReply, request: TeacherRequest, clip: Clip) -> ReasoningChain | ChainError:
    version = chain_prompt_id(is_repair=len(request.messages) > 2)
    try:
        chain = parse_chain(reply.text, clip.clip_id, request.model, version, request.key, clip.num_frames)
    except ChainError as error:
        return error
    return verify_chain(chain, clip)
