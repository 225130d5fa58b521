"""MediaPipe Pose (BlazePose): 33 landmarks x, y, z, visibility, as people save them.

* `.npy` of one clip, `[frames, 33, 4]` or, without visibility, `[frames, 33, 3]`;
* a folder `<action>/<clip>/` of one `.npy` per frame: Holistic's vector of 1662 numbers (or 258 without the face, 132
  without face and hands), of which the first 33 x 4 are the pose;
* JSON, a list of `{"keypoints": [{"x", "y", "z", "visibility"} * 33]}`, empty where nobody was seen.

x and y are shares of the image's width and height, z is in the unit of x; or, as "world landmarks", all are metres from
the middle of the hips. A share says nothing of the image's shape: 4:3 is assumed (the cameras' usual 640 x 480, and what
makes the bodies of our samples as broad as people are: shoulders 0.75 of the trunk, not 1.0 as with 16:9).
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.arrays import fits, header_of, load_array
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, build_clip, problem
from skeletonllm.skeleton.formats.flat import FARTHEST_PX, declared_fps, numbers, read_json, span, to_metres
from skeletonllm.skeleton.topologies import TOPOLOGIES

TOPOLOGY = TOPOLOGIES["mediapipe_33"]
_POSE_NUMBERS = 33 * 4
_VECTORS = ((1662,), (258,), (_POSE_NUMBERS,))
_HIPS = (23, 24)
_AT_HIPS_M = 0.02  # world landmarks have the middle of the hips at 0
_SHAPES = {"4:3": (3.0, 4.0), "16:9": (9.0, 16.0)}  # height and width
# `A_heart-attack_03.npy`: who, which action, which take.
_NAME = re.compile(r"([A-Z])_([A-Za-z][A-Za-z-]*)_(\d\d)")


def lift(path: Path, landmarks: np.ndarray, shape: str = "4:3") -> tuple[np.ndarray, np.ndarray, str]:
    """Positions and confidence with an axis of one person in front, and what the file's space was.

    Args:
        path: the file, for errors.
        landmarks: `[frames, 33, 3 or 4]`; all 0 or NaN where nobody was seen.
        shape: of an image of which x and y are shares: `4:3` or `16:9`.

    Raises:
        FormatError: a number is no place.
    """
    landmarks = landmarks.astype(np.float64)
    seen = np.isfinite(landmarks).all(-1) & (landmarks[..., :3] != 0).any(-1)
    landmarks = np.where(seen[..., None], landmarks, 0)
    points = landmarks[None, ..., :3]
    if np.abs(points).max(initial=0) > FARTHEST_PX:
        raise problem(path, "", f"the number {np.abs(points).max():.3g}", "places of landmarks")
    confidence = (seen if landmarks.shape[-1] == 3 else np.where(seen, landmarks[..., 3].clip(0, 1), 0))[None]
    confidence = confidence.astype(np.float32)
    if not (confidence > 0).any():
        raise problem(path, "", "no landmark in any frame", "at least one", "leave the recording out")
    hips = points[:, seen[:, _HIPS].all(1)][:, :, _HIPS].mean(2)
    if hips.size and np.abs(hips).max() < _AT_HIPS_M:
        return points * (1, -1, -1), confidence, "m from the middle of the hips, -y up"
    if np.median(np.abs(points[..., :2][seen[None]])) > 4:
        return to_metres(points, confidence, TOPOLOGY, None), confidence, "px, -y up (metres by body size)"
    height, width = _SHAPES[shape]
    places = to_metres(points * (width, height, width), confidence, TOPOLOGY, (height, width))
    return places, confidence, f"shares of an image, taken for {shape}, -y up (metres by body size)"


def sniff_array(path: Path, head: bytes) -> bool:
    """A numpy file of 33 landmarks in every frame."""
    header = header_of(head)
    return header is not None and header[1].kind == "f" and fits(header[0], (None, 33, 4), (None, 33, 3))


def read_array(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one `.npy` file.

    Raises:
        FormatError: it has another shape, no frame rate is declared, or nobody is seen.
    """
    landmarks = load_array(path, (None, 33, 4), (None, 33, 3), kinds="f")
    (clip,) = _clip(path, path.stem, landmarks, declared)
    name = _NAME.fullmatch(path.stem)
    if name is None:
        return [clip]
    source = replace(clip.source, subject=name[1], repetition=str(int(name[3])))
    return [replace(clip, action=name[2].replace("-", " "), source=source)]


