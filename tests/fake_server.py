"""What the fake servers share: real HTTP on a free port of this machine while a `with` block lasts."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


class Handler(BaseHTTPRequestHandler):
    """Says nothing on the terminal, and sends an answer whole."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def body(self) -> bytes:
        """What the client sent."""
        return self.rfile.read(int(self.headers["Content-Length"]))

    def answer(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        """Send an answer; it is JSON unless the headers say otherwise."""
        self.send_response(status)
        length = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in {**length, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        pass  # a client that was killed, or has closed its connections


class FakeServer:
    """Answers by a handler while the `with` block lasts.

    Args:
        handler: a class for one connection.
    """

    def __init__(self, handler: type[Handler]) -> None:
        self._server = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
