"""pyskl / mmaction2 pickles: many clips in one file; COCO-17 in pixels, or 25 Kinect joints in metres.

`{"split": {...}, "annotations": [{"frame_dir", "label", "total_frames", "keypoint" [persons, frames, joints, 2 or 3],
"keypoint_score", "img_shape", ...}]}`. The format holds no frame rate; 30 fps is its convention. A pickle can run any
code, so only numpy arrays and plain containers are let in.
"""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np

from skeletonllm.errors import DataError
from skeletonllm.skeleton.clip import Clip, Source, drop_empty_persons, mask_unseen
from skeletonllm.skeleton.formats import ntu, nwucla
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, problem
from skeletonllm.skeleton.formats.unpickle import load_pickle
from skeletonllm.skeleton.kinematics import CANONICAL_SIZE_M, body_size_m
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
_MAX_DEFAULT_PERSONS = 2
_COCO = TOPOLOGIES["coco_17"]
_KINECT = TOPOLOGIES["kinect_v2_25"]
_BODY_HEIGHTS_PER_IMAGE = 1.7  # metres that an image is high where no body can be measured


def sniff(path: Path, head: bytes) -> bool:
    """A pickle (protocol 2 or later) of a dictionary with annotations, by its suffix where the word comes later."""
    return head[:1] == b"\x80" and (b"annotations" in head or path.suffix in (".pkl", ".pickle"))


def read(path: Path, declared: Declared) -> list[Clip]:
    """All clips of one file; their actions are `label N`, because the file has no names.

    Pixels become metres with one scale per clip, such that the body has the canonical size; x right, y up, z 0.

    Raises:
        FormatError: it is not such a pickle, or one annotation is damaged (its number is named).
    """
    content = load_pickle(path)
    annotations = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(annotations, list) or not annotations:
        raise problem(path, "key 'annotations'", brief(annotations), "a list of clips")
    return [_clip(path, number, annotation) for number, annotation in enumerate(annotations)]


def _clip(path: Path, number: int, annotation: object) -> Clip:
    where = f"annotation {number}"
    if not isinstance(annotation, dict) or not isinstance(annotation.get("frame_dir"), str):
        raise problem(path, where, brief(annotation), "a dictionary with 'frame_dir'")
    where += f" ({annotation['frame_dir']})"
    keypoints = annotation.get("keypoint")
    if not isinstance(keypoints, np.ndarray) or keypoints.ndim != 4 or keypoints.dtype.kind not in "fiu":
        found = f"shape {keypoints.shape}" if isinstance(keypoints, np.ndarray) else brief(keypoints)
        raise problem(path, where, found, "'keypoint' as an array [persons, frames, joints, 2 or 3]")
    if keypoints.shape[2:] not in ((17, 2), (25, 3)) or 0 in keypoints.shape:
        raise problem(path, where, f"'keypoint' of shape {keypoints.shape}", "[persons, frames, 17, 2] or [..., 25, 3]")
    if keypoints.size > MAX_NUMBERS:
        raise problem(path, where, f"{keypoints.size} numbers", f"at most {MAX_NUMBERS}")
    total = annotation.get("total_frames")
    if isinstance(total, int | np.integer) and total != keypoints.shape[1]:
        raise problem(path, where, f"{keypoints.shape[1]} frames", f"'total_frames', which is {total}")
    points, confidence = _seen(path, where, annotation, keypoints.astype(np.float32))
    name = str(annotation["frame_dir"])
    try:
        persons = drop_empty_persons(name, range(len(points)), confidence)[:_MAX_DEFAULT_PERSONS]
    except DataError as error:
        raise problem(path, where, "nobody in any frame", "at least one person", "leave the clip out") from error
    points, confidence = points[persons], confidence[persons]
    source, label = _source(name, keypoints.shape[3] == 2), annotation.get("label")
    # A number is all that the file says; `labels` gives it a name where `actions.txt` has one.
    action = f"label {int(label)}" if isinstance(label, int | np.integer) else None
    if keypoints.shape[2] == 25:
        return Clip(name, _KINECT, points, confidence, FPS, action, source=source)
    return Clip(
        name, _COCO, _to_metres(points, confidence, _image_size(annotation)), confidence, FPS, action, source=source
    )


