"""Keraal's JSON files: what AlphaPose, BlazePose and OpenPose saw in the videos of rehabilitation exercises.

`{"positions": {"1.0": {"Nose": [x, y], ...}}}`: by frame number, by joint; a joint that was not seen is missing. x and y
are shares of the image of 16:9, y down; BlazePose has z. Recorded with the Kinect, frame by frame: 30 fps.
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats import mediapipe
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem
from skeletonllm.skeleton.formats.flat import numbers, read_json, seen_only, span, to_metres
from skeletonllm.skeleton.formats.keraal import EXERCISES
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
_SHAPE = "16:9"
_IMAGE = (9.0, 16.0)
_COCO, _OPENPOSE = TOPOLOGIES["coco_17"], TOPOLOGIES["openpose_18"]
# `G3-BP-CTK-P1T1-Unknown-C-0`: group, estimator, exercise, participant and trial, how well it was done, ...
_NAME = re.compile(r"G(\d[ABab]?)-([A-Za-z]+)-([A-Za-z]+)-P?(\d+)(?:T(\d+))?\b")
_Frames = dict[int, dict[str, np.ndarray]]


def _plain(name: str) -> str:
    """`rShoulder` and `Right_shoulder` as we write them: `right_shoulder`."""
    side = {"r": "right_", "l": "left_"}.get(name[:1], "") if name[1:2].isupper() else ""
    return (side + name[1:] if side else name).lower()


def sniff(path: Path, head: bytes) -> bool:
    """A JSON object of positions by frame number."""
    return re.match(rb'\s*\{\s*"positions"\s*:\s*\{\s*"\d+(\.0)?"\s*:\s*\{', head) is not None


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file; the exercise (by its short name in the file's name) is the action.

    Raises:
        FormatError: not such a file, or nobody is seen in any frame.
    """
    frames = _frames(path)
    first, last = span(path, frames, path.stat().st_size)
    names = {name for frame in frames.values() for name in frame}
    for topology in (_COCO, _OPENPOSE, mediapipe.TOPOLOGY):
        known = topology.joint_names if topology is not _COCO else tuple(map(str, range(17)))
        if names <= set(known):
            break
    else:
        raise problem(path, "", f"the joints {brief(sorted(names), 100)}", "those of COCO, OpenPose or BlazePose")
    is_blazepose = topology is mediapipe.TOPOLOGY and any(len(p) == 3 for f in frames.values() for p in f.values())
    points = np.zeros((last - first + 1, topology.num_joints, 3 if is_blazepose else 2))
    for number, frame in frames.items():
        for name, place in frame.items():
            if len(place) != points.shape[-1]:
                raise problem(path, f"frame {number}, joint {name}", f"{len(place)} numbers", f"{points.shape[-1]}")
            points[number - first, known.index(name)] = place
    if is_blazepose:
        places, confidence, space = mediapipe.lift(path, points, _SHAPE)
    else:
        there = seen_only(np.concatenate((points, np.ones((*points.shape[:2], 1))), -1))[None]
        confidence = there[..., 2].astype(np.float32)
        places = to_metres(there[..., :2] * _IMAGE[::-1], confidence, topology, _IMAGE)
        space = f"shares of an image of {_SHAPE}, -y up (metres by body size)"
    source, action = _source(path.stem, space)
    return [build_clip(path, path.stem, topology, places, confidence, fps=FPS, source=source, action=action)]


def _frames(path: Path) -> _Frames:
    content = read_json(path)
    positions = content.get("positions") if isinstance(content, dict) else None
    if not isinstance(positions, dict):
        raise problem(path, "key 'positions'", brief(positions), "an object of frames")
    frames: _Frames = {}
    for key, joints in positions.items():
        where = f"frame {brief(key, 20)}"
        number = re.fullmatch(r"(\d{1,18})(?:\.0)?", key)
        if number is None or not isinstance(joints, dict):
            raise problem(path, where, brief(joints), "a frame number, and joints by name")
        if int(number[1]) in frames:
            raise problem(path, where, "the same frame twice", "each frame once")
        frames[int(number[1])] = {
            _plain(name): numbers(path, f"{where}, joint {brief(name, 20)}", place, "two or three numbers").ravel()
            for name, place in joints.items()
        }
    return frames


def _source(name: str, space: str) -> tuple[Source, str | None]:
    """Participant and trial from the file's name, and the exercise."""
    match = _NAME.match(name)
    source = Source(format="keraal_json", fps_from="format", space=space)
    if match is None:
        return source, None
    group, estimator, exercise, participant, trial = match.groups()
    return (
        Source(
            format="keraal_json",
            fps_from="format",
            space=space,
            subject=f"G{group}P{participant}" if group != "3" else f"P{participant}",
            camera=estimator,
            repetition=trial or "",
        ),
        EXERCISES.get(exercise.upper(), exercise),
    )


FORMAT = Format(
    "keraal_json",
    (".json",),
    "Keraal JSON (AlphaPose 17, OpenPose 18 or BlazePose 33 joints)",
    sniff,
    read,
    origin="Keraal (Nguyen, Devanne et al.); BSD-2-Clause",
)
