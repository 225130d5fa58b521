"""Ask any server that speaks the OpenAI protocol, through the `openai` package with its own retries off."""

import datetime
import email.utils
import logging
import threading
import time
from typing import Any

from pipelines.settings import Settings
from pipelines.teacher.replies import ReplyStore
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.errors import TeacherBusyError, TeacherError
from skeletonllm.reasoning.chain import CHAIN_SCHEMA

logger = logging.getLogger(__name__)

_TIMEOUT_S = 120.0
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0


class OpenAITeacher:
    """Asks, waits where the server says so, and keeps every reply.

    Args:
        settings: address and key.
        store: replies that are there already, and where new ones go.
        max_attempts: tries at a busy or silent server.
        first_wait_s: before the second try; it doubles from there, unless the server says how long.
    """

    def __init__(
        self, settings: Settings, store: ReplyStore, max_attempts: int = 6, first_wait_s: float = _FIRST_WAIT_S
    ) -> None:
        import openai

        self._store, self._max_attempts, self._first_wait_s = store, max_attempts, first_wait_s
        self._address = settings.teacher_url or "the OpenAI API"
        self._client = openai.OpenAI(
            base_url=settings.teacher_url or None,
            api_key=settings.teacher_key or "none",  # local servers ask for no key, the package does
            max_retries=0,
            timeout=_TIMEOUT_S,
        )
        self._structured = True
        self._refused = threading.Event()

    def ask(self, request: TeacherRequest) -> TeacherReply:
        """The reply to a request: from the store, or from the server, and then in the store.

        A reply that was cut for length is asked for once more with twice the room.

        Raises:
            TeacherError: the server refuses (key, address, model): asking again will not help.
            TeacherBusyError: it did not answer in all attempts.
        """
        known = self._store.get(request.key)
        if known is not None:
            return known
        reply = self._ask_patiently(request, request.sampling)
        if reply.finish_reason == "length":
            roomier = {**request.sampling, "max_tokens": 2 * request.sampling["max_tokens"]}
            reply = self._ask_patiently(request, roomier)
        self._store.put(reply)
        return reply

    def _ask_patiently(self, request: TeacherRequest, sampling: dict[str, Any]) -> TeacherReply:
        wait_s = self._first_wait_s
        for attempt in range(1, self._max_attempts + 1):
            if self._refused.is_set():
                raise TeacherError(f"teacher {request.model} at {self._address}: refused before; not asked again")
            try:
                return self._ask_once(request, sampling, attempt)
            except TeacherBusyError as error:
                if attempt == self._max_attempts:
                    raise TeacherBusyError(
                        f"{error}; gave up after {attempt} attempts; run the same command later: what was answered is kept"
                    ) from error
                told_s = _retry_after_s(error.__cause__)
                pause_s = wait_s if told_s is None else told_s
                logger.info("%s; attempt %d, waiting %.1f s", error, attempt, pause_s)
                time.sleep(pause_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        raise AssertionError("the last attempt returns or raises")

    def _ask_once(self, request: TeacherRequest, sampling: dict[str, Any], attempt: int) -> TeacherReply:
        import openai

        who = f"teacher {request.model} at {self._address}"
        try:
            answer = self._create(request, sampling)
        except (openai.RateLimitError, openai.InternalServerError, openai.APITimeoutError) as error:
            if getattr(error, "code", None) == "insufficient_quota":
                self._refused.set()
                raise TeacherError(f"{who}: the quota is used up; raise it, then run again") from error
            raise TeacherBusyError(f"{who}: busy ({type(error).__name__})") from error
        except openai.APIConnectionError as error:
            raise TeacherBusyError(f"{who}: cannot be reached; is the server up and OPENAI_BASE_URL right?") from error
        except openai.APIStatusError as error:
            self._refused.set()
            raise TeacherError(
                f"{who}: refused with status {error.status_code} ({error.message:.200}); check OPENAI_API_KEY, "
                "OPENAI_BASE_URL and SKELETONLLM_TEACHER_MODEL"
            ) from error
        except openai.OpenAIError as error:
            raise TeacherError(f"{who}: {error}") from error
        choice, usage = answer.choices[0], answer.usage
        return TeacherReply(
            key=request.key,
            text=choice.message.content or "",
            finish_reason=choice.finish_reason or "",
            prompt_tokens=usage.prompt_tokens if usage else 0,
            completion_tokens=usage.completion_tokens if usage else 0,
            attempt=attempt,
            received_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def _create(self, request: TeacherRequest, sampling: dict[str, Any]) -> Any:
        """One call; a server that does not know structured output is asked for plain text from then on."""
        import openai

        named: dict[str, Any] = {"model": request.model, "messages": list(request.messages), **sampling}
        schema = {"type": "json_schema", "json_schema": {"name": "chain", "strict": True, "schema": CHAIN_SCHEMA}}
        if self._structured:
            try:
                return self._client.chat.completions.create(**named, response_format=schema)  # type: ignore[arg-type]
            except openai.BadRequestError as error:
                if "response_format" not in str(error) and "json_schema" not in str(error):
                    raise
                logger.info("the teacher knows no structured output; asking for plain text")
                self._structured = False
        return self._client.chat.completions.create(**named)


def _retry_after_s(error: BaseException | None) -> float | None:
    """How long the server asks to wait: milliseconds, seconds or a date; None where it does not say."""
    response = getattr(error, "response", None)
    if response is None:
        return None
    if milliseconds := response.headers.get("retry-after-ms"):
        return float(milliseconds) / 1000
    said = response.headers.get("retry-after")
    if said is None:
        return None
    try:
        return max(0.0, float(said))
    except ValueError:
        date = email.utils.parsedate_to_datetime(said)
        return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())
