"""pyskl / mmaction2 pickles: many clips in one file; joints in pixels by an estimator, or in metres by Kinect.

`{"split": {...}, "annotations": [{"frame_dir", "label", "total_frames", "keypoint" [persons, frames, joints, 2 or 3],
"keypoint_score", "img_shape", ...}]}`. The format holds no frame rate; 30 fps is its convention. Kinetics-400 comes in
two files: annotations with `frame_inds` and `box_score` but no keypoints, and a "kpfile" `{frame_dir: {"keypoint"
[boxes, joints, 3]}}` with a row for each of `frame_inds`. A pickle can run any code, so `unpickle` opens it.
"""

import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats import ntu, nwucla
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, build_clip, problem
from skeletonllm.skeleton.formats.flat import FARTHEST_PX, link_persons, most_moving, seen_only, to_metres
from skeletonllm.skeleton.formats.unpickle import load_pickle
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

FPS = 30.0
_COCO = TOPOLOGIES["coco_17"]
# Joints and numbers of each; of COCO-WholeBody's 133 the first 23 are body and feet.
_KINDS: dict[tuple[int, int], Topology] = {
    (17, 2): _COCO,
    (18, 2): TOPOLOGIES["openpose_18"],
    (25, 2): TOPOLOGIES["openpose_25"],
    (133, 2): TOPOLOGIES["coco_wholebody_23"],
    (20, 3): TOPOLOGIES["kinect_v1_20"],
    (25, 3): TOPOLOGIES["kinect_v2_25"],
}
_BODY_JOINTS = 23
_MAX_FRAMES = 1 << 20
_ENTRY_WORDS = (b"annotations", b"frame_dir", b"keypoint_score", b"frame_inds")
# What stands beside a table of contents and may be its kpfile.
_KPFILE_PATTERNS = ("*kpfile*.pkl", "*kpfile*.pickle", "kp*.pkl")
_Shape = tuple[float, float]


def sniff(path: Path, head: bytes) -> bool:
    """A pickle (protocol 2 or later) of annotations or splits, as its first words say."""
    if head[:1] != b"\x80":
        return False
    return any(word in head for word in _ENTRY_WORDS) or (b"split" in head and path.suffix in (".pkl", ".pickle"))


def kpfiles(path: Path) -> Sequence[Path]:
    """Files beside a table of contents that may hold its keypoints."""
    found = {file for pattern in _KPFILE_PATTERNS for file in path.parent.glob(pattern)}
    return sorted(found - {path})


def read(path: Path, declared: Declared) -> list[Clip]:
    """All clips of one file; their actions are `label N`, because the file has no names.

    Of more than two persons those two who move most are kept, in the order of the file. Pixels become metres with one
    scale per clip, such that the body has the canonical size; x right, y up, z 0.

    Raises:
        FormatError: it is not such a pickle, its keypoints are in a kpfile that is not there, or one annotation is
            damaged (its number is named).
    """
    content = load_pickle(path)
    annotations = content.get("annotations") if isinstance(content, dict) else content
    if not isinstance(annotations, list) or not annotations:
        raise problem(path, "key 'annotations'", brief(annotations), "a list of clips")
    if not all("frame_inds" in one and "keypoint" not in one for one in annotations if isinstance(one, dict)):
        return [_clip(path, number, annotation) for number, annotation in enumerate(annotations)]
    keypoints = _kpfile(path)
    return [_boxed_clip(path, number, annotation, keypoints) for number, annotation in enumerate(annotations)]


def _named(path: Path, number: int, annotation: object) -> tuple[dict[str, object], str, str]:
    """An annotation, its name, and its place for errors."""
    where = f"annotation {number}"
    if not isinstance(annotation, dict) or not isinstance(annotation.get("frame_dir"), str):
        raise problem(path, where, brief(annotation), "a dictionary with 'frame_dir'")
    return annotation, str(annotation["frame_dir"]), f"{where} ({brief(annotation['frame_dir'])[1:-1]})"


def _clip(path: Path, number: int, annotation: object) -> Clip:
    annotation, name, where = _named(path, number, annotation)
    keypoints = annotation.get("keypoint")
    if not isinstance(keypoints, np.ndarray) or keypoints.ndim != 4 or keypoints.dtype.kind not in "fiu":
        found = f"shape {keypoints.shape}" if isinstance(keypoints, np.ndarray) else brief(keypoints)
        raise problem(path, where, found, "'keypoint' as an array [persons, frames, joints, 2 or 3]")
    topology = _KINDS.get(keypoints.shape[2:])
    if topology is None or 0 in keypoints.shape:
        shapes = ", ".join(f"{joints}, {dims}" for joints, dims in _KINDS)
        raise problem(path, where, f"'keypoint' of shape {keypoints.shape}", f"[persons, frames, ...] with {shapes}")
    if keypoints.size > MAX_NUMBERS:
        raise problem(path, where, f"{keypoints.size} numbers", f"at most {MAX_NUMBERS}")
    total = annotation.get("total_frames")
    if isinstance(total, int) and total != keypoints.shape[1]:
        raise problem(path, where, f"{keypoints.shape[1]} frames", f"'total_frames', which is {total}")
    points, confidence = _seen(path, where, annotation, keypoints)
    if keypoints.shape[2] == 133:
        points, confidence = points[:, :, :_BODY_JOINTS], confidence[:, :, :_BODY_JOINTS]
    persons = sorted(most_moving(points, confidence))
    if not persons:
        raise problem(path, where, "nobody in any frame", "at least one person", "leave the clip out")
    points, confidence = points[persons], confidence[persons]
    if topology.dims == 2:
        points = to_metres(points, confidence, topology, _image_size(annotation))
    return _built(path, where, name, annotation, topology, points, confidence)


