"""Ask by the Batch API: at half the price, within a day. Killed at any moment and run again, it goes on.

A batch is written into the ledger, money and all, before the server hears of it; the server keeps our name of it. So a run
that comes later finds it again, also where the one before was killed between the two, and submits nothing twice.
"""

import datetime
import logging
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipelines.settings import Settings
from pipelines.teacher.batch_book import Batch, BatchBook, Ended
from pipelines.teacher.batch_files import MOST_BYTES, MOST_REQUESTS, Outcome, reconcile, request_line
from pipelines.teacher.batch_server import BatchServer, RemoteBatch
from pipelines.teacher.faults import kind_of_status
from pipelines.teacher.form import Form
from pipelines.teacher.ledger import Attempt, Caps, Ledger
from pipelines.teacher.prices import Prices
from pipelines.teacher.request import TeacherReply, TeacherRequest
from skeletonllm.answer.address import OPENAI_URL
from skeletonllm.answer.connect import connect
from skeletonllm.errors import BudgetError, RequestError, TeacherBusyError, TeacherError

logger = logging.getLogger(__name__)

_TIMEOUT_S = 300.0
# How often a request is put into a batch in one run: what expired, was lost, or met a tired server is submitted again.
_SUBMISSIONS = 3
# What is reserved, and held in memory, at once.
_CHUNK, _CHUNK_BYTES = 64, 8_000_000


@dataclass(frozen=True)
class Patience:
    """How long is waited for what.

    Args:
        poll_s: between two looks at a batch.
        lost_s: until a batch that was asked for, and that the server does not list, is taken as never made.
        first_wait_s: before a call that failed is tried again; it doubles from there.
    """

    poll_s: float = 20.0
    lost_s: float = 120.0
    first_wait_s: float = 1.0


@dataclass
class _Part:
    """A batch that is being filled."""

    name: str
    file: IO[bytes]
    keys: list[str] = field(default_factory=list)
    num_bytes: int = 0


