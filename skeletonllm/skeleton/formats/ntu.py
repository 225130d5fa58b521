"""NTU RGB+D `.skeleton` files: text written by Kinect v2, 25 joints, several bodies per frame, 30 fps.

A frame lists the bodies seen in it under tracking ids. A body that is lost and found again has a new id.
Source: Shahroudy et al. (2016) and the data set's own reader.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from skeletonllm.skeleton.clip import Clip, Source, mask_unseen
from skeletonllm.skeleton.formats.common import Declared, Format, brief, nobody, problem, read_text
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 30.0
MAX_PERSONS = 2
_TOPOLOGY = TOPOLOGIES["kinect_v2_25"]
_NUM_JOINTS = 25
_JOINT_NUMBERS = 12
_BODY_NUMBERS = 10
_STATE_CONFIDENCE = np.array((0.0, 0.5, 1.0))  # not tracked, inferred, tracked
_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
_SAME_PERSON_M = 0.7  # farther than this nobody goes while the sensor has lost them for a moment


@dataclass
class _Track:
    """One body id: the frames in which it was seen, and its joints there."""

    frames: list[int] = field(default_factory=list)
    joints: list[np.ndarray] = field(default_factory=list)  # 25 x 4: x, y, z, state

    @property
    def motion(self) -> float:
        """How much the body moves, weighted by how long it is seen: a chair does not."""
        return float(np.stack(self.joints)[:, :, :3].std(0).sum()) * len(self.frames)


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

    Kinect's frame is kept: right-handed, metres, +y up. Tracking state 0, 1, 2 gives confidence 0, 0.5, 1.

    Raises:
        FormatError: a line is not what the format promises, or nobody was seen.
    """
    num_frames, tracks = _parse(path, read_text(path).rstrip().split("\n"))
    if not tracks:
        raise nobody(path, "", f"{num_frames} frames without any body", "a body")
    persons = _join(sorted(tracks.values(), key=lambda track: -track.motion))[:MAX_PERSONS]
    joints = np.zeros((len(persons), num_frames, _NUM_JOINTS, 4))
    for person, track in enumerate(persons):
        joints[person, track.frames] = np.stack(track.joints)
    states = joints[..., 3].astype(int)
    if not ((states >= 0) & (states <= 2)).all():
        raise problem(path, "", f"tracking states {sorted(set(states.flat))}", "0, 1 or 2")
    positions, confidence = mask_unseen(
        joints[..., :3].astype(np.float32), _STATE_CONFIDENCE[states].astype(np.float32)
    )
    if not confidence.any():
        raise nobody(path, "", "no joint that was tracked")
    return [Clip(path.stem, _TOPOLOGY, positions, confidence, FPS, source=source_of(path.stem))]


def _parse(path: Path, lines: list[str]) -> tuple[int, dict[str, _Track]]:
    """Frames in the file, and what was seen under each body id."""
    num_frames = _count(path, lines, 0, "the number of frames")
    if num_frames == 0:
        raise nobody(path, "line 1", 0, "at least one frame")
    tracks: dict[str, _Track] = {}
    at = 1
    for frame in range(num_frames):
        num_bodies = _count(path, lines, at, f"the number of bodies in frame {frame}")
        at += 1
        for _ in range(num_bodies):
            header = lines[at].split() if at < len(lines) else []
            if len(header) != _BODY_NUMBERS:
                raise problem(path, f"line {at + 1}", f"{len(header)} values", f"{_BODY_NUMBERS} values of a body")
            num_joints = _count(path, lines, at + 1, "the number of joints")
            if num_joints != _NUM_JOINTS:
                raise problem(path, f"line {at + 2}", f"{num_joints} joints", f"{_NUM_JOINTS}")
            track = tracks.setdefault(header[0], _Track())
            if track.frames and track.frames[-1] == frame:
                raise problem(path, f"line {at + 1}", f"body {header[0]} twice in frame {frame}", "each body once")
            track.frames.append(frame)
            track.joints.append(_joints(path, lines, at + 2))
            at += 2 + _NUM_JOINTS
    if at < len(lines):
        raise problem(path, f"line {at + 1}", f"{len(lines) - at} lines more", f"the end after {num_frames} frames")
    return num_frames, tracks


def _count(path: Path, lines: list[str], at: int, what: str) -> int:
    if at >= len(lines):
        raise problem(path, f"line {at + 1}", "the end of the file", what)
    word = lines[at].strip()
    if not word.isdigit():
        raise problem(path, f"line {at + 1}", brief(word), what)
    return int(word)


def _joints(path: Path, lines: list[str], at: int) -> Float64[np.ndarray, "joints 4"]:
    """Position and tracking state of the 25 joints from line `at`."""
    block = lines[at : at + _NUM_JOINTS]
    try:
        numbers = np.array(" ".join(block).split(), np.float64).reshape(_NUM_JOINTS, _JOINT_NUMBERS)
        return numbers[:, (0, 1, 2, 11)]
    except ValueError:
        for number, line in enumerate(block, at + 1):
            if len(line.split()) != _JOINT_NUMBERS:
                raise problem(path, f"line {number}", f"{len(line.split())} values", "12 values of a joint") from None
        if len(block) < _NUM_JOINTS:
            raise problem(path, f"line {len(lines)}", "the end of the file", "25 lines of joints") from None
        raise problem(path, f"lines {at + 1} to {at + _NUM_JOINTS}", "a word", "12 numbers in each line") from None


def _join(tracks: list[_Track]) -> list[_Track]:
    """Tracks of the same person under several ids made one: they never overlap, and meet in space."""
    persons: list[_Track] = []
    for track in tracks:
        for person in persons:
            if _continues(person, track):
                pairs = sorted(
                    zip(person.frames + track.frames, person.joints + track.joints, strict=True), key=lambda p: p[0]
                )
                person.frames, person.joints = [f for f, _ in pairs], [j for _, j in pairs]
                break
        else:
            persons.append(_Track(list(track.frames), list(track.joints)))
    return sorted(persons, key=lambda person: -person.motion)


def _continues(person: _Track, track: _Track) -> bool:
    if set(person.frames) & set(track.frames):
        return False
    before, after = (person, track) if person.frames[-1] < track.frames[0] else (track, person)
    if before.frames[-1] > after.frames[0]:
        return False
    gap = after.joints[0][0, :3] - before.joints[-1][0, :3]
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


FORMAT = Format("ntu", (".skeleton",), "NTU RGB+D skeleton file (Kinect v2, 25 joints)", sniff, read)