def _built(
    path: Path,
    where: str,
    name: str,
    annotation: dict[str, object],
    topology: Topology,
    positions: np.ndarray,
    confidence: np.ndarray,
) -> Clip:
    label = annotation.get("label")
    # A number is all that the file says; `labels` gives it a name where `actions.txt` has one.
    action = f"label {label}" if isinstance(label, int) else None
    source = _source(name, topology.dims == 2)
    return build_clip(path, name, topology, positions, confidence, fps=FPS, source=source, action=action, where=where)


def _seen(
    path: Path, where: str, annotation: dict[str, object], keypoints: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Points `[persons, frames, joints, 2 or 3]` still in the file's unit, and confidences."""
    scores = annotation.get("keypoint_score")
    if scores is not None and (
        not isinstance(scores, np.ndarray) or scores.shape != keypoints.shape[:3] or scores.dtype.kind not in "fiu"
    ):
        found = f"shape {scores.shape} of {scores.dtype}" if isinstance(scores, np.ndarray) else brief(scores)
        raise problem(path, where, found, f"'keypoint_score' of shape {keypoints.shape[:3]}")
    points = keypoints.astype(np.float64)
    seen = np.isfinite(points).all(-1) & (points != 0).any(-1)
    points = np.where(seen[..., None], points, 0)
    if np.abs(points).max(initial=0) > FARTHEST_PX:
        raise problem(path, where, f"the number {np.abs(points).max():.3g}", "a place in an image or in a room")
    given = np.ones(seen.shape) if scores is None else np.nan_to_num(scores.astype(np.float64)).clip(0, 1)
    return points, np.where(seen, given, 0).astype(np.float32)


def _image_size(annotation: dict[str, object]) -> _Shape:
    """Height and width in pixels; where the file does not say, a usual size."""
    for key in ("img_shape", "original_shape"):
        shape = annotation.get(key)
        if isinstance(shape, tuple | list) and len(shape) >= 2 and all(isinstance(v, int | float) for v in shape[:2]):
            height, width = shape[:2]
            if 0 < height <= FARTHEST_PX and 0 < width <= FARTHEST_PX:
                return float(height), float(width)
    return 1080.0, 1920.0


def _kpfile(path: Path) -> dict[object, object]:
    """The keypoints that belong to a table of contents."""
    for file in kpfiles(path):
        content = load_pickle(file)
        if isinstance(content, dict) and all(isinstance(v, dict) and "keypoint" in v for v in content.values()):
            return content
    raise problem(
        path,
        "",
        "a table of contents (frame_inds and box_score, as of Kinetics-400) without keypoints",
        "the kpfile with the keypoints beside it",
        f"put it into {path.parent} as kpfile.pkl",
    )


def _boxed_clip(path: Path, number: int, annotation: object, kpfile: dict[object, object]) -> Clip:
    """A clip of which the boxes of all frames are one list; they are linked over the frames."""
    annotation, name, where = _named(path, number, annotation)
    entry = kpfile.get(name)
    keypoints = entry.get("keypoint") if isinstance(entry, dict) else None
    frames, total = annotation.get("frame_inds"), annotation.get("total_frames")
    if not isinstance(keypoints, np.ndarray) or keypoints.ndim != 3 or keypoints.dtype.kind not in "fiu":
        found = "no entry in the kpfile" if entry is None else brief(keypoints)
        raise problem(path, where, found, "'keypoint' as an array [boxes, joints, 3] in the kpfile")
    topology = _KINDS.get((keypoints.shape[1], 2))
    if topology is None or keypoints.shape[2] != 3:
        raise problem(path, where, f"'keypoint' of shape {keypoints.shape}", "[boxes, 17, 3]")
    if not isinstance(frames, np.ndarray) or frames.shape != keypoints.shape[:1] or frames.dtype.kind not in "iu":
        found = f"shape {frames.shape}" if isinstance(frames, np.ndarray) else brief(frames)
        raise problem(path, where, found, f"'frame_inds', {len(keypoints)} whole numbers, one for each box")
    if not isinstance(total, int) or not 0 < total <= _MAX_FRAMES or not len(frames):
        raise problem(path, where, f"total_frames {brief(total)}, {len(frames)} boxes", "frames and boxes")
    if frames.min() < 0 or frames.max() > total:
        raise problem(path, where, f"frames {frames.min()} to {frames.max()}", f"numbers from 1 to {total}")
    points = keypoints[:, : topology.num_joints].astype(np.float64)
    if np.abs(np.nan_to_num(points, posinf=0, neginf=0)).max() > FARTHEST_PX:
        raise problem(path, where, "a number beyond every image", "places in an image")
    seen: dict[int, list[np.ndarray]] = {}
    for frame, person in zip(frames.tolist(), seen_only(points), strict=True):
        seen.setdefault(max(frame - 1, 0), []).append(person)
    linked, confidence = link_persons(path, seen, total, topology.num_joints)
    places = to_metres(linked, confidence, topology, _image_size(annotation))
    return _built(path, where, name, annotation, topology, places, confidence)


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
    "pyskl",
    (".pkl", ".pickle"),
    "pyskl / mmaction2 pickle (COCO, OpenPose or Kinect joints)",
    sniff,
    read,
    beside=kpfiles,
    origin="published with pyskl and mmaction2 (Apache-2.0); the terms are those of the videos",
)
