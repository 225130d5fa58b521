"""The HTTP side: reads bodies within limits, prepares what they hold in threads, and passes answers on as they come."""

import asyncio
import contextlib
import functools
import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
import numpy as np
import torch
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from skeletonllm.errors import SkeletonLLMError
from skeletonllm.serve.engine import Engine, Work
from skeletonllm.serve.limits import Limits, Refusal
from skeletonllm.serve.protocol import Chunks, Outcome, Question, completion, parse_body, parse_question

logger = logging.getLogger(__name__)

_BODY_S = 30.0  # for a body to arrive
_PREPARING = 2  # threads that read bodies
_DRAINED = (
    4  # times the limit: so much of a body that is too large is read and thrown away, so that clients see the answer
)

Handler = Callable[[Request], Awaitable[Response]]


class Server:
    """What the routes share.

    Args:
        student: the model, in evaluation mode.
        model: its name.
        limits: what is accepted.
        key: that clients must give; empty for none.
    """

    def __init__(self, student: Any, model: str, limits: Limits, key: str = "") -> None:
        self.engine = Engine(student, limits)
        self.model = model
        self._student, self._limits, self._key = student, limits, key
        self._accepted = 0
        self._threads = anyio.CapacityLimiter(_PREPARING)

    def app(self) -> Starlette:
        """The application."""
        routes = [
            Route("/health", self._health, methods=["GET"]),
            Route("/v1/models", self._guarded(self._models), methods=["GET"]),
            Route("/v1/models/{name:path}", self._guarded(self._one_model), methods=["GET"]),
            Route("/v1/chat/completions", self._guarded(self._chat), methods=["POST"]),
        ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _not_here, Exception: _broken})

    async def _health(self, _: Request) -> Response:
        alive = self.engine.alive
        content = {"status": "ok" if alive else "down", "model": self.model, "waiting": self.engine.num_waiting}
        return JSONResponse(content, 200 if alive else 503)

    async def _models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def _one_model(self, request: Request) -> Response:
        if request.path_params["name"] != self.model:
            raise Refusal(f"no such model; there is {self.model!r}", 404, code="model_not_found")
        return JSONResponse(self._model())

    def _model(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "created": 0, "owned_by": "skeletonllm"}

    def _guarded(self, handler: Handler) -> Handler:
        """The handler, for those who know the key; refusals become responses."""

        @functools.wraps(handler)
        async def guarded(request: Request) -> Response:
            try:
                self._check_key(request)
                return await handler(request)
            except Refusal as refusal:
                return _response(refusal)

        return guarded

    def _check_key(self, request: Request) -> None:
        given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
        if self._key and not hmac.compare_digest(given, self._key.encode()):
            raise Refusal(
                "the key is missing or wrong; give it as `Authorization: Bearer KEY`", 401, code="invalid_api_key"
            )

    async def _chat(self, request: Request) -> Response:
        if self._accepted >= self._limits.max_waiting:
            raise Refusal(
                f"the server is busy: {self._accepted} requests are under way; try again in a second",
                503,
                retry_after_s=1,
            )
        self._accepted += 1
        told = _Told(asyncio.get_running_loop(), self._release)
        try:
            body = await self._body(request)
            question, seen = await anyio.to_thread.run_sync(self._prepared, body, limiter=self._threads)
            work = Work(question, seen, told)
            self.engine.submit(work)
        except BaseException:
            self._release()
            raise
        return await self._streamed(work, told) if question.stream else await self._whole(work, told)

    def _release(self) -> None:
        self._accepted -= 1

    async def _body(self, request: Request) -> bytes:
        """The whole body.

        Raises:
            Refusal: it is too large, too slow, or no JSON by its own word.
        """
        if request.headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise Refusal("the content type is not application/json; send JSON", 415)
        limit = self._limits.max_body_bytes
        data, size = bytearray(), 0
        try:
            async with asyncio.timeout(_BODY_S):
                async for piece in request.stream():
                    size += len(piece)
                    if size <= limit:
                        data += piece
                    elif size > _DRAINED * limit:
                        break
        except TimeoutError:
            raise Refusal(f"the body did not arrive within {_BODY_S:.0f} s; send it again", 408) from None
        except ClientDisconnect:
            raise Refusal("the client is gone", 400) from None
        if size > limit:
            raise Refusal(
                f"the body has more than {limit} bytes; send fewer or smaller frames, or start the server with a larger "
                "--max-body-mb",
                413,
                code="body_too_large",
            )
        return bytes(data)

    def _prepared(self, body: bytes) -> tuple[Question, Any]:
        """What a body asks, and what the model is to see; in a thread."""
        question = parse_question(parse_body(body), self.model, self._student.renderer.config.size_px, self._limits)
        if question.clip is not None:
            try:
                return question, self._student.renderer.prepare(question.clip)
            except SkeletonLLMError as error:
                raise Refusal(str(error), param="messages") from error
        if question.pictures:
            return question, torch.from_numpy(np.stack(question.pictures))
        return question, None

    async def _whole(self, work: Work, told: "_Told") -> Response:
        try:
            while not isinstance(event := await told.next(), Outcome):
                pass
        except asyncio.CancelledError:
            work.gone.set()
            raise
        return JSONResponse(completion(self.model, event))

    async def _streamed(self, work: Work, told: "_Told") -> Response:
        first = await told.next()  # a refusal still has a status of its own
        return StreamingResponse(self._events(work, told, first), media_type="text/event-stream")

    async def _events(self, work: Work, told: "_Told", event: "str | Outcome") -> AsyncIterator[str]:
        chunks = Chunks(self.model)
        try:
            while isinstance(event, str):
                yield chunks.text(event)
                event = await told.next()
            for chunk in chunks.end(event, work.question.with_usage):
                yield chunk
        except Refusal as refusal:
            yield chunks.refusal(refusal)
        finally:
            work.gone.set()


class _Told:
    """What the engine's thread tells of one question, for the event loop. The end releases its place."""

    def __init__(self, loop: asyncio.AbstractEventLoop, release: Callable[[], None]) -> None:
        self._loop, self._release = loop, release
        self._events: asyncio.Queue[str | Outcome | Refusal] = asyncio.Queue()

    def text(self, text: str) -> None:
        self._put(text)

    def done(self, outcome: Outcome) -> None:
        self._put(outcome)

    def refused(self, refusal: Refusal) -> None:
        self._put(refusal)

    async def next(self) -> str | Outcome:
        """The next piece, or the outcome.

        Raises:
            Refusal: there will be no answer.
        """
        event = await self._events.get()
        if isinstance(event, Refusal):
            raise event
        return event

    def _put(self, event: str | Outcome | Refusal) -> None:
        def arrive() -> None:
            if not isinstance(event, str):
                self._release()
            self._events.put_nowait(event)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(arrive)


def _response(refusal: Refusal) -> Response:
    headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s else None
    return JSONResponse(refusal.to_dict(), refusal.status, headers)


async def _not_here(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    known = "POST /v1/chat/completions, GET /v1/models, GET /health"
    return _response(Refusal(f"{request.method} {request.url.path:.100} is not served here; there is {known}", status))


async def _broken(_: Request, error: Exception) -> Response:
    logger.error("a request could not be answered", exc_info=error)
    return _response(Refusal(f"the server failed ({type(error).__name__}); its log says more", 500))
