"""Draw here, ask any model: clips as pictures, to any server that speaks the OpenAI protocol."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from skeletonllm.answer.address import Address, Rules
from skeletonllm.answer.connect import connect, without_frames
from skeletonllm.answer.labels import checked_labels
from skeletonllm.answer.results import Answer, Recognition
from skeletonllm.answer.stream import ahead
from skeletonllm.errors import ConfigError, DataError, ServerError
from skeletonllm.reasoning.prompts import choice_text, picture_messages, task_prompt
from skeletonllm.render.renderer import Renderer
from skeletonllm.skeleton.clip import Clip

_TIMEOUT_S = 120.0
_RETRIES = 3

T = TypeVar("T")
Refused = Callable[[Clip, DataError], None]


class RemoteModel:
    """A model behind an address that is shown drawn clips.

    Args:
        address: whom to ask.
        renderer: draws the clips, as large and as many frames as the model is to see.
        legend: whether the renderer's colours are those of the designed start, so that the prompt explains them.
        concurrency: requests under way at once.
        timeout_s: for one answer.
        rules: which servers may be asked.

    Raises:
        ConfigError: the address may not be asked, the key is missing or none, or the concurrency is below 1.
    """

    def __init__(
        self,
        address: Address,
        renderer: Renderer,
        legend: bool = True,
        concurrency: int = 4,
        timeout_s: float = _TIMEOUT_S,
        rules: Rules | None = None,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}, must be at least 1")
        self._address, self._renderer, self._legend = address, renderer, legend
        self._concurrency = concurrency
        self._client = connect(address.url, address.key, rules, timeout_s, _RETRIES)

    def recognize(
        self, clips: Iterable[Clip], labels: Sequence[str], refused: Refused | None = None
    ) -> Iterator[Recognition]:
        """Which label each clip has, in the model's words; in the order of the clips, without scores.

        Args:
            clips: any number.
            labels: the candidates.
            refused: told of a clip that cannot be drawn, or whose reply names no label or several, which is then left out;
                by default that is an error.

        Raises:
            ConfigError: no labels, an empty one, one twice.
            DataError: a clip cannot be drawn, or a reply names no label, or several.
            ServerError: the server refused or did not answer.
        """
        candidates = checked_labels(labels)
        text = choice_text(candidates)

        def answer(clip: Clip, pictures: Sequence[bytes]) -> Recognition:
            reply = self._ask(clip, pictures, text)
            label = named_label(reply, candidates)
            if label is None:
                raise DataError(
                    f"clip {clip.clip_id}: the model answered {reply[:100]!r}, which names none of the labels, or several; "
                    "offer other labels or ask another model"
                )
            return Recognition(clip.clip_id, clip.source.file, label, reply=reply)

        return self._each(clips, answer, refused)

    def describe(
        self, clips: Iterable[Clip], question: str = "", task: str = "", refused: Refused | None = None
    ) -> Iterator[Answer]:
        """What the model writes about each clip, in the order of the clips.

        Args:
            clips: any number.
            question: in words.
            task: `question`, `caption` or `chain`; by default a question where one is given, else a caption.
            refused: told of a clip that cannot be drawn, which is then left out; by default that is an error.

        Raises:
            ConfigError: an unknown task, a question too many or too few.
            DataError: a clip cannot be drawn.
            ServerError: the server refused or did not answer.
        """
        prompt = task_prompt(task, question)

        def answer(clip: Clip, pictures: Sequence[bytes]) -> Answer:
            text = self._ask(clip, pictures, prompt)
            if not text:
                raise DataError(f"clip {clip.clip_id}: the model answered nothing; ask again, or another model")
            return Answer(clip.clip_id, clip.source.file, prompt, text)

        return self._each(clips, answer, refused)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _each(
        self, clips: Iterable[Clip], answer: Callable[[Clip, Sequence[bytes]], T], refused: Refused | None
    ) -> Iterator[T]:
        """Answers in the order of the clips, with so many requests under way."""
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="ask") as pool:
            waiting: deque[tuple[Clip, Future[T]]] = deque()
            try:
                for clip, pictures in ahead(self._drawn(clips, refused)):
                    waiting.append((clip, pool.submit(answer, clip, pictures)))
                    if len(waiting) == self._concurrency:
                        yield from _result(*waiting.popleft(), refused)
                while waiting:
                    yield from _result(*waiting.popleft(), refused)
            finally:
                for _, left in waiting:
                    left.cancel()

    def _drawn(self, clips: Iterable[Clip], refused: Refused | None) -> Iterator[tuple[Clip, list[bytes]]]:
        """Each clip with its frames as PNG files."""
        import torch

        from skeletonllm.render.picture import png_frames

        for clip in clips:
            try:
                with torch.inference_mode():
                    pictures = png_frames(self._renderer(self._renderer.collate([clip]))[0])
            except DataError as error:
                if refused is None:
                    raise
                refused(clip, error)
                continue
            yield clip, pictures

    def _ask(self, clip: Clip, pictures: Sequence[bytes], text: str) -> str:
        return self._complete(picture_messages(text, pictures, clip.num_persons, self._legend))

    def _complete(self, messages: list[dict[str, Any]]) -> str:
        import openai

        who = f"{self._address.model} at {self._address.url}"
        try:
            reply = self._client.chat.completions.create(model=self._address.model, messages=messages)  # type: ignore[arg-type]
        except ConfigError:  # the name leads where it must not
            raise
        except (openai.OpenAIError, ValueError) as error:  # the package lets a broken body's JSON error through
            raise ServerError(f"{who}: {_trouble(error)}") from without_frames(error)
        return _text_of(reply, who)


def named_label(reply: str, labels: Sequence[str]) -> str | None:
    """The one label that a reply names: all of it, or the only one in it. A label inside a longer one is not named.

    Case, punctuation and underscores do not matter; None where no label is named, or several are.
    """
    said = _words(reply)
    by_words = {_words(label): label for label in labels}
    if said in by_words:
        return by_words[said]
    named = set()
    for words in sorted((words for words in by_words if words), key=len, reverse=True):
        bounded = rf"(?<!\S){re.escape(words)}(?!\S)"
        if re.search(bounded, said):
            named.add(by_words[words])
            said = re.sub(bounded, "\n", said)
    return named.pop() if len(named) == 1 else None


def _words(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())


def _result(clip: Clip, answer: Future[T], refused: Refused | None) -> Iterator[T]:
    try:
        yield answer.result()
    except DataError as error:
        if refused is None:
            raise
        refused(clip, error)


def _trouble(error: Exception) -> str:
    """What went wrong, and what to do, without a server's line breaks."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return "did not answer in time; try again, or ask a smaller model"
    if isinstance(error, openai.APIConnectionError):
        return "cannot be reached; is the server up and the address right?"
    if isinstance(error, openai.APIStatusError):
        said = " ".join(str(error.message).split())[:200]
        return f"status {error.status_code} ({said}); {_remedy(error.status_code)}"
    return f"its answer cannot be read ({error!s:.100}); is it the right address?"


def _remedy(status: int) -> str:
    if 300 <= status < 400:
        return "it points to another address, which is not followed; give that one if you trust it"
    if status in (401, 403):
        return "check OPENAI_API_KEY"
    if status == 404:
        return "check the model's name and the address"
    if status == 429 or status >= 500:
        return "the server is busy or out of order; try again later"
    return "perhaps the model takes no pictures, or not so many: try fewer or smaller ones"


def _text_of(reply: Any, who: str) -> str:
    """The text of a reply; a proxy's web page or an error under status 200 is no chat completion."""
    choices = getattr(reply, "choices", None)
    message = getattr(choices[0], "message", None) if choices else None
    if message is None:
        raise ServerError(f"{who}: answered with no chat completion; does the address end in /v1?")
    return (message.content or "").strip()
