"""Florence 3D Actions: one file of many clips, or one file per clip; millimetres, Kinect, 15 joints, 30 fps.

The original: a row `idvideo idactor idcategory x1 y1 z1 ... x15 y15 z15` per frame. Per clip: `aA_sS_idN.txt`, fifteen
rows `x y z` per frame.
Source: Seidenari et al. (2013).
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, problem, read_table, split_frames
from skeletonllm.skeleton.formats.kinect import numbers_in_line
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
ACTIONS = (
    "wave",
    "drink from a bottle",
    "answer phone",
    "clap",
    "tight lace",
    "sit down",
    "stand up",
    "read watch",
    "bow",
)
_TOPOLOGY = TOPOLOGIES["florence_15"]
_NAME = re.compile(r"a(\d{1,2})_s(\d{1,2})_id(\d{1,3})")
_ROW = 3 + 3 * _TOPOLOGY.num_joints
_M_PER_MM = 0.001
_MAX_ID = 100_000


def sniff(path: Path, head: bytes) -> bool:
    """Lines of 48 numbers that begin with three ids, or of 3 numbers under the names of the clips."""
    first = numbers_in_line(head)
    if len(first) == 3:
        return _NAME.fullmatch(path.stem) is not None
    return len(first) == _ROW and all(0 < value < _MAX_ID and value.is_integer() for value in first[:3])


def read(path: Path, declared: Declared) -> list[Clip]:
    """All clips of a file, in the Kinect's frame.

    Raises:
        FormatError: a line has another count of numbers, an id is none, or a clip comes twice.
    """
    match = _NAME.fullmatch(path.stem)
    if match is None:
        return _many(path)
    rows = split_frames(path, read_table(path, 3), _TOPOLOGY.num_joints)
    action, subject, video = (int(group) for group in match.groups())
    return [_clip(path, path.stem, rows, action, subject, video)]


def _many(path: Path) -> list[Clip]:
    table = read_table(path, _ROW)
    ids = table[:, :3]
    bad = np.flatnonzero(~((ids > 0) & (ids < _MAX_ID) & (ids == np.floor(ids))).all(1))
    if len(bad):
        raise problem(path, f"row {bad[0] + 1}", f"ids {ids[bad[0]].tolist()}", "video, actor and category from 1")
    starts = np.flatnonzero(np.r_[True, (np.diff(ids, axis=0) != 0).any(1)])
    clips, known = [], set()
    for start, end in zip(starts, [*starts[1:], len(table)], strict=True):
        video, subject, action = ids[start].astype(int).tolist()
        if video in known:
            raise problem(path, f"row {start + 1}", f"video {video} again", "the rows of a video together")
        known.add(video)
        rows = table[start:end, 3:].reshape(end - start, -1, 3)
        where = f"rows {start + 1} to {end}"
        clips.append(_clip(path, f"a{action:02d}_s{subject}_id{video}", rows, action, subject, video, where))
    return clips


def _clip(path: Path, clip_id: str, rows: np.ndarray, action: int, subject: int, video: int, where: str = "") -> Clip:
    source = Source(
        format="florence3d", fps_from="format", space="mm, +y up", subject=f"S{subject:02d}", repetition=str(video)
    )
    name = ACTIONS[action - 1] if 1 <= action <= len(ACTIONS) else None
    places = rows[None] * _M_PER_MM
    return build_clip(path, clip_id, _TOPOLOGY, places, fps=FPS, source=source, action=name, where=where)


FORMAT = Format(
    "florence3d",
    (".txt",),
    "Florence 3D Actions text, whole set or per clip (Kinect, 15 joints)",
    sniff,
    read,
    origin="University of Florence, Seidenari et al. (2013); research use with citation",
)
