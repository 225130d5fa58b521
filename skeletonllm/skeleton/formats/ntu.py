"""NTU RGB+D `.skeleton` files: text written by Kinect v2, 25 joints, several bodies per frame, 30 fps.

A frame lists the bodies seen in it under tracking ids. A body that is lost and found again has a new id.
Source: Shahroudy et al. (2016) and the data set's own reader.
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import (
    Declared,
    Format,
    brief,
    build_clip,
    nobody,
    problem,
    read_bytes,
    read_text,
)
from skeletonllm.skeleton.formats.kinect import turns_leaving
from skeletonllm.skeleton.formats.numbers import parse_numbers
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
MAX_PERSONS = 2
_TOPOLOGY = TOPOLOGIES["kinect_v2_25"]
_NUM_JOINTS = 25
_JOINT_NUMBERS = 12
_BODY_NUMBERS = 10
_BODY_LENGTH = _BODY_NUMBERS + 1 + _NUM_JOINTS * _JOINT_NUMBERS
_TURN, _STATE = slice(7, 11), 11  # of the 12 numbers of a joint
_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_BRIEF_FRAMES = 11
_LARGEST_QUATERNION = 1.1  # 1, and what rounding adds
_SAME_PERSON_M = 0.7  # farther than this nobody goes while the sensor has lost them for a moment


@dataclass(frozen=True)
class _Track:
    """One body id, or several of the same person: the frames in which it was seen, and its joints there.

    Args:
        frames: increasing frame numbers, `[seen]`.
        joints: x, y, z (metres), four pixels, w, x, y, z of the orientation, tracking state: `[seen, 25, 12]`.
    """

    frames: np.ndarray
    joints: np.ndarray

    @functools.cached_property
    def motion(self) -> float:
        """How much the body moves, weighted by how long it is seen: a chair does not."""
        return float(self.joints[..., :3].std(0).sum()) * len(self.frames)

    @property
    def is_ghost(self) -> bool:
        """Whether it is furniture or a reflection rather than a second person: seen too briefly, or wider than high.

        Source: limits of the usual denoising of this data set (11 frames; 0.8 times as wide as high in 70 % of them).
        """
        width, height = np.moveaxis(np.ptp(self.joints[..., :2], axis=1), -1, 0)
        return len(self.frames) <= _BRIEF_FRAMES or float((width > 0.8 * height).mean()) >= 0.7


def action_number(name: str) -> int | None:
    """The action's number (from 1) in a file name of the data set."""
    match = _NAME.search(name)
    return int(match[5]) if match else None


def source_of(name: str) -> Source:
    """Setup, camera, performer and repetition from a file name of the data set; empty where it has another name."""
    match = _NAME.search(name)
    if match is None:
        return Source(format="ntu", fps_from="format", space="m, +y up")
    setup, camera, performer, repetition, _ = match.groups()
    return Source(
        format="ntu",
        fps_from="format",
        space="m, +y up",
        subject=f"P{performer}",
        camera=str(int(camera)),
        setup=str(int(setup)),
        repetition=str(int(repetition)),
    )


