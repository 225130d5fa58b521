"""Cornell CAD-60 and CAD-120: `<10 digits>.txt` with positions and orientations; Kinect by OpenNI, 15 joints, mm, 30 fps.

Comma separated, 171 numbers in a frame: its number, then for 11 joints a 3 x 3 rotation (row by row, joint to world), its
confidence, x, y, z and their confidence, then for hands and feet x, y, z and confidence. The last line is `END`.
The image was mirrored, so the frame is that of the Kinect: +x to the subject's right, right-handed.
`activityLabel.txt` beside the files: `id,activity,` in each line, in CAD-120 `id,activity,subject,...`.
Source: Sung et al. (2011), Koppula et al. (2013).
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, read_table, read_text
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.rotations import quaternions
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
_TOPOLOGY = TOPOLOGIES["cad60_15"]
_NUM_TURNED = 11  # the joints that have an orientation stand first
_TURNED = 9 + 1 + 3 + 1
_ROW = 1 + _NUM_TURNED * _TURNED + 4 * (_TOPOLOGY.num_joints - _NUM_TURNED)
_SUBJECT = re.compile(r"(?:data|subject)[ _]?(\d)", re.IGNORECASE)
_LABEL_FILE = "activityLabel.txt"
_M_PER_MM = 0.001
_SKEW = 0.1  # a matrix farther from a rotation is none


def sniff(path: Path, head: bytes) -> bool:
    """Lines of 171 numbers with commas."""
    return len(numbers_in_line(head, ",")) == _ROW


def labels_beside(path: Path) -> list[Path]:
    """The labels of a folder of recordings."""
    labels = path.with_name(_LABEL_FILE)
    return [labels] if labels.is_file() else []


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file. A joint without an orientation, or with one of confidence 0, has the quaternion 0.

    Raises:
        FormatError: not 171 numbers in a line, or nobody was seen.
    """
    table = read_table(path, _ROW, ",", end="END")
    turned = table[:, 1 : 1 + _NUM_TURNED * _TURNED].reshape(len(table), _NUM_TURNED, _TURNED)
    tips = table[:, 1 + _NUM_TURNED * _TURNED :].reshape(len(table), -1, 4)
    joints = np.concatenate((turned[..., 10:], tips), axis=1)
    rotations = np.zeros((1, len(table), _TOPOLOGY.num_joints, 4), np.float32)
    rotations[0, :, :_NUM_TURNED] = _rotations(turned[..., :9].reshape(-1, _NUM_TURNED, 3, 3), turned[..., 9])
    activity, subject = _label(path)
    source = Source(format="cad60", fps_from="format", space="mm, +y up", subject=subject)
    return [
        build_clip(
            path,
            path.stem,
            _TOPOLOGY,
            joints[None, ..., :3] * _M_PER_MM,
            joints[None, ..., 3],
            fps=FPS,
            source=source,
            action=activity,
            rotations=rotations,
        )
    ]


def _rotations(turns: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Quaternions of those matrices that are rotations and are trusted; zeros for the others."""
    found = np.zeros((*turns.shape[:2], 4), np.float32)
    with np.errstate(all="ignore"):
        skew = np.abs(turns @ turns.swapaxes(-1, -2) - np.eye(3)).max((-1, -2))
        good = (skew < _SKEW) & (np.linalg.det(turns) > 0) & (confidence == 1)
    found[good] = quaternions(turns[good])
    return found


def _label(path: Path) -> tuple[str | None, str]:
    """The activity and the subject that the labels or the folder's name give."""
    folder = _SUBJECT.match(path.absolute().parent.name)
    subject = f"S{folder[1]}" if folder else ""
    for labels in labels_beside(path):
        for line in read_text(labels).splitlines():
            words = [word.strip() for word in line.split(",")]
            if words[0] == path.stem and len(words) > 1:
                given = _SUBJECT.match(words[2]) if len(words) > 2 else None
                return words[1] or None, f"S{given[1]}" if given else subject
    return None, subject


FORMAT = Format(
    "cad60",
    (".txt",),
    "Cornell CAD-60 and CAD-120 skeleton text (Kinect by OpenNI, 15 joints, orientations)",
    sniff,
    read,
    beside=labels_beside,
    origin="Cornell University, Sung et al. (2011), Koppula et al. (2013); research use with citation",
)