def sniff_folder(path: Path, head: bytes) -> bool:
    """A numpy file of one frame, numbered, with as many numbers as Holistic's frames have."""
    header = header_of(head)
    return header is not None and path.stem.isdigit() and header[1].kind == "f" and fits(header[0], *_VECTORS)


def read_folder(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one folder of frames; its action is the name of the folder above.

    Raises:
        FormatError: a frame is damaged, no frame rate is declared, or nobody is seen.
    """
    if not path.is_dir():
        raise problem(path, "", "a file", "a folder with one file per frame", "give the folder")
    files = {int(file.stem[-18:]): file for file in sorted(path.glob("*.npy")) if file.stem.isdecimal()}
    first, last = span(path, files, 0)
    landmarks = np.zeros((last - first + 1, 33, 4))
    for number, file in files.items():
        landmarks[number - first] = load_array(file, *_VECTORS, kinds="f")[:_POSE_NUMBERS].reshape(33, 4)
    folder = path.resolve()
    (clip,) = _clip(path, f"{folder.parent.name}_{folder.name}", landmarks, declared)
    source = replace(clip.source, repetition=folder.name if folder.name.isdigit() else "")
    return [replace(clip, action=folder.parent.name or None, source=source)]


def sniff_json(path: Path, head: bytes) -> bool:
    """A JSON list of keypoints with visibility."""
    return head.lstrip()[:1] == b"[" and b'"keypoints"' in head and b'"visibility"' in head


def read_json_list(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one JSON file.

    Raises:
        FormatError: a frame has other landmarks, no frame rate is declared, or nobody is seen.
    """
    frames = read_json(path)
    if not isinstance(frames, list) or not frames:
        raise problem(path, "", brief(frames), "a list of frames")
    if len(frames) * _POSE_NUMBERS > MAX_NUMBERS:
        raise problem(path, "", f"{len(frames)} frames", "a shorter recording", "split it")
    landmarks = np.zeros((len(frames), 33, 4))
    for number, frame in enumerate(frames):
        values = named_keypoints(path, number, frame, ("x", "y", "z", "visibility"))
        if len(values) not in (0, 33):
            raise problem(path, f"frame {number}", f"{len(values)} keypoints", "33, or none")
        if len(values):
            landmarks[number] = values
    return _clip(path, path.stem, landmarks, declared)


def named_keypoints(path: Path, number: int, frame: object, keys: tuple[str, ...]) -> np.ndarray:
    """The keypoints `[joints, keys]` of a frame `{"keypoints": [{"x", "y", ...}]}`.

    Raises:
        FormatError: it is another thing.
    """
    where = f"frame {number}, key 'keypoints'"
    listed = frame.get("keypoints") if isinstance(frame, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise problem(path, where, brief(frame), "a list of keypoints")
    values = numbers(path, where, [[one.get(key) for key in keys] for one in listed], f"the numbers {', '.join(keys)}")
    return values.reshape(len(listed), len(keys))


def _clip(path: Path, name: str, landmarks: np.ndarray, declared: Declared) -> list[Clip]:
    fps = declared_fps(path, declared)
    places, confidence, space = lift(path, landmarks)
    source = Source(format="mediapipe", fps_from="declared", space=space)
    return [build_clip(path, name, TOPOLOGY, places, confidence, fps=fps, source=source)]


_ORIGIN = "written with Google's MediaPipe; the terms are those of the video"
FORMAT = Format(
    "mediapipe", (".npy",), "MediaPipe landmarks, one array (33 joints)", sniff_array, read_array, origin=_ORIGIN
)
FORMAT_JSON = Format(
    "mediapipe_json", (".json",), "MediaPipe landmarks, JSON (33 joints)", sniff_json, read_json_list, origin=_ORIGIN
)
FORMAT_FOLDER = Format(
    "mediapipe_frames",
    (".npy",),
    "MediaPipe folder, one numpy file per frame (Holistic vectors)",
    sniff_folder,
    read_folder,
    is_folder=True,
    origin=_ORIGIN,
)