def sniff(path: Path, head: bytes) -> bool:
    """Frame count, body count, then the ten numbers of a body, or another frame without bodies."""
    lines = head.split(b"\n")[:3]
    if len(lines) < 2 or not all(line.strip().isdigit() for line in lines[:2]):
        return False
    if int(lines[1]) == 0:
        return len(lines) < 3 or lines[2].strip().isdigit() or path.suffix == ".skeleton"
    return len(lines) == 3 and len(lines[2].split()) == _BODY_NUMBERS


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file: at most two persons, the one who moves most first.

    Kinect's frame is kept: right-handed, metres, +y up. Tracking state 0, 1, 2 gives confidence 0, 0.5, 1. Kinect tells
    the orientation of the bone that ends in a joint; a clip's rotations are those of the bones that leave it.

    Raises:
        FormatError: a line is not what the format promises, or nobody was seen.
    """
    data = read_bytes(path)
    try:
        num_frames, tracks = _tracks(data)
    except _NotSoError:
        raise _damage(path) from None
    if not tracks:
        raise nobody(path, "", f"{num_frames} frames without any body", "a body")
    persons = _persons(tracks)
    if len(persons) == 1 and len(persons[0].frames) == num_frames:
        joints = persons[0].joints[None]
    else:
        joints = np.zeros((len(persons), num_frames, _NUM_JOINTS, _JOINT_NUMBERS))
        for person, track in enumerate(persons):
            joints[person, track.frames] = track.joints
    states = joints[..., _STATE]
    if not ((states == 0) | (states == 1) | (states == 2)).all():
        raise problem(path, "", f"tracking states {sorted(set(states.flat))[:5]}", "0, 1 or 2")
    orientations = joints[..., _TURN]
    largest = np.abs(orientations).max()
    if np.isnan(largest):
        orientations = np.nan_to_num(orientations)
        largest = np.abs(orientations).max()
    if largest > _LARGEST_QUATERNION:
        raise problem(path, "", f"an orientation with a part of {largest:.3g}", "unit quaternions")
    return [
        build_clip(
            path,
            path.stem,
            _TOPOLOGY,
            joints[..., :3],
            (states / 2).astype(np.float32),
            fps=FPS,
            source=source_of(path.stem),
            rotations=turns_leaving(orientations) if largest > 0 else None,
        )
    ]


class _NotSoError(Exception):
    """The numbers do not follow the format; `_damage` finds out where."""


def _tracks(data: bytes) -> tuple[int, list[_Track]]:
    """Frames in the file, and what was seen under each body id.

    Raises:
        _NotSoError: the counts in the file do not lead to its end.
    """
    try:
        numbers = parse_numbers(data)
        num_frames, frames, starts = _bodies(numbers)
    except (ValueError, IndexError, OverflowError):
        raise _NotSoError from None
    if not len(frames):
        return num_frames, []
    joints = _joints(numbers, starts)
    ids = _ids(data, numbers, frames, starts)
    if not ids.any() and len(starts) == num_frames:
        return num_frames, [_Track(frames, joints)]
    tracks = []
    for body in np.unique(ids):
        own = ids == body
        if (np.diff(frames[own]) == 0).any():
            raise _NotSoError
        tracks.append(_Track(frames[own], joints[own]))
    return num_frames, tracks


def _joints(numbers: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The numbers of the joints of each body, `[bodies, 25, 12]`: a view where each frame has one body."""
    length = 1 + _BODY_LENGTH
    if len(numbers) == 1 + len(starts) * length:
        return (
            numbers[1:]
            .reshape(-1, length)[:, length - _NUM_JOINTS * _JOINT_NUMBERS :]
            .reshape(-1, _NUM_JOINTS, _JOINT_NUMBERS)
        )
    places = starts[:, None] + np.arange(_BODY_LENGTH - _NUM_JOINTS * _JOINT_NUMBERS, _BODY_LENGTH)
    return numbers[places].reshape(-1, _NUM_JOINTS, _JOINT_NUMBERS)


