"""The verb that serves a student."""

import os
from pathlib import Path
from typing import Annotated

import tyro

_MAX_KEY_BYTES = 4096


def serve(
    checkpoint: Annotated[Path, tyro.conf.Positional],
    host: str = "127.0.0.1",
    port: int = 8000,
    name: str | None = None,
    api_key_file: Path | None = None,
    max_body_mb: int = 16,
    max_waiting: int = 64,
    max_batch: int = 16,
    max_frames: int = 10_000,
) -> None:
    """Serve a student as an OpenAI-compatible endpoint, until Ctrl-C or SIGTERM.

    Any OpenAI client can ask it (base_url http://127.0.0.1:8000/v1): about text, about pictures (image_url parts with data:
    URLs; nothing is ever fetched) and about skeletons: a part {"type": "skeleton", "skeleton": {"positions":
    [frames][joints][3], "fps": 30, "topology": "kinect_v2_25"}}, or {"file": a recording in base64, "name": "walk.bvh"}.
    With `labels` in the body, or a response_format that is an enum, the labels are ranked and come back with scores. Stream
    or not; requests that arrive together are answered together.

    Args:
        checkpoint: a student's folder, as `skeletonllm train` prints it.
        host: the address to listen at. Any but this machine's own needs a key.
        port: 0 takes a free one, which is printed.
        name: the model's name for clients; by default the folder's.
        api_key_file: holds the key that clients must give; SKELETONLLM_SERVE_KEY does the same.
        max_body_mb: of a request, in MiB.
        max_waiting: requests under way at once; more are told to come back (503).
        max_batch: requests that the model answers together.
        max_frames: frames of a clip that is sent.
    """
    from skeletonllm.cli.answer import load_student
    from skeletonllm.log import set_up_logging
    from skeletonllm.serve.limits import Limits
    from skeletonllm.serve.run import check_host
    from skeletonllm.serve.run import serve as run

    set_up_logging()
    limits = Limits(max_body_mb=max_body_mb, max_waiting=max_waiting, max_batch=max_batch, max_frames=max_frames)
    key = _key(api_key_file)
    check_host(host, key)
    model = name or checkpoint.resolve().name
    run(load_student(checkpoint), model, host, port, limits, key, lambda url: _ready(model, url))


def _ready(model: str, url: str) -> None:
    print(f"serving {model} at {url} (Ctrl-C stops)", flush=True)


def _key(file: Path | None) -> str:
    """The key of the file, or of the environment; empty where there is none."""
    from skeletonllm.errors import ConfigError

    if file is None:
        key, where = os.environ.get("SKELETONLLM_SERVE_KEY", "").strip(), "SKELETONLLM_SERVE_KEY"
    else:
        with file.open("rb") as opened:
            data = opened.read(_MAX_KEY_BYTES + 1)
        key, where = data.decode(errors="replace").strip(), f"--api-key-file {file}"
        if not key or len(data) > _MAX_KEY_BYTES:
            raise ConfigError(f"{where}: {len(data)} bytes, must hold one key in a line; write a key into it")
    if not key.isascii() or (key and not key.isprintable()):
        raise ConfigError(f"{where}: holds letters that no key has; give one line of ASCII")
    return key
