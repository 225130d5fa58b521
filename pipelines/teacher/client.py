"""Ask any server that speaks the OpenAI protocol, through the `openai` package with its own retries off."""

import datetime
import json
import logging
import threading
import time
from collections import Counter
from typing import Any

from pipelines.settings import Settings
from pipelines.teacher.faults import LONGEST_BACKOFF_S, Fault, backoff_s, kind_of_status, retry_after_s
from pipelines.teacher.form import OPTIONS, Form
from pipelines.teacher.ledger import Attempt, Ledger, Wait
from pipelines.teacher.limits import Gate, Limits, Pacer
from pipelines.teacher.prices import Price, Prices
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.answer.address import OPENAI_URL
from skeletonllm.answer.connect import connect
from skeletonllm.errors import BudgetError, ChainError, ConfigError, RequestError, TeacherBusyError, TeacherError
from skeletonllm.reasoning.chain import ReasoningChain
from skeletonllm.skeleton.clip import Clip

logger = logging.getLogger(__name__)

_TIMEOUT_S = 300.0
_LOOK_AGAIN_S = 0.1


class OpenAITeacher:
    """Asks, waits where the server says so, and keeps every reply in the ledger. Safe for several threads.

    One request that fails ends with a reason. Once the server has refused the key, the address or the model, once a cap is
    reached, or once nothing at all is answered any more, nobody is asked any more.

    Args:
        settings: address and key.
        ledger: replies that are there already, and where new ones and what they cost go.
        budget: what the requests are paid from.
        limits: up to what, how fast and how many at once.
        prices: of models.
        first_wait_s: before the second try; it doubles from there, unless the server says how long.
        timeout_s: for one answer.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        budget: str = "",
        limits: Limits | None = None,
        prices: Prices | None = None,
        first_wait_s: float = 1.0,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._ledger, self._budget = ledger, budget
        self._limits = limits or Limits()
        self._prices = prices or Prices.read()
        self._first_wait_s = first_wait_s
        self._address = settings.teacher_url or OPENAI_URL
        self._prices.check(settings.teacher_model, self._address, self._limits.caps)
        self._client = (
            None
            if self._limits.replay
            else connect(
                settings.teacher_url,
                settings.teacher_key,
                settings.rules,
                timeout_s,
                api_version=settings.teacher_api_version,
            )
        )
        # Where the pace is set, there is nothing to be learned by a first request alone.
        self._gate = Gate(self._limits.at_once, self._limits.at_once if self._limits.requests_per_minute else 1)
        self._pacer = Pacer(f"{self._address} {settings.teacher_model}", self._limits)
        self._form = Form()
        self._answered_at = 0.0
        self._ended = threading.Event()
        self._why: TeacherError | None = None

    def ask(self, request: TeacherRequest) -> TeacherReply:
        """The reply to a request: from the ledger, or from the server, and then in the ledger.

        Raises:
            RequestError: this request brought no answer; others may.
            TeacherError: the server refuses (key, quota, address, model): asking will not help.
            TeacherBusyError: it has stopped answering at all.
            BudgetError: a cap is reached.
            DataError: the ledger cannot be used.
        """
        if self._limits.replay:
            known = self._ledger.reply(request.key)
            if known is None:
                raise RequestError(
                    self._ledger.last_reason(request.key)
                    or f"request {request.key[:12]}: the ledger has no reply; run without replay to ask for it"
                )
            return known
        met: Counter[str] = Counter()
        began = time.monotonic()
        while True:
            with self._gate.entered() as entered:
                leave = self._reserve(request)
                if isinstance(leave, TeacherReply):
                    return leave
                came = self._send(request, leave)
                if isinstance(came, TeacherReply):
                    self._gate.went_well()
                    self._answered_at = time.monotonic()
                    return came
                if came.policy.slows:
                    self._gate.slow_down(entered)
            met[came.kind] += 1
            self._wait_or_give_up(came, met[came.kind], began)

    def judge(self, request: TeacherRequest, clip: Clip, chain: ReasoningChain | ChainError) -> None:
        """Note in the ledger what a reply was worth."""
        if isinstance(chain, ChainError):
            self._ledger.judge(request.key, clip.clip_id, "no chain", [str(chain)])
        else:
            self._ledger.judge(request.key, clip.clip_id, chain.verdict, chain.reasons)

    def end(self, why: TeacherError) -> None:
        """Ask nobody any more; wakes the threads that wait."""
        self._why = self._why or why
        self._ended.set()

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def _check_ended(self) -> None:
        if self._why is not None:
            raise type(self._why)(str(self._why))

    def _reserve(self, request: TeacherRequest) -> Attempt | TeacherReply:
        bound = self._prices.bound(request)
        while True:
            self._check_ended()
            try:
                leave = self._ledger.reserve(
                    request, bound, self._limits.caps, self._budget, pace=self._pacer.pace(bound)
                )
            except BudgetError as error:
                self.end(error)
                raise
            if not isinstance(leave, Wait):
                return leave
            self._ended.wait(_LOOK_AGAIN_S)

    def _send(self, request: TeacherRequest, attempt: Attempt) -> TeacherReply | Fault:
        while (wait_s := self._pacer.wait_s(attempt.send_at)) > 0:
            if self._ended.wait(min(wait_s, LONGEST_BACKOFF_S)):
                self._ledger.fail(attempt, "nobody is asked any more")
                self._check_ended()
        self._ledger.mark_sent(attempt)
        self._pacer.hold()
        try:
            came = self._post(request, attempt)
        except ConfigError:  # its name leads where nothing is sent to
            self._ledger.fail(attempt, "its address must not be asked")
            raise
        except BaseException as error:  # such as Ctrl-C: it was sent, and nobody will know what came of it
            self._ledger.fail(attempt, f"{type(error).__name__} while it was under way", in_doubt=True)
            raise
        if isinstance(came, Fault):
            self._ledger.fail(attempt, came.reason, came.status, came.policy.in_doubt)
            return came
        reply, response_id = came
        self._ledger.settle(attempt, reply, 200, response_id)
        self._pacer.took(attempt.bound, reply)
        return reply

    def _wait_or_give_up(self, fault: Fault, tries: int, began: float) -> None:
        if fault.policy.ends_all:
            self.end(TeacherError(fault.reason))
            raise TeacherError(fault.reason)
        if fault.kind == "other form":
            return
        if tries >= fault.policy.tries:
            given_up = f"{fault.reason}; gave up after {tries} attempts"
            if fault.policy.tries > 1 and self._answered_at < began:
                # Nothing at all was answered all the while: it is not this request's fault.
                busy = TeacherBusyError(f"{given_up}; run the same command later: what was answered is kept")
                self.end(busy)
                raise busy
            raise RequestError(given_up)
        pause_s = backoff_s(tries, self._first_wait_s) if fault.wait_s is None else fault.wait_s
        if fault.wait_s is not None:
            self._pacer.pause(fault.wait_s)  # it is meant for all
        logger.info("%s; attempt %d, waiting %.1f s", fault.reason, tries, pause_s)
        self._ended.wait(min(pause_s, LONGEST_BACKOFF_S))  # the rest of a longer pause passes in `_send`

    def _post(self, request: TeacherRequest, attempt: Attempt) -> tuple[TeacherReply, str] | Fault:
        import httpx2
        import openai

        who = f"teacher {request.model} at {self._address}"
        body = self._form.body(request)
        # Another form is another request to a server that knows idempotency keys.
        form = "".join(
            f"-{option}" for option in OPTIONS if option in self._form.unknown and option in request.sampling
        )
        assert self._client is not None
        try:
            response = self._client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body=body,
                options={"headers": {"Idempotency-Key": attempt.key + form}},
            )
        except openai.APIConnectionError as error:
            return _connection_fault(error, who)
        except openai.APIStatusError as error:
            self._pacer.read(error.response.headers)
            return self._status_fault(error, body, who)
        self._pacer.read(response.headers)
        return self._read(response, request, attempt, who)

    def _status_fault(self, error: Any, body: dict[str, Any], who: str) -> Fault:
        status, headers = error.status_code, error.response.headers
        kind = kind_of_status(status, error.code)
        said = " ".join(str(error.message).split())[:200]
        if kind == "bad request":
            unknown = self._form.learn(said, body)
            if unknown is not None:
                logger.info("%s does not take %s (%.100s); going on without it", who, unknown, said)
                return Fault("other form", f"{who}: does not take {unknown}", status)
            return Fault(kind, f"{who}: does not take this request, status {status} ({said})", status)
        if kind == "refused":
            if status == 429:
                return Fault(kind, f"{who}: the quota is used up ({said}); raise it, then run again", status)
            return Fault(
                kind,
                f"{who}: refused with status {status} ({said}); check OPENAI_API_KEY, OPENAI_BASE_URL and "
                "SKELETONLLM_TEACHER_MODEL",
                status,
            )
        return Fault(kind, f"{who}: busy (status {status})", status, retry_after_s(headers))

    def _read(
        self, response: Any, request: TeacherRequest, attempt: Attempt, who: str
    ) -> tuple[TeacherReply, str] | Fault:
        try:
            plain = response.json()
        except ValueError as error:
            if "json" not in response.headers.get("content-type", "json"):
                return Fault("no completion", f"{who}: answered with no chat completion: {response.text[:100]!r}", 200)
            return Fault("lost", f"{who}: its answer cannot be read ({error!s:.100})", 200)
        try:
            choice = plain["choices"][0]
            text, finish_reason = choice["message"].get("content") or "", choice.get("finish_reason") or ""
        except (LookupError, TypeError, AttributeError):
            return Fault("no completion", f"{who}: answered with no chat completion: {json.dumps(plain):.100}", 200)
        price = self._prices.of(request.model, self._address)
        prompt, completion, cost = _usage(plain.get("usage"), attempt, request, price)
        return TeacherReply(
            key=request.key,
            text=str(text),
            finish_reason=str(finish_reason),
            prompt_tokens=prompt,
            completion_tokens=completion,
            attempt=attempt.number,
            received_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            cost=cost,
        ), str(plain.get("id") or "")


def _connection_fault(error: Exception, who: str) -> Fault:
    """Whether a request that brought no response can have been charged."""
    import httpx2
    import openai

    if isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout):
        return Fault("unreachable", f"{who}: cannot be reached; is the server up and OPENAI_BASE_URL right?")
    if isinstance(error, openai.APITimeoutError):
        return Fault("lost", f"{who}: did not answer in time")
    return Fault("lost", f"{who}: the connection broke ({error.__cause__!s:.100})")


def _usage(usage: Any, attempt: Attempt, request: TeacherRequest, price: Price | None) -> tuple[int, int, float | None]:
    """Tokens in and out, and the cost. Where the server does not say how many, all that was reserved counts."""
    plain = usage if isinstance(usage, dict) else {}
    room = request.sampling["max_tokens"]
    prompt, completion = plain.get("prompt_tokens"), plain.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return attempt.bound.tokens - room, room, None
    said = plain.get("cost")
    if isinstance(said, int | float) and not isinstance(said, bool):
        return prompt, completion, float(said)
    details = plain.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else 0
    return prompt, completion, None if price is None else price.cost(prompt, completion, cached or 0)
