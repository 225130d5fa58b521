"""A server's Batch API: files up, a batch made or found again, files down. What is asked for is asked for patiently."""

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, TypeVar

from pipelines.teacher.batch_files import ENDPOINT
from pipelines.teacher.faults import backoff_s, kind_of_status, retry_after_s
from skeletonllm.answer.connect import without_frames
from skeletonllm.errors import ConfigError, TeacherBusyError, TeacherError

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

T = TypeVar("T")

_NAME = "skeletonllm_batch"  # of the metadata that finds a batch again
_OVER = ("completed", "failed", "expired", "cancelled")
_CLOCKS_S = 86_400.0  # so far may the server's clock be from ours
_TRIES = 6


@dataclass(frozen=True)
class RemoteBatch:
    """A batch as the server tells of it.

    Args:
        status: in the server's words.
        files: of results, as many as there are: none, one or two.
        num_ended: requests of which these files should tell, where the server says so.
        reason: why the batch as a whole was refused.
        code: the same in one word.
    """

    status: str
    files: tuple[str, ...] = ()
    num_ended: int | None = None
    reason: str = ""
    code: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self.status in _OVER


class BatchServer:
    """The batches of one server.

    Args:
        client: of the server.
        who: it is, for messages.
        first_wait_s: before something is asked for again; it doubles from there.
    """

    def __init__(self, client: "openai.OpenAI", who: str, first_wait_s: float = 1.0) -> None:
        self._client, self._who, self._first_wait_s = client, who, first_wait_s

    def upload(self, name: str, file: IO[bytes]) -> str:
        """Send a file of requests; its id."""

        def call() -> str:
            file.seek(0)
            return self._client.files.create(file=(f"{name}.jsonl", file), purpose="batch").id

        return self._patiently("the file of requests", call)

    def create(self, file_id: str, name: str) -> str:
        """Let the server begin; its id of the batch.

        Raises:
            TeacherError: the server refused: there is no batch.
            TeacherBusyError: nobody knows whether there is one.
        """

        def call() -> str:
            return self._client.batches.create(
                input_file_id=file_id,
                endpoint=ENDPOINT,
                completion_window="24h",
                metadata={_NAME: name},
                extra_headers={"Idempotency-Key": name},
            ).id

        return self._patiently("the batch", call, kinds=("rate limit",))

    def find(self, name: str, since: float) -> str | None:
        """The id of the batch that has our name, if the server has one.

        Args:
            name: ours.
            since: it was made, in seconds since 1970.
        """

        def call() -> str | None:
            for batch in self._client.batches.list(limit=100):
                if (batch.metadata or {}).get(_NAME) == name:
                    return batch.id
                if (batch.created_at or since) < since - _CLOCKS_S:
                    break  # the newest come first
            return None

        return self._patiently("the list of batches", call)

    def look(self, remote_id: str) -> RemoteBatch | None:
        """How far a batch is; None where the server does not know it (any more)."""
        import openai

        try:
            batch = self._patiently("the batch", lambda: self._client.batches.retrieve(remote_id))
        except TeacherError as error:
            if isinstance(error.__cause__, openai.NotFoundError):
                return None
            raise
        files = tuple(id for id in (batch.output_file_id, batch.error_file_id) if id)
        counts = batch.request_counts
        num_ended = (counts.completed or 0) + (counts.failed or 0) if counts is not None else None
        errors = (batch.errors.data or []) if batch.errors is not None else []
        reason = "; ".join(" ".join(str(error.message).split())[:200] for error in errors[:3])
        return RemoteBatch(batch.status, files, num_ended, reason, str(errors[0].code or "") if errors else "")

    def lines(self, file_id: str) -> Iterator[bytes]:
        """Of a file of results."""
        yield from self._patiently(
            "a file of results", lambda: self._client.files.content(file_id).content
        ).splitlines()

    def _patiently(
        self, what: str, call: Callable[[], T], kinds: tuple[str, ...] = ("rate limit", "server error", "lost")
    ) -> T:
        """What a call gives; again after faults of these kinds.

        Raises:
            TeacherError: the server refused.
            TeacherBusyError: it did not answer in all tries.
        """
        import openai

        for tries in range(1, _TRIES + 1):
            told_s = None
            try:
                return call()
            except ConfigError:  # the name leads where it must not
                raise
            except openai.APIStatusError as error:
                kind, said = kind_of_status(error.status_code, error.code), " ".join(str(error.message).split())[:200]
                if kind in ("refused", "bad request"):
                    raise TeacherError(
                        f"{self._who}: {what}: refused with status {error.status_code} ({said}); check OPENAI_API_KEY, "
                        "OPENAI_BASE_URL and whether it has a Batch API, else ask without --batch"
                    ) from without_frames(error)
                fault, told_s = error, retry_after_s(error.response.headers)
            except (openai.OpenAIError, ValueError) as error:  # the package lets a broken body's JSON error through
                kind, fault = "lost", error
            if kind not in kinds or tries == _TRIES:
                raise TeacherBusyError(
                    f"{self._who}: {what}: no answer after {tries} tries ({fault!s:.100}); run the same command later: "
                    "what the server has begun goes on, and is found again"
                ) from without_frames(fault)
            wait_s = backoff_s(tries, self._first_wait_s) if told_s is None else told_s
            logger.info("%s: %s: %.100s; waiting %.1f s", self._who, what, fault, wait_s)
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")
