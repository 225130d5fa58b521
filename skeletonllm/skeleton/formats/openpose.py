"""OpenPose's output: a folder with one JSON file per frame of a video, `PREFIX_000000000012_keypoints.json`.

`{"people": [{"pose_keypoints_2d": [x, y, confidence, ...], ...}]}`: BODY_25 or the 18 joints of COCO; hands and faces are
dropped. x and y are pixels or, as asked by `--keypoint_scale`, shares of the image. Several prefixes are several clips.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem
from skeletonllm.skeleton.formats.flat import (
    declared_fps,
    link_persons,
    numbers,
    read_json,
    seen_only,
    span,
    to_metres,
)
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

# A folder does not say how large the image was; shares of it need its shape.
_IMAGE = (9.0, 16.0)
_BY_NUMBERS = {75: TOPOLOGIES["openpose_25"], 54: TOPOLOGIES["openpose_18"]}
_NAME = re.compile(r"(.*?)_?(\d+)_keypoints", re.IGNORECASE)


def sniff(path: Path, head: bytes) -> bool:
    """A JSON object of people with body keypoints, or of nobody under OpenPose's name."""
    if head.lstrip()[:1] != b"{" or b'"people"' not in head:
        return False
    return b'"pose_keypoints' in head or (b'"version"' in head and _NAME.fullmatch(path.stem) is not None)


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clips of one folder, one for each prefix: the one or two persons seen most, the first one most.

    Frames that are missing between the first and the last number are frames in which nobody was seen.

    Raises:
        FormatError: no frame rate is declared, a file is damaged, or nobody is seen in any frame.
    """
    if not path.is_dir():
        raise problem(path, "", "a file", "a folder with one file per frame", "give the folder")
    videos: dict[str, dict[int, Path]] = {}
    for file in sorted(path.glob("*.json")):
        name = _NAME.fullmatch(file.stem)
        if name is None:
            continue  # a side file
        frames = videos.setdefault(name[1], {})
        number = int(name[2][-18:])
        if number in frames:
            raise problem(file, "", f"frame {number} twice ({frames[number].name})", "each frame once")
        frames[number] = file
    if not videos:
        raise problem(
            path, "", "no file named PREFIX_NUMBER_keypoints.json", "one for each frame", "give another folder"
        )
    fps = declared_fps(path, declared)
    return [_clip(path, prefix or path.name, frames, fps) for prefix, frames in sorted(videos.items())]


def _clip(folder: Path, name: str, files: dict[int, Path], fps: float) -> Clip:
    first, last = span(folder, files, 0)
    topology: Topology | None = None
    frames: dict[int, Sequence[np.ndarray]] = {}
    for number, file in sorted(files.items()):
        kind, frames[number - first] = _people(file)
        if kind is not None and topology not in (None, kind):
            raise problem(file, "", kind.name, f"{topology.name} as in the frames before")
        topology = topology or kind
    if topology is None:
        raise problem(folder, f"video {name}", "nobody in any frame", "at least one person", "leave the video out")
    points, confidence = link_persons(folder, frames, last - first + 1, topology.num_joints)
    shares = points.size > 0 and float(np.abs(points).max()) <= 2
    image = _IMAGE if shares else None
    if shares and points.min() < 0:  # keypoint_scale 4: from -1 to 1
        points = (points + 1) / 2
    places = to_metres(points * _IMAGE[::-1] if shares else points, confidence, topology, image)
    unit = "shares of an image, taken for 16:9" if shares else "px"
    source = Source(format="openpose", fps_from="declared", space=f"{unit}, -y up (metres by body size)")
    return build_clip(folder, name, topology, places, confidence, fps=fps, source=source, where=f"video {name}")


def _people(path: Path) -> tuple[Topology | None, list[np.ndarray]]:
    """The topology, where anybody is seen, and x, y, confidence of each person."""
    content = read_json(path)
    people = content.get("people") if isinstance(content, dict) else None
    if not isinstance(people, list):
        raise problem(path, "key 'people'", brief(people), "a list of persons")
    found: list[np.ndarray] = []
    topology = None
    for number, person in enumerate(people):
        where = f"person {number}, key 'pose_keypoints_2d'"
        flat = (person.get("pose_keypoints_2d") or person.get("pose_keypoints")) if isinstance(person, dict) else None
        if flat == [] or (isinstance(person, dict) and flat is None and "pose_keypoints_2d" in person):
            continue  # only hands or a face
        values = numbers(path, where, flat, "75 or 54 numbers")
        if values.ndim != 1 or len(values) not in _BY_NUMBERS:
            raise problem(path, where, f"shape {values.shape}", "75 or 54 numbers (25 or 18 joints)")
        topology = topology or _BY_NUMBERS[len(values)]
        if len(values) != 3 * topology.num_joints:
            raise problem(path, where, f"{len(values)} numbers", f"{3 * topology.num_joints} as of the other persons")
        found.append(seen_only(values.reshape(-1, 3)))
    return topology, found


FORMAT = Format(
    "openpose",
    (".json",),
    "OpenPose folder, one JSON file per frame (25 or 18 joints)",
    sniff,
    read,
    is_folder=True,
    origin="written by CMU's OpenPose; the terms are those of the video",
)
