"""Ask any server that speaks the OpenAI protocol, through the `openai` package with its own retries off."""

import contextlib
import datetime
import email.utils
import json
import logging
import math
import threading
from dataclasses import replace
from typing import Any

from pipelines.settings import Settings
from pipelines.teacher.replies import ReplyStore
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.errors import TeacherBusyError, TeacherError

logger = logging.getLogger(__name__)

_OPENAI_URL = "https://api.openai.com/v1"
_TIMEOUT_S = 120.0
_LONGEST_WAIT_S = 60.0
_BUSY_STATUSES = (408, 409, 425, 429)
# Options that not every server knows, and what to send instead; the error message of such a server names them.
_OPTIONS = ("response_format", "max_tokens", "temperature")


class OpenAITeacher:
    """Asks, waits where the server says so, and keeps every reply. Safe for several threads.

    Once the server has refused, or has not answered in all attempts, it is not asked again.

    Args:
        settings: address and key.
        store: replies that are there already, and where new ones go.
        max_attempts: tries at a busy or silent server.
        first_wait_s: before the second try; it doubles from there, unless the server says how long.
        timeout_s: for one answer.
    """

    def __init__(
        self,
        settings: Settings,
        store: ReplyStore,
        max_attempts: int = 6,
        first_wait_s: float = 1.0,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        import openai

        self._store, self._max_attempts, self._first_wait_s = store, max_attempts, first_wait_s
        self._address = settings.teacher_url or _OPENAI_URL
        self._client = openai.OpenAI(
            base_url=self._address,
            api_key=settings.teacher_key or "none",  # local servers ask for no key, the package does
            max_retries=0,
            timeout=timeout_s,
        )
        self._unknown: set[str] = set()
        self._ended = threading.Event()
        self._why: TeacherError | None = None

    def ask(self, request: TeacherRequest) -> TeacherReply:
        """The reply to a request: from the store, or from the server, and then in the store.

        A reply that was cut for length is asked for once more with twice the room.

        Raises:
            TeacherError: the server refuses (key, address, model): asking again will not help.
            TeacherBusyError: it did not answer in all attempts.
            DataError: the store cannot be used.
        """
        known = self._store.get(request.key)
        if known is not None:
            return known
        reply = self._ask_patiently(request, request.sampling)
        if reply.finish_reason == "length" and "max_tokens" in request.sampling:
            roomier = {**request.sampling, "max_tokens": 2 * request.sampling["max_tokens"]}
            reply = _both(reply, self._ask_patiently(request, roomier))
        self._store.put(reply)
        return reply

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _ask_patiently(self, request: TeacherRequest, sampling: dict[str, Any]) -> TeacherReply:
        wait_s = self._first_wait_s
        for attempt in range(1, self._max_attempts + 1):
            if self._why is not None:
                raise type(self._why)(f"not asked any more since an earlier request: {self._why}")
            try:
                return self._ask_once(request, sampling, attempt)
            except TeacherBusyError as error:
                if attempt == self._max_attempts:
                    self._end(error)
                    raise TeacherBusyError(
                        f"{error}; gave up after {attempt} attempts; run the same command later: what was answered is kept"
                    ) from error
                told_s = retry_after_s(getattr(getattr(error.__cause__, "response", None), "headers", {}))
                pause_s = wait_s if told_s is None else told_s
                logger.info("%s; attempt %d, waiting %.1f s", error, attempt, pause_s)
                self._ended.wait(pause_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            except TeacherError as error:
                self._end(error)
                raise
        raise AssertionError("the last attempt returns or raises")

    def _end(self, why: TeacherError) -> None:
        self._why = self._why or why
        self._ended.set()  # wakes the threads that wait

    def _who(self, request: TeacherRequest) -> str:
        return f"teacher {request.model} at {self._address}"

    def _ask_once(self, request: TeacherRequest, sampling: dict[str, Any], attempt: int) -> TeacherReply:
        import openai

        who = self._who(request)
        try:
            answer = self._create(request, sampling)
        except openai.APITimeoutError as error:
            raise TeacherBusyError(f"{who}: did not answer in time") from error
        except openai.APIConnectionError as error:
            raise TeacherBusyError(f"{who}: cannot be reached; is the server up and OPENAI_BASE_URL right?") from error
        except openai.APIStatusError as error:
            if error.code == "insufficient_quota":
                raise TeacherError(f"{who}: the quota is used up; raise it, then run again") from error
            if error.status_code in _BUSY_STATUSES or error.status_code >= 500:
                raise TeacherBusyError(f"{who}: busy (status {error.status_code})") from error
            raise TeacherError(
                f"{who}: refused with status {error.status_code} ({error.message:.200}); check OPENAI_API_KEY, "
                "OPENAI_BASE_URL and SKELETONLLM_TEACHER_MODEL"
            ) from error
        except (openai.OpenAIError, ValueError) as error:  # the package lets a broken body's JSON error through
            raise TeacherBusyError(f"{who}: its answer cannot be read ({error!s:.100})") from error
        return _reply(answer, request, attempt, who)

    def _create(self, request: TeacherRequest, sampling: dict[str, Any]) -> Any:
        """One call; an option that the server does not know is replaced or left out from then on."""
        import openai

        while True:
            arguments = self._arguments(request, sampling)
            try:
                return self._client.chat.completions.create(
                    model=request.model,
                    messages=list(request.messages),  # type: ignore[arg-type]
                    **arguments,
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                said = str(error).replace("json_schema", "response_format")
                unknown = next((option for option in _OPTIONS if option in arguments and option in said), None)
                if unknown is None:
                    raise
                logger.info("%s does not take %s (%.100s); going on without it", self._who(request), unknown, error)
                self._unknown.add(unknown)

    def _arguments(self, request: TeacherRequest, sampling: dict[str, Any]) -> dict[str, Any]:
        schema = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": request.schema}}
        arguments = {**sampling, "response_format": schema}
        if "max_tokens" in self._unknown and "max_tokens" in sampling:
            arguments["max_completion_tokens"] = sampling["max_tokens"]  # its name with newer OpenAI models
        return {name: value for name, value in arguments.items() if name not in self._unknown}


def retry_after_s(headers: Any) -> float | None:
    """How long a server asks to wait, by its headers: milliseconds, seconds or a date; None where it does not say."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        with contextlib.suppress(TypeError, ValueError):
            seconds = float(headers.get(name)) / unit
            return max(0.0, seconds) if math.isfinite(seconds) else None
    with contextlib.suppress(TypeError, ValueError):
        date = email.utils.parsedate_to_datetime(headers.get("retry-after"))
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())
    return None


def _reply(answer: Any, request: TeacherRequest, attempt: int, who: str) -> TeacherReply:
    """A reply from the package's object; a proxy's web page or an error under status 200 gives no such object."""
    choices = getattr(answer, "choices", None)
    if not choices or getattr(choices[0], "message", None) is None:
        shown = answer if isinstance(answer, str) else json.dumps(getattr(answer, "model_extra", None), default=str)
        raise TeacherBusyError(f"{who}: answered with no chat completion: {shown!s:.100}")
    usage = answer.usage
    cost = getattr(usage, "cost", None)
    return TeacherReply(
        key=request.key,
        text=choices[0].message.content or "",
        finish_reason=choices[0].finish_reason or "",
        prompt_tokens=(usage.prompt_tokens or 0) if usage else 0,
        completion_tokens=(usage.completion_tokens or 0) if usage else 0,
        attempt=attempt,
        received_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        cost=float(cost) if isinstance(cost, int | float) else None,
    )


def _both(first: TeacherReply, second: TeacherReply) -> TeacherReply:
    """The second reply, with what both took."""
    costs = [reply.cost for reply in (first, second) if reply.cost is not None]
    return replace(
        second,
        prompt_tokens=first.prompt_tokens + second.prompt_tokens,
        completion_tokens=first.completion_tokens + second.completion_tokens,
        attempt=first.attempt + second.attempt,
        cost=sum(costs) if costs else None,
    )