def _bodies(numbers: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """Frames in the file; the frame of each body, and where its first number stands."""
    num_frames, at = _whole(numbers.item(0)), 1
    frames: list[int] = []
    starts: list[int] = []
    if num_frames < 1:
        raise ValueError("no frame")
    regular = _same_in_every_frame(numbers, num_frames)
    if regular is not None:
        return num_frames, *regular
    for frame in range(num_frames):
        num_bodies = _whole(numbers.item(at))
        at += 1
        for _ in range(num_bodies):
            if numbers.item(at + _BODY_NUMBERS) != _NUM_JOINTS:
                raise ValueError("not 25 joints")
            frames.append(frame)
            starts.append(at)
            at += _BODY_LENGTH
    if at != len(numbers):
        raise ValueError("the file is longer or shorter than its counts say")
    return num_frames, np.array(frames), np.array(starts)


def _same_in_every_frame(numbers: np.ndarray, num_frames: int) -> tuple[np.ndarray, np.ndarray] | None:
    """What `_bodies` says, at once, where all frames have as many bodies; None where they have not."""
    num_bodies = _whole(numbers.item(1))
    length = 1 + num_bodies * _BODY_LENGTH
    if len(numbers) != 1 + num_frames * length:
        return None
    counts = 1 + np.arange(num_frames) * length
    starts = (counts[:, None] + 1 + np.arange(num_bodies) * _BODY_LENGTH).ravel()
    if (numbers[counts] != num_bodies).any() or (numbers[starts + _BODY_NUMBERS] != _NUM_JOINTS).any():
        return None
    return np.repeat(np.arange(num_frames), num_bodies), starts


def _whole(number: float) -> int:
    if number < 0 or number != int(number):
        raise ValueError(f"{number} is no count")
    return int(number)


def _ids(data: bytes, numbers: np.ndarray, frames: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """A number for each body id. Ids have 17 digits, more than a float keeps, so they are compared as text."""
    first = data.split(None, 3)[2] if frames[0] == 0 else b""
    if first and data.count(b"\n" + first + b" ") == len(starts):
        return np.zeros(len(starts), int)
    lines = data.split(b"\n")
    # Before a body: the file's line, one line for each frame up to its own, and the lines of earlier bodies.
    at = 1 + (frames + 1) + np.arange(len(starts)) * (2 + _NUM_JOINTS)
    if at[-1] >= len(lines):
        raise _NotSoError
    words = [lines[line].split(None, 1)[:1] for line in at.tolist()]
    if any(not word for word in words):
        raise _NotSoError
    known = {word: number for number, word in enumerate(dict.fromkeys(word for (word,) in words))}
    return np.array([known[word] for (word,) in words])


def _damage(path: Path) -> FormatError:
    """What is wrong with a file, line by line: slow, and only for files that are."""
    lines = read_text(path).rstrip().split("\n")
    try:
        num_frames = _count(path, lines, 0, "the number of frames")
        if num_frames == 0:
            return nobody(path, "line 1", 0, "at least one frame")
        at = 1
        for frame in range(num_frames):
            num_bodies = _count(path, lines, at, f"the number of bodies in frame {frame}")
            at += 1
            ids = set()
            for _ in range(num_bodies):
                ids.add(_check_body(path, lines, at, ids, frame))
                at += 2 + _NUM_JOINTS
    except FormatError as error:
        return error
    if at < len(lines):
        return problem(path, f"line {at + 1}", f"{len(lines) - at} lines more", f"the end after {num_frames} frames")
    return problem(path, "", "numbers that are too many or too few", "12 in each line of a joint")


def _check_body(path: Path, lines: Sequence[str], at: int, ids: set[str], frame: int) -> str:
    header = lines[at].split() if at < len(lines) else []
    if len(header) != _BODY_NUMBERS:
        raise problem(path, f"line {at + 1}", f"{len(header)} values", f"{_BODY_NUMBERS} values of a body")
    if header[0] in ids:
        raise problem(path, f"line {at + 1}", f"body {brief(header[0])} twice in frame {frame}", "each body once")
    num_joints = _count(path, lines, at + 1, "the number of joints")
    if num_joints != _NUM_JOINTS:
        raise problem(path, f"line {at + 2}", f"{num_joints} joints", f"{_NUM_JOINTS}")
    for number in (at, *range(at + 2, at + 2 + _NUM_JOINTS)):
        if number >= len(lines):
            raise problem(path, f"line {len(lines)}", "the end of the file", "25 lines of joints")
        words = lines[number].split()
        if number > at and len(words) != _JOINT_NUMBERS:
            raise problem(path, f"line {number + 1}", f"{len(words)} values", "12 values of a joint")
        for word in words:
            try:
                float(word)
            except ValueError:
                raise problem(path, f"line {number + 1}", brief(word), "a number") from None
    return header[0]


def _count(path: Path, lines: Sequence[str], at: int, what: str) -> int:
    if at >= len(lines):
        raise problem(path, f"line {at + 1}", "the end of the file", what)
    word = lines[at].strip()
    if not (word.isascii() and word.isdigit() and len(word) < 10):
        raise problem(path, f"line {at + 1}", brief(word), what)
    return int(word)


def _persons(tracks: Sequence[_Track]) -> list[_Track]:
    """One or two persons, the one who moves most first; a second one that is a ghost is left out."""
    if len(tracks) == 1:
        return list(tracks)
    persons = _join(sorted(tracks, key=lambda track: -track.motion))
    return [persons[0], *(person for person in persons[1:] if not person.is_ghost)][:MAX_PERSONS]


def _join(tracks: Sequence[_Track]) -> list[_Track]:
    """Tracks of the same person under several ids made one: they never overlap, and meet in space."""
    persons: list[_Track] = []
    for track in tracks:
        for number, person in enumerate(persons):
            if _continues(person, track):
                frames = np.concatenate((person.frames, track.frames))
                order = np.argsort(frames)
                persons[number] = _Track(frames[order], np.concatenate((person.joints, track.joints))[order])
                break
        else:
            persons.append(track)
    return sorted(persons, key=lambda person: -person.motion)


def _continues(person: _Track, track: _Track) -> bool:
    before, after = (person, track) if person.frames[-1] < track.frames[0] else (track, person)
    if before.frames[-1] >= after.frames[0]:
        return False
    gap = after.joints[0, 0, :3] - before.joints[-1, 0, :3]
    return float(np.linalg.norm(gap)) < _SAME_PERSON_M


def write(clip: Clip, path: Path, first_body_id: int = 72057594037931101) -> None:
    """A clip in the sensor's frame as Kinect v2 would write it.

    A person of whom no joint is seen in a frame is not listed there, and comes back under a new id. A joint with
    confidence 0 has state 0, below 0.75 state 1, else 2. Bone orientations are not written (zeros).

    Raises:
        DataError: the topology is another one.
    """
    if clip.topology is not _TOPOLOGY:
        raise problem(path, "", f"topology {clip.topology.name}", _TOPOLOGY.name, "convert the clip first")
    rows = _joint_rows(clip)
    listed = np.any(clip.confidence > 0, axis=-1)
    row_format = "%.7g %.7g %.7g %.7g %.7g %.7g %.7g 0 0 0 0 %d\r\n" * _NUM_JOINTS
    ids = [first_body_id + 1000 * person for person in range(clip.num_persons)]
    out = [f"{clip.num_frames}\r\n"]
    for frame in range(clip.num_frames):
        out.append(f"{listed[:, frame].sum()}\r\n")
        for person in np.flatnonzero(listed[:, frame]).tolist():
            if frame and not listed[person, frame - 1]:
                ids[person] += 17
            out.append(f"{ids[person]} 0 1 1 1 1 0 0 0 2\r\n{_NUM_JOINTS}\r\n")
            out.append(row_format % tuple(rows[person, frame].ravel().tolist()))
    path.write_bytes("".join(out).encode())


def _joint_rows(clip: Clip) -> np.ndarray:
    """x, y, z, depth pixel, colour pixel, state of every joint: `[persons, frames, 25, 8]`."""
    x, y, z = np.moveaxis(clip.positions.astype(np.float64), -1, 0)
    ahead = np.maximum(z, 0.1)
    # Usual intrinsics of the depth camera (512 x 424) and the colour camera (1920 x 1080).
    depth = 256 + 366 * x / ahead, 212 - 366 * y / ahead
    colour = 960 + 1063 * x / ahead, 540 - 1063 * y / ahead
    state = np.select([clip.confidence <= 0, clip.confidence < 0.75], [0.0, 1.0], 2.0)
    return np.stack((x, y, z, *depth, *colour, state), axis=-1)


FORMAT = Format(
    "ntu",
    (".skeleton",),
    "NTU RGB+D skeleton file (Kinect v2, 25 joints)",
    sniff,
    read,
    origin="NTU RGB+D and NTU RGB+D 120, ROSE Lab, Nanyang Technological University; on request, for academic use",
)
