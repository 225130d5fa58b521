"""MSR-Action3D: `aAA_sSS_eEE_skeleton3D.txt` in metres, `aAA_sSS_eEE_skeleton.txt` in pixels and depth; 15 fps.

Twenty rows `x y z confidence` per frame. The screen files hold `u v` of the 320 x 240 image and depth in 4 mm; put back
into space they agree with the others (checked on 24 recordings: within half a pixel).
Source: Li, Zhang and Liu (2010).
"""

import re
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, read_table, split_frames
from skeletonllm.skeleton.formats.kinect import numbers_in_line, unproject
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 15.0
ACTIONS = (
    "high arm wave",
    "horizontal arm wave",
    "hammer",
    "hand catch",
    "forward punch",
    "high throw",
    "draw x",
    "draw tick",
    "draw circle",
    "hand clap",
    "two hand wave",
    "side boxing",
    "bend",
    "forward kick",
    "side kick",
    "jogging",
    "tennis swing",
    "tennis serve",
    "golf swing",
    "pick up & throw",
)
_TOPOLOGY = TOPOLOGIES["msraction3d_20"]
_NAME = re.compile(r"a(\d{2})_s(\d{2})_e(\d{2})_skeleton(3D)?")
_FOCAL_PX, _CENTER_PX, _DEPTH_M = 285.63, (160.0, 120.0), 0.004
_FARTHEST_M = 20.0  # the sensor sees 4 m; depth units are hundreds


def sniff(path: Path, head: bytes) -> bool:
    """Lines of four numbers under the data set's file names: bare numbers say no more."""
    return _NAME.fullmatch(path.stem) is not None and len(numbers_in_line(head)) == 4


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file, in the Kinect's frame. The fourth number (0 inferred, 1 tracked) gives confidence 0.5 to 1.

    Raises:
        FormatError: not four numbers in a line, not twenty lines a frame, or nobody was seen.
    """
    rows = split_frames(path, read_table(path, 4), _TOPOLOGY.num_joints)
    places, space = rows[..., :3], "m, +y up"
    depths = places[..., 2][np.isfinite(places[..., 2]) & (places[..., 2] != 0)]
    if np.count_nonzero(depths > _FARTHEST_M) > depths.size / 2:
        places = np.where((places == 0).all(-1, keepdims=True), np.nan, places)
        places, space = unproject(places, _FOCAL_PX, _CENTER_PX, _DEPTH_M), "pixels and depth, +y up"
    match = _NAME.search(path.stem)
    action, subject, repetition = (int(match[group]) if match else 0 for group in (1, 2, 3))
    source = Source(
        format="msraction3d",
        fps_from="format",
        space=space,
        subject=f"S{subject:02d}" if match else "",
        repetition=str(repetition) if match else "",
    )
    name = ACTIONS[action - 1] if 1 <= action <= len(ACTIONS) else None
    confidence = 0.5 + 0.5 * np.clip(rows[..., 3], -1, 1)
    return [build_clip(path, path.stem, _TOPOLOGY, places[None], confidence[None], fps=FPS, source=source, action=name)]


FORMAT = Format(
    "msraction3d",
    (".txt",),
    "MSR-Action3D skeleton text, Real3D and screen (Kinect, 20 joints)",
    sniff,
    read,
    origin="Microsoft Research, Li, Zhang and Liu (2010); free for research",
)
