"""A finished run as Markdown: its last numbers, and what the renderer showed before the first step and after the last."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from skeletonllm.shards.manifest import CheckpointRef
from skeletonllm.train.guards import NOT_TAKEN, ROLLBACKS
from skeletonllm.train.metrics import METRICS, read_metrics

_FILES = (METRICS, "first_batch.png", "first_batch.txt", "pictures", "skipped.json", "tensorboard", "log.txt")


def markdown_of(checkpoint: CheckpointRef) -> str:
    """Where the checkpoint lies, a table, two pictures, and links to what else there is in the run's folder."""
    folder = Path(checkpoint.path).parents[1]
    links = [f"* [{name}]({(folder / name).absolute().as_uri()})" for name in _FILES if (folder / name).exists()]
    head = f"**{checkpoint.name}** `{checkpoint.fingerprint[:12]}`\n\n`{checkpoint.path}`"
    return "\n\n".join([head, *_numbers(folder), *_pictures(folder), "\n".join(links)])


def _numbers(folder: Path) -> Iterator[str]:
    rows = read_metrics(folder / METRICS)
    if not rows:
        return
    first, last = rows[0], rows[-1]
    seconds = sum(row["train/step_s"] for row in rows)
    shown = {
        "steps": f"{last['step']} of {last['num_steps']}",
        "loss": f"{first['train/loss']:.3f} -> {last['train/loss']:.3f}",
        "examples a second": f"{sum(row['train/examples_per_s'] * row['train/step_s'] for row in rows) / seconds:.1f}",
        "waits for data": f"{100 * sum(row['data/wait_s'] for row in rows) / seconds:.1f} %",
        "steps not taken": str(last[NOT_TAKEN]),
        "went back": str(last[ROLLBACKS]),
    }
    if "gpu/memory_gb" in last:
        shown["GPU memory"] = f"{last['gpu/memory_gb']:.1f} GiB"
    yield "\n".join(["| measure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in shown.items())])


def _pictures(folder: Path) -> Iterator[str]:
    """The first and the last, as they are in the text itself: a browser opens no file that a server's page links to."""
    drawn = sorted((folder / "pictures").glob("*.png"))
    for when, path in zip(("Before the first step", "After the last"), (drawn[:1] + drawn[1:][-1:]), strict=False):
        webp = io.BytesIO()
        with Image.open(path) as picture:
            picture.convert("RGB").save(webp, "WEBP", quality=80)
        data = base64.b64encode(webp.getvalue()).decode()
        yield f"{when}, a row for each clip:\n\n![{when}](data:image/webp;base64,{data})"
