"""Tables of joints, as CSV and Parquet files have them: which column is what, and the motions that the rows hold.

Long: one row per frame and joint (`frame, person, joint, x, y, z, confidence`). Wide: one row per frame, columns such as
`left_wrist_x`, `LWrist.y`, `x12`. Other columns are left alone.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from skeletonllm.skeleton.clip import Source
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, brief, problem
from skeletonllm.skeleton.formats.declared import MAX_FPS
from skeletonllm.skeleton.formats.plain import MAX_JOINTS, MAX_PERSONS, MIN_JOINTS, Motion

_ROLES = {
    "frame": {"frame", "frame_id", "frame_index", "frame_number", "frame_no", "frameid", "frame_idx"},
    "time": {"time", "t", "time_s", "seconds", "timestamp", "timestamps", "time_ms", "timestamp_ms", "msec"},
    "fps": {"fps", "frame_rate", "framerate"},
    "person": {"person", "person_id", "track", "track_id", "body", "body_id", "skeleton_id"},
    "joint": {"joint", "joint_name", "joint_id", "keypoint", "keypoint_id", "landmark", "marker", "bodypart"},
    "clip": {"clip", "clip_id", "video", "video_id", "sequence", "sequence_id", "trial", "recording"},
    "action": {"action", "action_name", "label", "class", "activity"},
    "subject": {"subject", "subject_id", "performer"},
    "camera": {"camera", "camera_id"},
}
TEXT_ROLES = ("person", "joint", "clip", "action", "subject", "camera")
_AXES = {
    **{axis: axis for axis in ("x", "y", "z", "qw", "qx", "qy", "qz")},
    **dict.fromkeys(("c", "conf", "confidence", "score", "visibility", "vis", "v", "likelihood", "probability"), "c"),
}
_WORDS = "|".join(sorted(_AXES, key=len, reverse=True))
_SUFFIX = re.compile(rf"(?P<joint>.+?)[ _.:/-]+(?P<axis>{_WORDS})", re.IGNORECASE)
_CAMEL = re.compile(r"(?P<joint>.+[a-z0-9])(?P<axis>[XYZ])|(?P<joint2>.*\d)(?P<axis2>[xyzc])")
_PREFIX = re.compile(rf"(?P<axis>{_WORDS})(?:[ _.:/-]+(?P<joint>.+)|(?P<joint2>\d+))", re.IGNORECASE)
_QUATERNION = ("qw", "qx", "qy", "qz")
# Seconds of one unit of a time stamp: s, ms, us, 100 ns (Kinect), ns. Only one of them gives a rate that cameras have.
_TIME_UNITS_S = (1.0, 1e-3, 1e-6, 1e-7, 1e-9)
_USUAL_FPS = (5.0, 400.0)
_MAX_GAPS = 10  # times more frames by their numbers than are there


@dataclass(frozen=True)
class Layout:
    """Which column is what.

    Args:
        roles: column of each role of `_ROLES` that is there.
        joints: per joint the column of each axis (`x`, `y`, `z`, `c` for confidence); of a long table under "".
    """

    roles: Mapping[str, str] = field(default_factory=dict)
    joints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def is_long(self) -> bool:
        """Whether a row is one joint."""
        return "" in self.joints

    @property
    def numbers(self) -> list[str]:
        """Columns that must be numbers."""
        timed = [self.roles[role] for role in ("frame", "time", "fps") if role in self.roles]
        return [*timed, *(column for axes in self.joints.values() for column in axes.values())]

    @property
    def texts(self) -> list[str]:
        """Columns that are names."""
        return [self.roles[role] for role in TEXT_ROLES if role in self.roles]


def columns_of_role(columns: Sequence[str], role: str) -> list[str]:
    """The columns that are named as one of the roles: `frame`, `person`, `clip` and so on."""
    return [name for name in columns if re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") in _ROLES[role]]


def layout_of(columns: Sequence[str]) -> Layout | None:
    """What the columns are; None where they are no joints."""
    roles = {role: found[0] for role in _ROLES if (found := columns_of_role(columns, role))}
    axes = {column.strip().lower(): column for column in columns}
    if "joint" in roles and {"x", "y"} <= axes.keys():
        return Layout(roles, {"": {_AXES[word]: column for word, column in axes.items() if word in _AXES}})
    roles.pop("joint", None)
    joints: dict[str, dict[str, str]] = {}
    for column in columns:
        if column not in roles.values() and (found := _joint_of(column.strip())) is not None:
            joints.setdefault(found[0], {})[found[1]] = column
    whole = {joint: axes for joint, axes in joints.items() if {"x", "y"} <= axes.keys()}
    deep = sum("z" in axes for axes in whole.values())
    if not MIN_JOINTS <= len(whole) <= MAX_JOINTS or deep not in (0, len(whole)):
        return None
    return Layout(roles, whole)


def _joint_of(column: str) -> tuple[str, str] | None:
    for pattern in (_SUFFIX, _PREFIX, _CAMEL):
        match = pattern.fullmatch(column)
        if match is not None:
            found = match.groupdict()
            joint, axis = found["joint"] or found["joint2"], found["axis"] or found.get("axis2")
            return str(joint), _AXES[str(axis).lower()]
    return None


def motions_of_table(
    path: Path, layout: Layout, columns: Mapping[str, np.ndarray], told: Mapping[str, Any] | None = None
) -> list[Motion]:
    """The motions of all clips in a table.

    Args:
        path: the file.
        layout: which column is what.
        columns: float64 for `layout.numbers`, text for `layout.texts`, all of one length.
        told: what the file says of itself besides.

    Raises:
        FormatError: a row is there twice, or the numbering makes no sense.
    """
    clips = columns[layout.roles["clip"]] if "clip" in layout.roles else None
    if clips is None:
        return [_motion(path, path.stem, layout, columns, told or {})]
    names = list(dict.fromkeys(clips.tolist()))
    return [
        _motion(path, str(name), layout, {key: values[clips == name] for key, values in columns.items()}, told or {})
        for name in names
    ]


def _motion(
    path: Path, clip_id: str, layout: Layout, columns: Mapping[str, np.ndarray], told: Mapping[str, Any]
) -> Motion:
    where = f"clip {brief(clip_id)}" if "clip" in layout.roles else ""
    rows = len(next(iter(columns.values())))
    if not rows:
        raise problem(path, where, "no row", "at least one", "leave the recording out")
    persons = _numbered(columns, layout, "person", rows)
    if layout.is_long:
        names, joint_of_row = _by_appearance(columns[layout.roles["joint"]])
    else:
        names, joint_of_row = list(layout.joints), None
    frames, num_frames, fps = _frames(path, where, layout, columns, rows, persons, joint_of_row)
    shape = (int(persons.max()) + 1, num_frames, len(names))
    if shape[0] > MAX_PERSONS or len(names) > MAX_JOINTS or np.prod(shape, dtype=float) * 4 > MAX_NUMBERS:
        raise problem(
            path,
            where,
            f"{shape[0]} persons, {shape[1]} frames, {shape[2]} joints",
            f"at most {MAX_PERSONS} persons and {MAX_JOINTS} joints",
            "see what the columns are, or split the file by clip",
        )
    place = (persons, frames) if joint_of_row is None else (persons, frames, joint_of_row)
    _check_once(path, where, place, shape[: len(place)])
    axes = layout.joints[""] if layout.is_long else next(iter(layout.joints.values()))
    points = _scattered(layout, columns, place, shape, "xyz" if "z" in axes else "xy", np.nan)
    seen = _scattered(layout, columns, place, shape, "c", 0.0)[..., 0] if "c" in axes else None
    turns = None
    if told and all(axis in axes for axis in _QUATERNION):
        turns = _scattered(layout, columns, place, shape, _QUATERNION, np.nan)
    values = {
        "fps": _said_rate(path, where, layout, columns) or fps,
        "action": _only(path, where, layout, columns, "action"),
        "source": Source(
            subject=_only(path, where, layout, columns, "subject") or "",
            camera=_only(path, where, layout, columns, "camera") or "",
        ),
        **told,
    }
    return Motion(clip_id, points, seen, tuple(names), turns, **values)


def _scattered(
    layout: Layout,
    columns: Mapping[str, np.ndarray],
    place: tuple[np.ndarray, ...],
    shape: tuple[int, ...],
    axes: Sequence[str],
    missing: float,
) -> np.ndarray:
    """Some axes of all joints: `[persons, frames, joints, axes]`."""
    values = np.full((*shape, len(axes)), missing)
    for joint, has in enumerate(layout.joints.values()):
        for number, axis in enumerate(axes):
            where = (*place, number) if layout.is_long else (*place, joint, number)
            if axis in has:
                values[where] = columns[has[axis]]
            elif axis == "c":
                values[where] = 1.0
    return values


def _by_appearance(values: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The different values in the order in which they first appear, and the number of each row's."""
    known, first, number = np.unique(values.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(known), int)
    rank[order] = np.arange(len(known))
    return known[order].tolist(), rank[number]