class BatchTeacher:
    """Puts requests into batches and their replies into the ledger.

    Args:
        settings: address and key.
        ledger: replies that are there already, batches that are under way, and where new ones go.
        budget: what the requests are paid from.
        caps: of the budget.
        prices: of models.
        patience: how long is waited.
        most_requests: in one batch.
        most_bytes: of one batch's file.
        folder: for the file of requests while it is sent; by default the system's for temporary files.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        budget: str = "",
        caps: Caps | None = None,
        prices: Prices | None = None,
        patience: Patience | None = None,
        most_requests: int = MOST_REQUESTS,
        most_bytes: int = MOST_BYTES,
        folder: Path | None = None,
    ) -> None:
        self._ledger, self._budget, self._caps = ledger, budget, caps or Caps()
        self._prices, self._patience = prices or Prices.read(), patience or Patience()
        self._most_requests, self._most_bytes, self._folder = most_requests, most_bytes, folder
        address = settings.teacher_url or OPENAI_URL
        self._prices.check(settings.teacher_model, address, self._caps)
        self._client = connect(settings.teacher_url, settings.teacher_key, settings.rules, _TIMEOUT_S)
        self._server = BatchServer(
            self._client, f"teacher {settings.teacher_model} at {address}", self._patience.first_wait_s
        )
        self._book = BatchBook(ledger, address)
        self._address, self._model = address, settings.teacher_model
        self._form = Form()
        self._refused: TeacherError | None = None
        self._ended: dict[str, TeacherError] = {}  # requests that will have no reply in this run, and why
        self._reasons: dict[str, str] = {}  # why others had none the last time

    def ask(self, requests: Iterable[TeacherRequest]) -> dict[str, TeacherError]:
        """Ask all of them; the replies are in the ledger afterwards.

        Args:
            requests: gone through once for each time that some are submitted, so that not all are in memory.

        Returns:
            Why requests have no reply, by their keys: `RequestError` where asking again makes no sense, `BudgetError` where
            a cap was reached, `TeacherBusyError` where a later run may bring one.

        Raises:
            TeacherError: the server refuses (key, quota, model, or batches at all).
            TeacherBusyError: it does not answer; what it has begun goes on and is found again.
            DataError: the ledger cannot be used.
        """
        self._ended, self._reasons, self._refused = {}, {}, None
        for batch in self._book.under_way():  # what earlier runs left, whether it is asked for today or not
            self._step(batch)
        self._refused = None  # that was another run's
        sent: Counter[str] = Counter()
        while asked := self._submit(requests, sent):
            self._follow(asked)
            if all(key in self._ended or self._ledger.reply(key) is not None for key in asked):
                break  # to go through the requests again would only draw their pictures again
        return self._ended

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _submit(self, requests: Iterable[TeacherRequest], sent: Counter[str]) -> list[str]:
        """Put what has no reply into batches; the keys of what was put there, and of what others are asking."""
        part, asked = None, []
        try:
            for chunk in self._chunks(requests, sent):
                num_bytes = sum(len(line) for _, line in chunk)
                if part is not None and not self._fits(part, len(chunk), num_bytes):
                    self._send(part)
                    part = None
                part = part or self._begin()
                asked += self._put(part, chunk)
            if part is not None:
                self._send(part)
                part = None
        finally:
            if part is not None:
                part.file.close()
                self._book.end(part.name, "dropped", "it was not sent")
        sent.update(asked)
        return asked

    def _chunks(
        self, requests: Iterable[TeacherRequest], sent: Counter[str]
    ) -> Iterator[list[tuple[TeacherRequest, bytes]]]:
        """Requests that have no reply, with their lines."""
        chunk: list[tuple[TeacherRequest, bytes]] = []
        num_bytes, seen = 0, set()
        for request in requests:
            key = request.key
            if key in self._ended or key in seen or self._ledger.reply(key) is not None:
                continue
            seen.add(key)
            if sent[key] >= _SUBMISSIONS:
                self._ended[key] = TeacherBusyError(f"{self._reasons.get(key, 'not answered')}; run again to ask again")
                continue
            line = request_line(key, self._form.body(request))
            if len(line) > self._most_bytes:
                self._ended[key] = RequestError(
                    f"request {key[:12]}: has {len(line)} bytes, a batch takes {self._most_bytes}; send fewer or smaller "
                    "pictures"
                )
                continue
            if chunk and (
                len(chunk) == min(_CHUNK, self._most_requests)
                or num_bytes + len(line) > min(_CHUNK_BYTES, self._most_bytes)
            ):
                yield chunk
                chunk, num_bytes = [], 0
            chunk.append((request, line))
            num_bytes += len(line)
        if chunk:
            yield chunk

    def _fits(self, part: _Part, count: int, num_bytes: int) -> bool:
        return len(part.keys) + count <= self._most_requests and part.num_bytes + num_bytes <= self._most_bytes

    def _begin(self) -> _Part:
        name = secrets.token_hex(12)
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  it has no name, so a kill leaves none behind
        self._book.begin(name, self._budget)
        return _Part(name, file)

    def _put(self, part: _Part, chunk: Sequence[tuple[TeacherRequest, bytes]]) -> list[str]:
        """Reserve what a chunk costs and write its lines; the keys that now have an attempt under way, ours or not."""
        bounds = [(request, self._prices.bound(request, in_batch=True)) for request, _ in chunk]
        results = self._ledger.reserve_all(bounds, self._caps, self._budget, part.name)
        asked = []
        for (request, line), result in zip(chunk, results, strict=True):
            if isinstance(result, BudgetError | RequestError):
                self._ended[request.key] = result
            elif not isinstance(result, TeacherReply):
                asked.append(request.key)
                if isinstance(result, Attempt):
                    part.file.write(line)
                    part.keys.append(request.key)
                    part.num_bytes += len(line)
        return asked

    def _send(self, part: _Part) -> None:
        """Hand a batch to the server, or leave it to be looked for there."""
        with part.file:
            if not part.keys:
                self._book.end(part.name, "dropped", "nothing was put into it")
                return
            try:
                file_id = self._server.upload(part.name, part.file)
            except BaseException:
                self._book.end(part.name, "dropped", "its file did not reach the server")
                raise
            self._book.submitting(part.name)
            try:
                remote_id = self._server.create(file_id, part.name)
            except TeacherBusyError as error:
                logger.warning("batch %s: the server may have it or not: %s", part.name, error)
                self._book.orphan(part.name)
                return
            except TeacherError:
                self._book.end(part.name, "dropped", "the server refused it")
                raise
            except BaseException:
                self._book.orphan(part.name)
                raise
            self._book.submitted(part.name, remote_id)
            logger.info("batch %s: %d requests submitted as %s", part.name, len(part.keys), remote_id)

    def _follow(self, keys: Sequence[str]) -> None:
        """Until nobody is asking any of these requests any more."""
        while names := self._book.asking(keys):
            for batch in self._book.under_way():
                if batch.name in names:
                    self._step(batch)
            if self._refused is not None:
                raise self._refused
            if "" in names:
                self._ledger.bury()
            if self._book.asking(keys):
                time.sleep(self._patience.poll_s)

    def _step(self, batch: Batch) -> None:
        """Look at a batch, and finish it where it is over."""
        if batch.state == "submitted":
            remote = self._server.look(batch.remote_id)
            if remote is None:
                self._book.end(batch.name, "done", "the server knows nothing of its batch any more", in_doubt=True)
            elif remote.is_over:
                self._finish(batch, remote)
            else:
                logger.info("batch %s: %s, %s requests are done", batch.name, remote.status, remote.num_ended or 0)
        elif batch.is_orphan and batch.state == "filling":
            self._book.end(batch.name, "dropped", "its process died before it was sent")
        elif batch.is_orphan:
            remote_id = self._server.find(batch.name, batch.changed_at)
            if remote_id is not None:
                logger.info("batch %s: found again as %s", batch.name, remote_id)
                self._book.submitted(batch.name, remote_id)
            elif time.time() - batch.changed_at > self._patience.lost_s:
                self._book.end(batch.name, "dropped", "it did not reach the server")

    def _finish(self, batch: Batch, remote: RemoteBatch) -> None:
        """Put both files of results beside what was submitted, and write down what came of each request."""
        if remote.status == "failed":
            said = f"batch {remote.status} ({remote.reason or 'the server does not say why'})"
            self._book.end(batch.name, "refused", said)
            kind = TeacherBusyError if remote.code == "token_limit_exceeded" else TeacherError
            self._refused = kind(
                f"teacher {self._model} at {self._address}: {said}; nothing of it was charged; "
                + ("run again when other batches are done" if kind is TeacherBusyError else "mend that, then run again")
            )
            return
        attempts = self._book.attempts(batch.name)
        found = reconcile(attempts, (line for file in remote.files for line in self._server.lines(file)))
        counts = found.counts
        logger.info(
            "batch %s: %s of %d submitted (lines that cannot be read: %d, about others: %d, twice: %d)",
            batch.name,
            ", ".join(f"{number} {state}" for state, number in counts.items()),
            len(attempts),
            found.num_broken,
            found.num_unknown,
            found.num_twice,
        )
        # Where the files tell of as many requests as the server counts, no other was worked on, and so none was charged.
        lost = remote.num_ended is None or counts["ok"] + counts["failed"] < remote.num_ended
        self._book.settle(
            batch.name, {key: self._end(attempts[key], outcome, lost) for key, outcome in found.outcomes.items()}
        )
        self._book.end(batch.name, "done", "no line tells of it", in_doubt=True)

    def _end(self, attempt: Attempt, outcome: Outcome, lost: bool) -> TeacherReply | Ended:
        key = attempt.key
        if outcome.state == "ok":
            return self._reply(attempt, outcome)
        reason = f"request {key[:12]}: {outcome.state} in its batch ({outcome.reason})"
        self._reasons[key] = reason
        if outcome.state == "failed" and outcome.http_status is not None:
            kind = kind_of_status(outcome.http_status, None)
            if kind == "bad request" and self._form.learn(outcome.reason) is None:
                self._ended[key] = RequestError(reason)
            elif kind == "refused":
                self._refused = TeacherError(
                    f"teacher {self._model} at {self._address}: refused with status {outcome.http_status} "
                    f"({outcome.reason}); check OPENAI_API_KEY, OPENAI_BASE_URL and SKELETONLLM_TEACHER_MODEL"
                )
        return Ended(reason, outcome.http_status, in_doubt=outcome.state == "missing" and lost)

    def _reply(self, attempt: Attempt, outcome: Outcome) -> TeacherReply:
        choice, usage = outcome.completion["choices"][0], outcome.completion.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        details = usage.get("prompt_tokens_details")
        cached = _count(details.get("cached_tokens") if isinstance(details, dict) else 0)
        prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        price = self._prices.of(self._model, self._address)
        # Without a word on tokens, all that was reserved counts.
        cost = price.cost(prompt, completion, cached, in_batch=True) if price is not None and prompt else None
        return TeacherReply(
            key=attempt.key,
            text=choice["message"].get("content") or "",
            finish_reason=str(choice.get("finish_reason") or ""),
            prompt_tokens=prompt,
            completion_tokens=completion,
            attempt=attempt.number,
            received_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            cost=cost,
        )


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
