"""The labels that a clip may have: given, of a file, or those that a student was trained on."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from skeletonllm.errors import ConfigError

MAX_LABELS = 1000
_LONGEST = 200
_MAX_FILE_BYTES = 1 << 20


def checked_labels(labels: Iterable[Any] | None, trained: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The labels as they are asked for.

    Args:
        labels: given ones; None stands for those of training.
        trained: those that the student was trained on, where that is known.

    Raises:
        ConfigError: there is none, one is empty or absurdly long, one is there twice.
    """
    if labels is None and not trained:
        raise ConfigError("labels: none given, and the model does not say what it was trained on; give the labels")
    given = trained if labels is None else [labels] if isinstance(labels, str) else list(labels)
    wrong = next((one for one in given if not isinstance(one, str) or not one.strip()), None)
    if wrong is not None:
        raise ConfigError(f"labels: {wrong!r} is no label; give texts that are not empty")
    found = tuple(" ".join(one.split()) for one in given)
    if not found:
        raise ConfigError("labels: an empty list; give at least one label")
    if len(found) > MAX_LABELS or max(map(len, found)) > _LONGEST:
        raise ConfigError(
            f"labels: {len(found)} labels, the longest of {max(map(len, found))} letters; give at most {MAX_LABELS} of "
            f"at most {_LONGEST} letters"
        )
    (most, times) = Counter(one.casefold() for one in found).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"labels: {most!r} is there {times} times; give each label once")
    return found


def labels_from(text: str) -> tuple[str, ...]:
    """What `--labels` says: a file with one label a line (or a JSON list), else labels with commas between them.

    Raises:
        ConfigError: it is neither.
    """
    path = Path(text)
    if len(text) < 1024 and path.is_file():
        return checked_labels(_read(path))
    if "," not in text and (path.suffix in (".txt", ".json") or "/" in text):
        raise ConfigError(f"--labels {text}: no such file; give a file with one label a line, or `wave,bow,kick`")
    return checked_labels([label.strip() for label in text.split(",")])


def _read(path: Path) -> list[Any]:
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise ConfigError(f"--labels {path}: {path.stat().st_size} bytes; give a file with one label a line")
    try:
        text = path.read_text("utf-8-sig")
        if not text.lstrip().startswith("["):
            return [line.strip() for line in text.splitlines() if line.strip()]
        labels = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--labels {path}: cannot be read ({error!s:.100}); give one label a line") from error
    if not isinstance(labels, list):
        raise ConfigError(f"--labels {path}: JSON, but no list; give a list of texts")
    return labels
