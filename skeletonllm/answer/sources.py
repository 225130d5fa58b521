"""What may be asked about: clips, recordings by path, arrays of joints, or any number of these."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from skeletonllm.errors import ConfigError, DataError, NobodyError
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats.declared import MAX_FPS, declared_by
from skeletonllm.skeleton.formats.plain import clip_of, motion_of_array

_MIN_FRAMES = 2
_WANTED = "give paths, arrays [frames, joints, 3] or clips"

Asked = Any
"""A `Clip`, a path, an array `[frames, joints, 2 to 4]` or `[persons, frames, joints, 2 to 4]`, or several of them."""


class Reading(TypedDict, total=False):
    """What recordings and arrays do not say themselves, as `skeletonllm.read` takes it."""

    format: str | None
    topology: str | None
    fps: float | None
    unit: str | None
    up: str | None


def clips_of(asked: Asked, reading: Reading | None = None) -> Iterator[Clip]:
    """The clips, one by one, each read when it is its turn.

    Args:
        asked: what is asked about.
        reading: of paths and arrays.

    Raises:
        DataError: a recording is damaged, a clip has one frame, or nobody is seen in it.
        ConfigError: something is neither clip, path nor array; an array's frame rate is not given.
    """
    reading = reading or {}
    for number, one in enumerate(_each(asked)):
        if isinstance(one, Clip):
            yield checked_clip(one)
        elif isinstance(one, str | Path):
            from skeletonllm import read

            yield from map(checked_clip, read(one, **reading))
        elif hasattr(one, "__array__"):
            yield checked_clip(clip_of_array(np.asarray(one), f"array {number}", reading))
        else:
            raise ConfigError(f"clip {number} is a {type(one).__name__}; {_WANTED}")


def clip_of_array(array: np.ndarray, name: str, reading: Reading) -> Clip:
    """The clip of an array of joints; unit, up axis and topology are recognised where they are not given.

    Args:
        array: `[frames, joints, 2 to 4]` or `[persons, frames, joints, 2 to 4]`; NaN where a joint was not seen, a fourth
            value is a confidence.
        name: the clip's id, for errors too.
        reading: at least `fps`.

    Raises:
        ConfigError: no frame rate, or no numbers.
        DataError: the array is no recording, or its topology is not clear.
    """
    fps = reading.get("fps")
    if fps is None or not 0 < fps <= MAX_FPS:
        raise ConfigError(f"{name}: fps is {fps}; say how many frames a second has, such as fps=30")
    if array.dtype.kind not in "fiu":
        raise ConfigError(f"{name}: holds {array.dtype}, must hold numbers; {_WANTED}")
    declared = declared_by(reading.get("topology"), float(fps), reading.get("unit"), reading.get("up"))
    motion = motion_of_array(Path(name), "", array, declared.topology)
    return clip_of(Path(name), "array", motion, declared)


def checked_clip(clip: Clip) -> Clip:
    """The clip, if there is a movement to be seen.

    Raises:
        DataError: it has one frame.
        NobodyError: nobody is seen in it.
    """
    if clip.num_frames < _MIN_FRAMES:
        raise DataError(f"clip {clip.clip_id}: 1 frame shows no movement; give a clip of at least {_MIN_FRAMES} frames")
    if not (clip.confidence > 0).any():
        raise NobodyError(f"clip {clip.clip_id}: nobody is seen in any frame; leave it out")
    return clip


def _each(asked: Asked) -> Iterable[Any]:
    if isinstance(asked, Clip | str | Path) or hasattr(asked, "__array__"):
        return [asked]
    if not isinstance(asked, Iterable):
        raise ConfigError(f"asked about a {type(asked).__name__}; {_WANTED}")
    return asked
