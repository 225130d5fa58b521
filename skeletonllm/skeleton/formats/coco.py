"""JSON files of pose estimators with COCO's joints: 17, or body and feet (23) of COCO-WholeBody's 133; pixels, y down.

* MoveNet: a list of frames `{"keypoints": [{"x", "y", "score"} * 17]}`, one person;
* AlphaPose: a list of persons `{"image_id": "12.jpg", "keypoints": [x, y, score, ...], "score"}` (17, 18, 26, 133 or 136);
* mmpose: a list of frames `{"frame_id", "instances": [{"keypoints": [[x, y], ...], "keypoint_scores": [...]}]}`, or an
  object with that list as `instance_info`.

Persons are linked over the frames. None of the files holds a frame rate or the size of the image.
"""

import re
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
from skeletonllm.skeleton.formats.mediapipe import named_keypoints
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

_FRAME_NUMBER = re.compile(r"(\d+)(?!.*\d)")
# Joints that an estimator gives, our topology, and where its joints are among those. The feet of AlphaPose's Halpe sets
# come in another order than COCO-WholeBody's: big toe, small toe and heel each left and right.
_HALPE_FEET = (20, 22, 24, 21, 23, 25)
_KINDS: dict[int, tuple[Topology, tuple[int, ...]]] = {
    17: (TOPOLOGIES["coco_17"], tuple(range(17))),
    18: (TOPOLOGIES["openpose_18"], tuple(range(18))),  # AlphaPose with `--format open`
    23: (TOPOLOGIES["coco_wholebody_23"], tuple(range(23))),
    133: (TOPOLOGIES["coco_wholebody_23"], tuple(range(23))),
    26: (TOPOLOGIES["coco_wholebody_23"], (*range(17), *_HALPE_FEET)),
    136: (TOPOLOGIES["coco_wholebody_23"], (*range(17), *_HALPE_FEET)),
}
_Frames = dict[int, list[np.ndarray]]


def of_count(path: Path, where: str, points: np.ndarray) -> tuple[Topology, np.ndarray]:
    """The topology of as many joints, and those of `points [..., joints, values]` that it has.

    Raises:
        FormatError: no estimator gives as many.
    """
    if points.shape[-2] not in _KINDS:
        raise problem(path, where, f"{points.shape[-2]} joints", f"one of {', '.join(map(str, _KINDS))}")
    topology, joints = _KINDS[points.shape[-2]]
    return topology, points[..., joints, :]


def sniff(path: Path, head: bytes) -> bool:
    """JSON with keypoints and scores as one of the three writes them."""
    start = head.lstrip()[:1]
    if start == b"[" and b'"keypoints"' in head and b'"visibility"' not in head:
        return any(word in head for word in (b'"score"', b'"image_id"', b'"instances"', b'"keypoint_scores"'))
    # mmpose's object begins with what the joints are called.
    return start == b"{" and (b'"instance_info"' in head or (b'"meta_info"' in head and b'"keypoint_id2name"' in head))


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file: the one or two persons seen most, the first one most.

    Raises:
        FormatError: it is no such file, no frame rate is declared, or nobody is seen in any frame.
    """
    content = read_json(path)
    if isinstance(content, dict):
        content = content.get("instance_info")
    if not isinstance(content, list) or not content:
        raise problem(path, "", brief(content), "a list of frames or persons")
    first = content[0]
    if isinstance(first, dict) and "instances" in first:
        frames = _mmpose(path, content)
    elif isinstance(first, dict) and "image_id" in first:
        frames = _alphapose(path, content)
    else:
        frames = {number: _movenet(path, number, frame) for number, frame in enumerate(content)}
    counts = {len(person): number for number, people in frames.items() for person in people}
    if len(counts) != 1:
        raise problem(path, "", f"persons of {sorted(counts)} joints", "one count of joints", "leave the recording out")
    start, end = span(path, frames, path.stat().st_size)
    topology, _ = of_count(path, "", np.zeros((*counts, 1)))
    numbered = {n - start: [of_count(path, "", person)[1] for person in people] for n, people in frames.items()}
    points, confidence = link_persons(path, numbered, end - start + 1, topology.num_joints)
    places = to_metres(points, confidence, topology, None)
    source = Source(format="coco", fps_from="declared", space="px, -y up (metres by body size)")
    fps = declared_fps(path, declared)
    return [build_clip(path, path.stem, topology, places, confidence, fps=fps, source=source)]


def _movenet(path: Path, number: int, frame: object) -> list[np.ndarray]:
    points = named_keypoints(path, number, frame, ("x", "y", "score"))
    return [seen_only(points)] if len(points) else []


def _alphapose(path: Path, persons: list[object]) -> _Frames:
    frames: _Frames = {}
    for number, person in enumerate(persons):
        where = f"person {number}"
        if not isinstance(person, dict):
            raise problem(path, where, brief(person), "'image_id' and 'keypoints'")
        image = _FRAME_NUMBER.search(str(person.get("image_id"))[-100:])
        if image is None:
            raise problem(path, f"{where}, key 'image_id'", brief(person.get("image_id")), "a name with a number")
        flat = numbers(path, f"{where}, key 'keypoints'", person.get("keypoints"))
        if flat.ndim != 1 or len(flat) % 3:
            raise problem(path, f"{where}, key 'keypoints'", f"shape {flat.shape}", "three numbers for each joint")
        frames.setdefault(int(image[1][-18:]), []).append(seen_only(flat.reshape(-1, 3)))
    return frames


def _mmpose(path: Path, listed: list[object]) -> _Frames:
    frames: _Frames = {}
    for number, frame in enumerate(listed):
        where = f"frame {number}"
        people = frame.get("instances") if isinstance(frame, dict) else None
        index = frame.get("frame_id", number) if isinstance(frame, dict) else None
        if not isinstance(people, list) or type(index) is not int or index in frames:
            raise problem(path, where, brief(frame), "'frame_id', each once, and 'instances', a list")
        frames[index] = [_instance(path, f"{where}, instance {n}", one) for n, one in enumerate(people)]
    return frames


def _instance(path: Path, where: str, one: object) -> np.ndarray:
    if not isinstance(one, dict):
        raise problem(path, where, brief(one), "'keypoints' and 'keypoint_scores'")
    points = numbers(path, f"{where}, key 'keypoints'", one.get("keypoints"))
    scores = numbers(path, f"{where}, key 'keypoint_scores'", one.get("keypoint_scores"))
    if points.ndim != 2 or points.shape[1] not in (2, 3) or scores.shape != points.shape[:1]:
        found = f"shapes {points.shape} and {scores.shape}"
        raise problem(path, where, found, "x and y of each joint, and its score")
    return seen_only(np.column_stack((points[:, :2], scores)))


FORMAT = Format(
    "coco",
    (".json",),
    "MoveNet, AlphaPose or mmpose JSON (COCO-17, COCO-WholeBody, Halpe)",
    sniff,
    read,
    origin="written by pose estimators; the terms are those of the video",
)
