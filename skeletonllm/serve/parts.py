"""What a message may hold besides text: a skeleton, or a picture. Nothing is fetched, and no path of a request is read."""

import base64
import binascii
import io
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from skeletonllm.answer.sources import checked_clip
from skeletonllm.errors import SkeletonLLMError
from skeletonllm.serve.limits import Limits, Refusal
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, detect, read
from skeletonllm.skeleton.formats.declared import MAX_FPS, declared_by, own_topology
from skeletonllm.skeleton.formats.plain import MAX_JOINTS, MAX_PERSONS, Motion, clip_of
from skeletonllm.skeleton.topologies import TOPOLOGIES

_NUMBERS = ("positions", "confidence", "joint_names", "parents")
_FILE = ("file", "name", "index")
_SPACE = ("topology", "fps", "unit", "up")
_HERE = Path("skeleton")
_SUFFIX = re.compile(r"\.[A-Za-z0-9_]{1,12}")
_DATA_URL = re.compile(r"data:image/(png|jpeg|webp|gif);base64,", re.IGNORECASE)
_PICTURES = ("PNG", "JPEG", "WEBP", "GIF")
_MAX_PIXELS = 1 << 24


def clip_of_part(part: Any, where: str, limits: Limits) -> Clip:
    """The clip of a `skeleton` part.

    Args:
        part: `positions` `[frames][joints][3]` or `[persons][frames][joints][3]` (null where a joint was not seen) with
            `fps` and, where the joints' places do not tell it, `topology` or `joint_names` (with `parents` for one's own);
            or `file`, a recording in base64, with its `name` for the suffix and `index` where it holds several clips.
            `topology`, `fps`, `unit` and `up` as for `skeletonllm.read`.
        where: the field, for errors.
        limits: of the server.

    Raises:
        Refusal: says which field is wrong, and how.
    """
    if not isinstance(part, dict):
        raise Refusal(f"{where} is {_kind(part)}, must be an object with positions and fps, or with file", param=where)
    known = (*_FILE, *_SPACE) if "file" in part else (*_NUMBERS, *_SPACE)
    unknown = sorted(set(part) - set(known))
    if unknown:
        raise Refusal(f"{where}: unknown field {unknown[0]!r:.100}; known are {', '.join(known)}", param=where)
    try:
        declared = _declared(part, where)
        clip = _recorded(part, declared, where, limits) if "file" in part else _numbered(part, declared, where, limits)
        if clip.num_frames > limits.max_frames:
            raise Refusal(_too_many(where, clip.num_frames, limits), param=where)
        return checked_clip(clip)
    except SkeletonLLMError as error:
        raise Refusal(f"{where}: {error}".replace("--", ""), param=where) from error


def picture_of_part(part: Any, where: str, size_px: int) -> Float32[np.ndarray, "3 height width"]:
    """The picture of an `image_url` part in [0, 1], fitted into a square of the model's size, black around it.

    Raises:
        Refusal: it is no data URL, or no picture.
    """
    if not isinstance(part, dict) or not isinstance(part.get("url"), str) or set(part) - {"url", "detail"}:
        raise Refusal(
            f"{where} is no image_url; give an object with url (and detail, which changes nothing)", param=where
        )
    begins = _DATA_URL.match(part["url"])
    if begins is None:
        raise Refusal(
            f"{where}: url begins with {part['url'][:24]!r}; this server fetches nothing: send the picture itself, as "
            "data:image/png;base64,...",
            param=where,
            code="url_not_allowed",
        )
    return _fitted(_decoded(part["url"][begins.end() :], where), where, size_px)


def _declared(part: dict[str, Any], where: str) -> Declared:
    for name in ("topology", "unit", "up"):
        if part.get(name) is not None and not isinstance(part[name], str):
            raise Refusal(f"{where}.{name} is {_kind(part[name])}, must be a text", param=where)
    topology, fps = part.get("topology"), part.get("fps")
    if topology is not None and topology not in TOPOLOGIES:  # the name of a file is none here
        raise Refusal(
            f"{where}.topology is {topology[:60]!r}; known are {', '.join(TOPOLOGIES)}; or give joint_names and parents",
            param=where,
        )
    if fps is not None and (not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps <= MAX_FPS):
        raise Refusal(f"{where}.fps is {fps!r:.40}, must be frames per second, 0 to {MAX_FPS}", param=where)
    return declared_by(topology, None if fps is None else float(fps), part.get("unit"), part.get("up"))


