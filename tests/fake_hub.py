"""A fake Hugging Face Hub on this machine: real HTTP, commits in memory, and a token without which nothing is written."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

TOKEN = "hf_secret"


class FakeHub:
    """Repositories by name: commits in order, each with all its files by name."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.requests: list[str] = []
        self.url = ""

    def add(self, name: str, files: dict[str, bytes]) -> str:
        """A commit that holds these files; returns its hash."""
        commits = self.repositories.setdefault(name, {})
        commit = hashlib.sha1(repr((len(commits), sorted(files))).encode()).hexdigest()
        commits[commit] = files
        return commit

    def find(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """A commit by its hash, or the newest by `main`."""
        commits = self.repositories.get(name, {})
        commit = next(reversed(commits), "") if revision == "main" else revision
        return (commit, commits[commit]) if commit in commits else None


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """Serve an empty Hub until the end of the block."""
    hub = FakeHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._file()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.hub.requests.append(f"GET {path}")
        if found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)(?:/revision/([\w.-]+))?", path):
            at = self.hub.find(found[1], found[2] or "main")
            if at is None:
                self._missing()
                return
            siblings = [{"rfilename": name} for name in at[1]]
            self._json({"id": found[1], "modelId": found[1], "sha": at[0], "private": False, "siblings": siblings})
        elif found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/tree/([\w.-]+)", path):
            at = self.hub.find(found[1], found[2])
            if at is None:
                self._missing()
                return
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in at[1].items()
            ]
            self._json(entries)
        else:
            self._file()

    def do_POST(self) -> None:
        path, body = self.path.split("?")[0], self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.hub.requests.append(f"POST {path}")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json({"error": "Invalid credentials"}, 401)
        elif path == "/api/validate-yaml":
            yaml.safe_load(json.loads(body)["content"].split("---")[1])
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
            if name in self.hub.repositories:
                self._json({"error": "there already", "url": f"{self.hub.url}/{name}"}, 409)
            else:
                self.hub.add(name, {})
                self._json({"url": f"{self.hub.url}/{name}", "name": name})
        elif path.endswith("/preupload/main"):
            files = [{**file, "uploadMode": "regular", "shouldIgnore": False} for file in json.loads(body)["files"]]
            self._json({"files": files})
        elif found := re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/commit/main", path):
            self._json({"success": True, **self._commit(found[1], body)})
        else:
            self._json({"error": f"the fake Hub knows no {path}"}, 404)

    def _commit(self, name: str, body: bytes) -> dict[str, Any]:
        found = self.hub.find(name, "main")
        files = dict(found[1]) if found else {}
        for line in body.splitlines():
            told = json.loads(line)
            value = told["value"]
            if told["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif told["key"] == "deletedFile":
                files.pop(value["path"])
        commit = self.hub.add(name, files)
        return {"commitOid": commit, "commitUrl": f"{self.hub.url}/{name}/commit/{commit}", "hookOutput": ""}

    def _file(self) -> None:
        found = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([\w.-]+)/(.+)", self.path.split("?")[0])
        at = self.hub.find(found[1], found[2]) if found else None
        if found is None or at is None or found[3] not in at[1]:
            self._missing()
            return
        data = at[1][found[3]]
        self.send_response(200)
        self.send_header("ETag", f'"{_oid(data)}"')
        self.send_header("X-Repo-Commit", at[0])
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def _missing(self) -> None:
        known = any(f"/{name}/" in self.path for name in self.hub.repositories)
        code = "EntryNotFound" if known else "RepoNotFound"
        self._json({"error": "not found"}, 404, {"X-Error-Code": code})

    def _json(self, plain: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(plain).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
