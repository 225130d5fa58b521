"""One retraining of a work folder at a time, and what the last was made from: where nothing changed, nothing is done."""

import datetime
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from pipelines.choices import Choices
from pipelines.locks import only_one
from pipelines.promote import PROMOTED, Decision
from pipelines.settings import read_settings
from pipelines.workdir import Workdir
from skeletonllm.errors import ConfigError
from skeletonllm.plain import digest, from_plain, to_plain, write_whole
from skeletonllm.shards.manifest import DatasetRef

logger = logging.getLogger(__name__)

RETRAINED = "retrained.json"
_LOCK = ".retrain.lock"
_PACKAGES = ("flows", "pipelines", "skeletonllm")


@dataclass(frozen=True)
class Retrained:
    """The last retraining that was finished.

    Args:
        inputs: digest of all that it depended on.
        clips: fingerprint of its clips.
        report: where its report lies.
        decision: what came of its student.
        finished_at: when.
    """

    inputs: str
    clips: str
    report: str
    decision: Decision
    finished_at: str


@contextmanager
def only_retraining(workdir: Workdir) -> Iterator[None]:
    """Wait until no other process retrains in the work folder, saying for whom; then be the one."""
    workdir.path.mkdir(parents=True, exist_ok=True)
    with only_one(workdir.path / _LOCK, "is retraining here"):
        yield


def inputs_of(clips: DatasetRef, choices: Choices, tolerance: float) -> str:
    """Digest of all that a retraining depends on: clips, choices, the recipe itself, the teacher, and our code.

    Code counts by its bytes: a change that matters nowhere costs a pass in which every step finds itself done.
    """
    settings = read_settings()
    teacher = [settings.teacher_model, settings.teacher_url]
    return digest([clips.fingerprint, asdict(choices), to_plain(choices.recipe), teacher, tolerance, _code()])


def _code() -> str:
    total = sha256()
    root = Path(__file__).parents[1]
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                total.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return total.hexdigest()


def find_retrained(workdir: Workdir, inputs: str) -> Retrained | None:
    """The last retraining, if it was made from the same and what it left is there; None says: do it."""
    path = workdir.path / RETRAINED
    try:
        last = from_plain(Retrained, json.loads(path.read_text()), str(path))
    except (OSError, ValueError, ConfigError):  # not there, or of another version: then it is done again
        return None
    left = (last.report, last.decision.candidate.path, workdir.path / PROMOTED)
    if last.inputs != inputs or not all(Path(one).exists() for one in left):
        return None
    logger.info(
        "nothing changed since %s (clips %s, recipe, teacher and code): nothing to do; that student %s; delete %s to go "
        "through every step",
        last.finished_at,
        last.clips[:12],
        "was promoted" if last.decision.is_promoted else f"was not promoted ({last.decision.reason})",
        path,
    )
    return last


def remember_retrained(workdir: Workdir, inputs: str, clips: DatasetRef, report: str, decision: Decision) -> None:
    """Write down, last of all, that a retraining is finished."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    last = Retrained(inputs, clips.fingerprint, report, decision, now)
    write_whole(workdir.path / RETRAINED, json.dumps(to_plain(last), indent=2, ensure_ascii=False) + "\n")