def _numbered(part: dict[str, Any], declared: Declared, where: str, limits: Limits) -> Clip:
    """The clip of numbers."""
    if declared.fps is None:
        raise Refusal(f"{where}: no fps; say how many frames a second has", param=where)
    points = _array(part.get("positions"), f"{where}.positions")
    if points.ndim == 3:
        points = points[None]
    if points.ndim != 4 or points.shape[-1] not in (2, 3) or 0 in points.shape:
        raise Refusal(
            f"{where}.positions has shape {points.shape}, must be [frames][joints][3] or [persons][frames][joints][3]",
            param=where,
        )
    persons, frames, joints = points.shape[:3]
    if frames > limits.max_frames:
        raise Refusal(_too_many(where, frames, limits), param=where)
    if persons > MAX_PERSONS or joints > MAX_JOINTS:
        raise Refusal(
            f"{where}.positions has {persons} persons with {joints} joints; at most {MAX_PERSONS} with {MAX_JOINTS}",
            param=where,
        )
    confidence = None
    if part.get("confidence") is not None:
        confidence = np.nan_to_num(_array(part["confidence"], f"{where}.confidence"))
        if confidence.shape not in (points.shape[:3], points.shape[1:3]):
            raise Refusal(
                f"{where}.confidence has shape {confidence.shape}, must be that of the positions, {points.shape[:3]}",
                param=where,
            )
        confidence = np.broadcast_to(confidence, points.shape[:3])
    names, topology = part.get("joint_names"), None
    if part.get("parents") is not None:
        topology = own_topology(_HERE, {"joints": names, "parents": part["parents"]})
    elif names is not None and (not isinstance(names, list) or not all(isinstance(name, str) for name in names)):
        raise Refusal(f"{where}.joint_names is {_kind(names)}, must be a list of names", param=where)
    if names is not None and len(names) != joints:
        raise Refusal(f"{where}.joint_names has {len(names)} names for {joints} joints; give one for each", param=where)
    motion = Motion("clip", points, confidence, None if names is None else tuple(names), topology=topology)
    return clip_of(_HERE, "skeleton part", motion, declared)


def _recorded(part: dict[str, Any], declared: Declared, where: str, limits: Limits) -> Clip:
    """The clip of a recording; it lies in a folder of its own while it is read."""
    name, index = part.get("name", ""), part.get("index")
    if not isinstance(part["file"], str) or not isinstance(name, str):
        raise Refusal(f"{where}.file and name must be texts: the recording in base64, and its file's name", param=where)
    if index is not None and (not isinstance(index, int) or isinstance(index, bool) or index < 0):
        raise Refusal(f"{where}.index is {index!r:.40}, must be a number from 0", param=where)
    suffix = Path(name).suffix
    if suffix and not _SUFFIX.fullmatch(suffix):
        raise Refusal(f"{where}.name ends in {suffix[:40]!r}, which is no file's suffix", param=where)
    data = _decoded(part["file"], where)
    with tempfile.TemporaryDirectory(prefix="skeletonllm-") as folder:
        path = Path(folder) / f"clip{suffix}"
        path.write_bytes(data)
        try:
            format = detect(path)
            if format.name == "pyskl":
                raise Refusal(f"{where}: a pickle; send another format: pickles are not read here", param=where)
            clips = read(path, format.name, declared, Path(folder))
        except (SkeletonLLMError, OSError) as error:
            raise Refusal(f"{where}: {error}".replace(f"{folder}/", "").replace("--", ""), param=where) from error
    if index is None and len(clips) > 1:
        raise Refusal(f"{where}: the file holds {len(clips)} clips; say which with index", param=where)
    if (index or 0) >= len(clips):
        raise Refusal(f"{where}.index is {index}, but the file holds clips 0 to {len(clips) - 1}", param=where)
    return clips[index or 0]


def _array(value: Any, where: str) -> np.ndarray:
    """Nested lists of numbers as an array; NaN where null stands."""
    if not isinstance(value, list):
        raise Refusal(f"{where} is {_kind(value)}, must be lists of numbers", param=where)
    try:
        array = np.array(value)
        if array.dtype == object and all(one is None or type(one) in (int, float) for one in array.ravel()):
            array = array.astype(np.float64)
    except (ValueError, TypeError, OverflowError):
        raise Refusal(f"{where}: its lists differ in length or hold no numbers; make them alike", param=where) from None
    if array.dtype.kind not in "fiu":
        raise Refusal(f"{where} holds something that is no number; null stands for a joint not seen", param=where)
    if np.isinf(array).any():
        raise Refusal(f"{where} holds a number too large to compute with", param=where)
    return array.astype(np.float64)


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(f"{where}: not base64; encode the file's bytes", param=where) from None


def _fitted(data: bytes, where: str, size_px: int) -> Float32[np.ndarray, "3 height width"]:
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=_PICTURES) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise Refusal(
                    f"{where}: {image.width} x {image.height} pixels; send it smaller, {size_px} x {size_px} is what the "
                    "model sees",
                    param=where,
                )
            fitted = ImageOps.pad(image.convert("RGB"), (size_px, size_px), color=(0, 0, 0))
    except Refusal:
        raise
    except Exception as error:  # whatever a damaged picture makes the decoders raise
        raise Refusal(f"{where}: no picture that can be read ({str(error)[:80]}); send a PNG", param=where) from error
    return np.asarray(fitted, np.float32).transpose(2, 0, 1) / 255


def _too_many(where: str, frames: int, limits: Limits) -> str:
    return f"{where}: {frames} frames, at most {limits.max_frames}; send a part of the clip, or fewer frames a second"


def _kind(value: Any) -> str:
    kinds = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return kinds.get(type(value), "null")
