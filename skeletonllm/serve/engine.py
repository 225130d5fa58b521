"""One thread that owns the model: it answers what waits in a queue, questions of one shape together."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from skeletonllm.answer.results import ranked
from skeletonllm.answer.student import device_of
from skeletonllm.errors import SkeletonLLMError
from skeletonllm.serve.limits import Limits, Refusal
from skeletonllm.serve.protocol import Outcome, Question, content_of

logger = logging.getLogger(__name__)

Shape = tuple[str, int, tuple[str, ...] | None]
_FULL = "the server is busy: {} requests are waiting; try again in a second"


@runtime_checkable
class Listener(Protocol):
    """Whom the engine tells, from its own thread."""

    def text(self, text: str) -> None:
        """A piece of the answer."""
        ...

    def done(self, outcome: Outcome) -> None:
        """The whole answer; nothing follows."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """There will be no answer; nothing follows."""
        ...


@dataclass(eq=False)
class Work:
    """A question with what the model sees of it, and whom to tell.

    Args:
        question: of the request.
        seen: a prepared clip, pictures `[frames 3 height width]`, or None.
        listener: of the request.
    """

    question: Question
    seen: Any
    listener: Listener
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when nobody waits for the answer any more."""
    prompt_tokens: int = 0
    begun: bool = False
    ended: bool = False

    def tell(self, text: str) -> None:
        """A piece of the answer."""
        self.begun = True
        self.listener.text(text)

    def end(self, what: Outcome | Refusal) -> None:
        """The outcome, or why there is none; whatever comes later is not told."""
        if not self.ended:
            self.ended = True
            (self.listener.done if isinstance(what, Outcome) else self.listener.refused)(what)  # type: ignore[arg-type]

    @property
    def shape(self) -> Shape:
        """Questions with the same shape are answered together."""
        if self.seen is None:
            kind, frames = "text", 0
        elif isinstance(self.seen, Tensor):
            kind, frames = "pictures", len(self.seen)
        else:
            kind, frames = "clip", 0
        return kind, frames, self.question.labels


