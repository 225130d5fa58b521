"""Human3.6M joint positions `[frames, 17, 3]` as `.npy`: metres or millimetres, any axis up, no frame rate.

The order of joints that 3D pose estimation uses (hip, right leg, left leg, spine to head, left arm, right arm). Unit and
axis are found from the body; the pelvis may be the origin of each frame. Recorded at 50 fps, but often thinned, so the
rate must be declared. Source: Ionescu et al. (2014), Pavllo et al. (2019).
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.arrays import fits, header_of, load_array
from skeletonllm.skeleton.formats.common import Declared, Format, build_clip, problem
from skeletonllm.skeleton.formats.expmap import H36M_ACTIONS
from skeletonllm.skeleton.kinematics import body_size_m
from skeletonllm.skeleton.spaces import find_up, fit_unit, metres_per, upright
from skeletonllm.skeleton.topologies import TOPOLOGIES

_TOPOLOGY = TOPOLOGIES["h36m_17"]
_SHAPE = (None, 17, 3)
_NAME = re.compile(r"^(?:(S\d{1,2})[_ -])?([a-z]+)(?:[_ -](\d))?$", re.IGNORECASE)
_SUBJECT = re.compile(r"^S\d{1,2}$")
_MAX_VALUE = 1e9
_SURE = 0.6  # of the frames must agree on what is up
# Bones (parent, child) on the right and left: as long as each other on a person, whatever the pose.
_RIGHT = np.array(((0, 1), (1, 2), (2, 3), (14, 15), (15, 16)))
_LEFT = np.array(((0, 4), (4, 5), (5, 6), (11, 12), (12, 13)))


def sniff(path: Path, head: bytes) -> bool:
    """An array of frames x 17 x 3 whose first frame is a body of this order: left and right bones are equally long.

    COCO's 17 joints with a score have the same shape.
    """
    found = header_of(head)
    if found is None or not fits(found[0], _SHAPE) or found[1].kind != "f":
        return False
    kind = found[1]
    start = 10 + int.from_bytes(head[8:10], "little") if head[6] == 1 else 12 + int.from_bytes(head[8:12], "little")
    if len(head) < start + 51 * kind.itemsize:
        return False
    with np.errstate(invalid="ignore"):
        body = np.frombuffer(head, kind, 51, start).reshape(17, 3).astype(np.float64)
    if not np.abs(body).max() < _MAX_VALUE:
        return False
    right, left = (np.linalg.norm(body[bones[:, 1]] - body[bones[:, 0]], axis=-1) for bones in (_RIGHT, _LEFT))
    return bool((right > 0).all() and (np.abs(right - left) < 0.15 * right).all() and right[1] > right[0])


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file; subject, action and take from a name such as `S1_greeting_1` or `S1/greeting_1`.

    Somebody whose pelvis is the origin of the space is put on the floor, so that the pelvis counts as seen.

    Raises:
        FormatError: another array, no declared frame rate, or bodies that do not say what is up.
    """
    places = load_array(path, _SHAPE, kinds="fi")
    if declared.fps is None:
        known = "Human3.6M was recorded at 50, every second frame of it is 25"
        raise problem(path, "", "no frame rate", "frames per second", f"say it with --fps ({known})")
    with np.errstate(invalid="ignore", over="ignore"):
        places = places.astype(np.float64)
        sane = np.abs(places) < _MAX_VALUE  # NaN is not
    tracked = sane.all(-1) & (places != 0).any((1, 2))[:, None]  # a frame of zeros is nobody
    if not tracked.any():
        raise problem(path, "", "no joint of anybody that was seen", "at least one", "leave the recording out")
    places = np.where(tracked[..., None], places, 0)
    up, sure = (declared.up, 1.0) if declared.up else find_up(places[None], _TOPOLOGY)
    if sure < _SURE:
        raise problem(
            path, "", f"heads above feet along {up} in {sure:.0%} of the frames", "one axis", "say it with --up"
        )
    places = places @ upright(up).T
    raw = Clip(path.stem, _TOPOLOGY, places.astype(np.float32)[None], tracked.astype(np.float32)[None], declared.fps)
    unit_m, unit = (metres_per(declared.unit), declared.unit) if declared.unit else fit_unit(body_size_m(raw))
    places *= unit_m
    if (tracked & (places == 0).all(-1)).any():
        places[..., 1] -= places[tracked][:, 1].min()
    action, source = _labels(path)
    known = "declared" if declared.unit and declared.up else "by the body"
    return [
        build_clip(
            path,
            path.stem,
            _TOPOLOGY,
            places[None],
            tracked.astype(np.float32)[None],
            fps=declared.fps,
            source=replace(source, space=f"{unit}, {up} up ({known})"),
            action=action,
        )
    ]


def _labels(path: Path) -> tuple[str | None, Source]:
    source = Source(format="h36m", fps_from="declared")
    name = _NAME.match(path.stem)
    if name is None or name[2].lower() not in H36M_ACTIONS:
        return None, source
    folder = path.parent.name if _SUBJECT.match(path.parent.name) else ""
    return name[2].lower(), replace(source, subject=name[1] or folder, repetition=name[3] or "")


FORMAT = Format(
    "h36m",
    (".npy",),
    "Human3.6M joint positions (17 joints)",
    sniff,
    read,
    takes=frozenset({"unit", "up"}),
    origin="Human3.6M: academic, not to be passed on",
)