def _numbered(columns: Mapping[str, np.ndarray], layout: Layout, role: str, rows: int) -> np.ndarray:
    return _by_appearance(columns[layout.roles[role]])[1] if role in layout.roles else np.zeros(rows, int)


def _frames(
    path: Path,
    where: str,
    layout: Layout,
    columns: Mapping[str, np.ndarray],
    rows: int,
    persons: np.ndarray,
    joint_of_row: np.ndarray | None,
) -> tuple[np.ndarray, int, float | None]:
    """The frame of each row, how many there are, and their rate where a time column says it."""
    told = [columns[layout.roles[role]] for role in ("frame", "time") if role in layout.roles]
    if not told:
        if joint_of_row is not None:
            raise problem(path, where, "no frame column", "frame or time in each row", "add a column named frame")
        number = np.zeros(rows, int)
        for person in np.unique(persons):
            number[persons == person] = np.arange((persons == person).sum())
        return number, int(number.max()) + 1, None
    if not all(np.isfinite(column).all() for column in told):
        raise problem(path, where, "a row without frame or time", "a number in each row")
    known, number = np.unique(told[0], return_inverse=True)
    by_name = "frame" in layout.roles
    if len(known) > 1:
        steps = np.diff(known)
        step = float(steps.min() if by_name else np.median(steps))
        spread = np.rint((known - known[0]) / step)
        if by_name and spread[-1] > _MAX_GAPS * len(known) + 100:
            raise problem(path, where, f"frames {known[0]:g} to {known[-1]:g} in {len(known)} rows", "few gaps between")
        if spread[-1] <= _MAX_GAPS * len(known) + 100 and (np.diff(spread) > 0).all():
            number, known = spread.astype(int)[number], spread
    count = int(number.max()) + 1
    return number, count, _rate(layout, columns, number) if "time" in layout.roles else None