class Engine:
    """A queue and the thread that works it off.

    Args:
        student: the model, in evaluation mode.
        limits: of the server.
    """

    def __init__(self, student: Any, limits: Limits) -> None:
        self._student, self._limits = student, limits
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Questions that the model has not begun."""
        return len(self._waiting)

    @property
    def alive(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive() and not self._stopping

    def submit(self, work: Work) -> None:
        """Put a question into the queue.

        Raises:
            Refusal: the queue is full, or the server stops.
        """
        with self._changed:
            if self._stopping:
                raise Refusal("the server is stopping; ask it again when it is back", 503, retry_after_s=5)
            if len(self._waiting) >= self._limits.max_waiting:
                raise Refusal(_FULL.format(len(self._waiting)), 503, retry_after_s=1)
            self._waiting.append(work)
            self._changed.notify()

    def stop(self) -> None:
        """Answer what waits, then end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            self._answer(batch)

    def _next(self) -> list[Work] | None:
        """The oldest question with those that can be answered beside it; None when the engine stops."""
        with self._changed:
            while not self._waiting:
                if self._stopping:
                    return None
                self._changed.wait()
            shape = self._waiting[0].shape
            batch: list[Work] = []
            left: list[Work] = []
            for work in self._waiting:
                fits = work.shape == shape and len(batch) < self._limits.max_batch
                (batch if fits else left).append(work)
            self._waiting = deque(left)
        return batch

    def _answer(self, batch: Sequence[Work]) -> None:
        """Answer a batch; one that fails as a whole is asked one by one, so that only the guilty are refused."""
        for work in batch:
            if work.gone.is_set():
                work.end(Refusal("the client is gone"))
        wanted = [work for work in batch if not work.ended and self._has_room(work)]
        if not wanted:
            return
        try:
            with torch.inference_mode():
                (self._write if wanted[0].question.labels is None else self._rank)(wanted)
        except Exception as error:  # the thread must live, whatever a request makes the model raise
            for work in wanted:
                if len(wanted) == 1 or work.begun:
                    work.end(_refusal_of(error))
                elif not work.ended:
                    self._answer([work])

    def _has_room(self, work: Work) -> bool:
        """Whether the model's context holds the question; if not, it is refused."""
        question, student = work.question, self._student
        frames = student.renderer.config.num_frames if work.shape[0] == "clip" else work.shape[1]
        try:
            work.prompt_tokens = student.num_prompt_tokens(question.text, frames)
        except Exception as error:  # a tokenizer's or a template's own
            work.end(_refusal_of(error))
            return False
        room = getattr(student.mllm.config.get_text_config(), "max_position_embeddings", None)
        if room is None or work.prompt_tokens < room:
            return True
        work.end(
            Refusal(
                f"the question takes {work.prompt_tokens} tokens with its {frames} frames, the model holds {room}; send "
                "fewer frames or less text",
                param="messages",
                code="context_length_exceeded",
            )
        )
        return False

    def _seen(self, batch: Sequence[Work]) -> Any:
        """What the model sees: a batch of clips, or pictures."""
        device = device_of(self._student)
        kind = batch[0].shape[0]
        if kind == "clip":
            return self._student.renderer.collate([work.seen for work in batch]).to(device)
        if kind == "pictures":
            return torch.stack([work.seen for work in batch]).to(device)
        size = self._student.renderer.config.size_px
        return torch.zeros(len(batch), 0, 3, size, size, device=device)

    def _rank(self, batch: Sequence[Work]) -> None:
        labels = batch[0].question.labels or ()
        prompts = [work.question.text for work in batch]
        scores = self._student.rank(self._seen(batch), prompts, labels).float().cpu().tolist()
        for work, row in zip(batch, scores, strict=True):
            candidates = ranked(labels, row)
            text = content_of(candidates[0].label, work.question.key)
            work.tell(text)
            work.end(Outcome(text, "stop", work.prompt_tokens, 0, candidates))

    def _write(self, batch: Sequence[Work]) -> None:
        room = getattr(self._student.mllm.config.get_text_config(), "max_position_embeddings", None)
        most = max(work.question.max_new_tokens for work in batch)
        if room is not None:
            most = min(most, room - max(work.prompt_tokens for work in batch))
        writers = [_Writer(work, self._student, most) for work in batch]
        prompts = [work.question.text for work in batch]
        self._student.generate(self._seen(batch), prompts, max_new_tokens=most, streamer=_Streamer(writers))
        for writer in writers:
            writer.end("stop")


class _Writer:
    """The answer to one question of a batch, as its tokens come."""

    def __init__(self, work: Work, student: Any, most: int) -> None:
        self._work, self._tokenizer, self._ends = work, student.tokenizer, frozenset(student.end_ids())
        self._most = min(work.question.max_new_tokens, most)
        self._tokens: list[int] = []
        self._told = ""
        self._ended = False

    def add(self, token: int) -> None:
        """One more token; the end token and the last allowed one end the answer."""
        if self._ended:
            return
        if token in self._ends:
            self.end("stop")
            return
        self._tokens.append(token)
        text = self._text()
        if not text.endswith("\ufffd") and not self._work.gone.is_set():  # half of a character
            self._tell(text)
        if len(self._tokens) == self._most:
            self.end("length")

    def end(self, reason: str) -> None:
        """No token follows."""
        if self._ended:
            return
        self._ended = True
        text = self._text()
        self._tell(text)
        self._work.end(Outcome(text, reason, self._work.prompt_tokens, len(self._tokens)))

    def _text(self) -> str:
        return self._tokenizer.decode(self._tokens, skip_special_tokens=True).strip()

    def _tell(self, text: str) -> None:
        if text.startswith(self._told) and len(text) > len(self._told):
            self._work.tell(text[len(self._told) :])
            self._told = text


class _Streamer:
    """What transformers gives the prompts to, and then each batch of tokens."""

    def __init__(self, writers: Sequence[_Writer]) -> None:
        self._writers = writers
        self._prompts_seen = False

    def put(self, value: Tensor) -> None:
        """The ids of the prompts once, then one token for each question."""
        if self._prompts_seen:
            for writer, token in zip(self._writers, value.flatten().tolist(), strict=True):
                writer.add(token)
        self._prompts_seen = True

    def end(self) -> None:
        """Nothing follows."""


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, SkeletonLLMError):
        return Refusal(str(error))
    logger.error("a question could not be answered", exc_info=error)
    return Refusal(f"the model failed ({type(error).__name__}); the server's log says more", 500)
