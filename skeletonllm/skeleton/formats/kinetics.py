"""Kinetics-skeleton JSON (ST-GCN): OpenPose's 18 joints of every person in every frame of a ten-second video.

`{"data": [{"frame_index", "skeleton": [{"pose": [x, y, ...], "score": [...]}]}], "label", "label_index"}`; x and y are
shares of an image of 340 x 256 pixels, 30 fps. The order of the persons is no identity: they are linked over the frames.
"""

from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem
from skeletonllm.skeleton.formats.flat import link_persons, numbers, read_json, seen_only, span, to_metres
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
_HEIGHT_PX, _WIDTH_PX = 256.0, 340.0
_TOPOLOGY = TOPOLOGIES["openpose_18"]
_MOST_PERSONS_IN_A_FRAME = 20


def sniff(path: Path, head: bytes) -> bool:
    """A JSON object of numbered frames with skeletons; the lists of labels have neither."""
    return head.lstrip()[:1] == b"{" and b'"frame_index"' in head and b'"skeleton"' in head


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one video: the one or two persons seen most, the first one most.

    Raises:
        FormatError: not such a file, or nobody is seen in any frame.
    """
    content = read_json(path)
    frames = content.get("data") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(frames, list):
        raise problem(path, "key 'data'", brief(frames), "a list of frames")
    label = content.get("label")
    if label is not None and not isinstance(label, str):
        raise problem(path, "key 'label'", brief(label), "the name of an action")
    seen: dict[int, list[np.ndarray]] = {}
    for number, frame in enumerate(frames):
        where = f"frame {number}"
        index = frame.get("frame_index") if isinstance(frame, dict) else None
        people = frame.get("skeleton") if isinstance(frame, dict) else None
        if type(index) is not int or not isinstance(people, list):
            raise problem(path, where, brief(frame), "'frame_index', a whole number, and 'skeleton', a list")
        if index in seen:
            raise problem(path, where, f"frame_index {index} twice", "each frame once")
        people = [_person(path, f"{where}, person {n}", one) for n, one in enumerate(people)]
        seen[index] = sorted(people, key=lambda one: -float(one[:, 2].sum()))[:_MOST_PERSONS_IN_A_FRAME]
    first, last = span(path, {1, *seen}, path.stat().st_size)
    numbered = {index - first: people for index, people in seen.items()}
    points, confidence = link_persons(path, numbered, last - first + 1, _TOPOLOGY.num_joints)
    places = to_metres(points * (_WIDTH_PX, _HEIGHT_PX), confidence, _TOPOLOGY, (_HEIGHT_PX, _WIDTH_PX))
    source = Source(format="kinetics", fps_from="format", space="shares of 340 x 256 px, -y up (metres by body size)")
    return [
        build_clip(path, path.stem, _TOPOLOGY, places, confidence, fps=FPS, source=source, action=label or None),
    ]


def _person(path: Path, where: str, person: object) -> np.ndarray:
    """x, y, confidence of the 18 joints."""
    if not isinstance(person, dict):
        raise problem(path, where, brief(person), "'pose' and 'score'")
    pose = numbers(path, f"{where}, key 'pose'", person.get("pose"), "36 numbers")
    score = numbers(path, f"{where}, key 'score'", person.get("score"), "18 numbers")
    if pose.shape != (36,) or score.shape != (18,):
        raise problem(path, where, f"{pose.shape} places and {score.shape} scores", "36 numbers and 18 scores")
    return seen_only(np.column_stack((pose.reshape(18, 2), score)))


FORMAT = Format(
    "kinetics",
    (".json",),
    "Kinetics-skeleton JSON (OpenPose, 18 joints)",
    sniff,
    read,
    origin="ST-GCN authors (Yan et al. 2018), poses of Kinetics-400 videos; research use",
)