def _seen(
    path: Path, where: str, annotation: dict[str, object], keypoints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points `[persons, frames, joints, 3]` still in the file's unit, and confidences."""
    scores = annotation.get("keypoint_score")
    if scores is not None and (not isinstance(scores, np.ndarray) or scores.shape != keypoints.shape[:3]):
        found = f"shape {scores.shape}" if isinstance(scores, np.ndarray) else brief(scores)
        raise problem(path, where, found, f"'keypoint_score' of shape {keypoints.shape[:3]}")
    padding = np.zeros((*keypoints.shape[:3], 3 - keypoints.shape[3]), np.float32)
    points = np.concatenate((keypoints, padding), axis=-1)
    return mask_unseen(points, None if scores is None else scores.astype(np.float32))


def _image_size(annotation: dict[str, object]) -> tuple[float, float]:
    """Height and width in pixels; where the file does not say, a usual size."""
    shape = annotation.get("img_shape") or annotation.get("original_shape")
    if (
        isinstance(shape, tuple | list)
        and len(shape) == 2
        and all(isinstance(v, int | float | np.number) for v in shape)
    ):
        return float(shape[0]), float(shape[1])
    return 1080.0, 1920.0


def _to_metres(points: np.ndarray, confidence: np.ndarray, size: tuple[float, float]) -> np.ndarray:
    """Pixels to metres: origin below the middle of the image, x right, y up, canonical body size."""
    height, width = size
    moved = points * (1, -1, 0) + (-width / 2, height, 0)
    moved = np.where((confidence > 0)[..., None], moved, 0).astype(np.float32)
    size_px = body_size_m(Clip("pixels", _COCO, moved, confidence, FPS))
    scale = CANONICAL_SIZE_M / size_px if size_px > 1 else _BODY_HEIGHTS_PER_IMAGE / height
    return (moved * scale).astype(np.float32)


def _source(name: str, pixels: bool) -> Source:
    """Subject, camera and so on where the clip is called as in NTU or NW-UCLA."""
    known = ntu.source_of(name) if ntu.action_number(name) else nwucla.source_of(name)
    return replace(known, format="pyskl", fps_from="format", space="px, -y up" if pixels else "m, +y up")


def write(
    clips: list[Clip], path: Path, labels: list[int], image_px: tuple[int, int] = (1080, 1920), px_per_m: float = 1.0
) -> None:
    """Clips in pixels as a pose estimator's data set has them.

    Args:
        clips: topology coco_17; metres with the origin below the middle of the image, +y up.
        path: the pickle.
        labels: number of each clip's action, from 0.
        image_px: height and width.
        px_per_m: pixels per metre of the clips.

    Raises:
        FormatError: a topology is another one.
    """
    height, width = image_px
    annotations = []
    for clip, label in zip(clips, labels, strict=True):
        if clip.topology is not _COCO:
            raise problem(path, "", f"topology {clip.topology.name}", _COCO.name, "convert the clip first")
        pixels = clip.positions[..., :2] * (px_per_m, -px_per_m) + (width / 2, height)
        pixels = np.where((clip.confidence > 0)[..., None], pixels, 0)
        annotations.append(
            {
                "frame_dir": clip.clip_id,
                "label": label,
                "img_shape": (height, width),
                "original_shape": (height, width),
                "total_frames": clip.num_frames,
                "keypoint": np.ascontiguousarray(pixels, np.float16),
                "keypoint_score": np.ascontiguousarray(clip.confidence, np.float16),
            }
        )
    content = {"split": {"all": [clip.clip_id for clip in clips]}, "annotations": annotations}
    path.write_bytes(pickle.dumps(content, protocol=4))


FORMAT = Format(
    "pyskl", (".pkl", ".pickle"), "pyskl / mmaction2 pickle (COCO-17 pixels or 25 Kinect joints)", sniff, read
)