def _rate(layout: Layout, columns: Mapping[str, np.ndarray], frames: np.ndarray) -> float | None:
    """Frames per second by the time column, in the one unit in which cameras have such a rate."""
    time = columns[layout.roles["time"]]
    first, last = frames.argmin(), frames.argmax()
    span = float(time[last] - time[first])
    if not np.isfinite(span) or span <= 0 or frames[last] == frames[first]:
        return None
    for unit_s in _TIME_UNITS_S:
        fps = float(frames[last] - frames[first]) / span / unit_s
        if _USUAL_FPS[0] <= fps <= _USUAL_FPS[1]:
            return round(fps, 3)
    return None


def _said_rate(path: Path, where: str, layout: Layout, columns: Mapping[str, np.ndarray]) -> float | None:
    if "fps" not in layout.roles:
        return None
    rates = np.unique(columns[layout.roles["fps"]])
    if len(rates) != 1 or not 0 < rates[0] <= MAX_FPS:
        raise problem(
            path, where, f"fps {brief(rates.tolist())}", f"one number in a clip, 0 to {MAX_FPS}", "correct it"
        )
    return float(rates[0])


def _check_once(path: Path, where: str, place: tuple[np.ndarray, ...], shape: tuple[int, ...]) -> None:
    flat = np.ravel_multi_index(place, shape)
    if len(np.unique(flat)) < len(flat):
        order = np.argsort(flat, kind="stable")
        twice = int(order[1:][np.diff(flat[order]) == 0][0])
        raise problem(
            path, f"{where + ', ' if where else ''}row {twice + 1}", "a frame twice", "each once", "remove one"
        )


def _only(path: Path, where: str, layout: Layout, columns: Mapping[str, np.ndarray], role: str) -> str | None:
    """The one value of a column that speaks of the whole clip."""
    if role not in layout.roles:
        return None
    values = sorted({str(value) for value in columns[layout.roles[role]].tolist() if value not in (None, "")})
    if len(values) > 1:
        raise problem(
            path, where, f"{role} {brief(values[0])} and {brief(values[1])}", "one in a clip", "add a column named clip"
        )
    return values[0] if values else None
