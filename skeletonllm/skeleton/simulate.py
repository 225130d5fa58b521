"""The sample data that the project ships as code: simulated performers, recorded as sensors of five formats would.

Here is who is recorded doing what, in which format and by which camera; everything follows from a seed.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import bvh, humanml3d, ntu, nwucla, pyskl
from skeletonllm.skeleton.kinematics import quaternion_product, rotate_y
from skeletonllm.skeleton.motions import MOTIONS
from skeletonllm.skeleton.performers import (
    ACTIONS,
    CONFUSABLE,
    TWO_PERSONS,
    captions_of,
    perform,
    performer_name,
)
from skeletonllm.skeleton.topologies import TOPOLOGIES

__all__ = ["ACTIONS", "CONFUSABLE", "FORMATS_WRITTEN", "TWO_PERSONS", "perform", "write_sample_data"]

FORMATS_WRITTEN: tuple[str, ...] = ("ntu", "nwucla", "pyskl", "humanml3d", "bvh")

_VERSION = 1  # of what the same seed gives
_CAMERA_YAWS = {1: -0.7, 2: 0.0, 3: 0.7}  # radians; the first person faces camera 2
_EVERY_CAMERA = 8  # every eighth performer is filmed by all three cameras at once
_PARTS_OF_SPEECH = {
    **dict.fromkeys(("a", "the", "both", "somebody", "someone", "something"), "DET"),
    **dict.fromkeys(("with", "from", "to", "of", "over", "in", "onto", "at", "up", "down", "while", "behind"), "ADP"),
    **dict.fromkeys(("and", "then", "again", "there", "away", "forward", "ahead", "backwards", "high"), "ADV"),
    **dict.fromkeys(("left", "right", "straight", "seated", "upper", "hanging", "one", "first"), "ADJ"),
}  # fmt: skip


@dataclass(frozen=True)
class Recording:
    """One clip to be written."""

    format: str
    action: str
    performer: int
    repetition: int
    camera: int
    clip_id: str
    file: str


def write_sample_data(
    folder: Path,
    num_performers: int = 16,
    repetitions: int = 1,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write recordings of simulated performers in five formats, with labels; files that are there are kept.

    Each format has its folder with `labels.csv`; where the format holds numbers, `actions.txt` names them. Equal
    arguments give equal bytes. Killed at any moment and run again, it goes on.

    Args:
        folder: made if it is missing.
        num_performers: each is recorded in every format.
        repetitions: of each action, per performer and format.
        seed: of everything random.
        progress: called with the clips done and the clips in all.

    Returns:
        Clips in the folder.

    Raises:
        ConfigError: a number cannot be, or the folder holds sample data made with other settings.
        OSError: the disk is full, or the folder cannot be written.
    """
    if not (1 <= num_performers <= 99 and 1 <= repetitions <= 9):
        raise ConfigError(
            f"sample data: {num_performers} performers and {repetitions} repetitions; 1 to 99 and 1 to 9 are possible"
        )
    settings = {"version": _VERSION, "performers": num_performers, "repetitions": repetitions, "seed": seed}
    _claim(folder, settings)
    plan = list(_plan(num_performers, repetitions))
    files: dict[str, list[Recording]] = {}
    for recording in plan:
        files.setdefault(recording.file, []).append(recording)
    _write_labels(folder, plan, seed)
    done = 0
    for file, recordings in files.items():
        if not (folder / file).exists():
            _write_recordings(folder / file, recordings, seed)
        done += len(recordings)
        if progress is not None:
            progress(done, len(plan))
    return len(plan)


def _claim(folder: Path, settings: dict[str, int]) -> None:
    """Refuse to mix two sample data sets in one folder."""
    note = folder / "sample-data.json"
    text = json.dumps(settings, sort_keys=True) + "\n"
    if note.exists() and note.read_text() != text:
        raise ConfigError(
            f"{folder}: holds sample data made with {note.read_text().strip()}, asked for {text.strip()}; "
            "give another folder, or delete this one"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _write_file(note, lambda path: path.write_text(text))


def _plan(num_performers: int, repetitions: int) -> Iterator[Recording]:
    for format in FORMATS_WRITTEN:
        for performer in range(num_performers):
            for number in range(len(ACTIONS)):
                # Motion capture is rare: two thirds of the others' clips.
                if format == "bvh" and (performer + number) % 3 == 0:
                    continue
                for repetition in range(repetitions):
                    one = (performer + number + repetition) % 3 + 1
                    several = format == "ntu" and performer % _EVERY_CAMERA == 0
                    for camera in (1, 2, 3) if several else (one,):
                        yield _recording(format, number, performer, repetition, camera, len(ACTIONS) * repetitions)


def _recording(format: str, number: int, performer: int, repetition: int, camera: int, per_person: int) -> Recording:
    action, name = ACTIONS[number], performer_name(performer)
    plain = f"{name}-{action.replace(' ', '_')}-{repetition + 1}"
    if format == "ntu":
        clip_id = f"S001C{camera:03d}{name}R{repetition + 1:03d}A{number + 1:03d}"
        file = f"ntu/{clip_id}.skeleton"
    elif format == "nwucla":
        clip_id = f"a{number + 1:02d}_s{performer + 1:02d}_e{repetition:02d}_v{camera:02d}"
        file = f"nwucla/{clip_id}.json"
    elif format == "pyskl":
        clip_id, file = f"{plain}-c{camera}", f"pyskl/{name}.pkl"
    elif format == "humanml3d":
        clip_id = f"{performer * per_person + number * (per_person // len(ACTIONS)) + repetition:06d}"
        file = f"humanml3d/new_joints/{clip_id}.npy"
    else:
        clip_id, file = plain, f"bvh/{plain}.bvh"
    return Recording(format, action, performer, repetition, camera, clip_id, file)


def _write_labels(folder: Path, plan: list[Recording], seed: int) -> None:
    """labels.csv of each format, and actions.txt where clips are labelled by number."""
    for format in FORMATS_WRITTEN:
        lines = ["clip_id,action,subject,camera,caption"]
        for item in (item for item in plan if item.format == format):
            camera = str(item.camera) if format in ("ntu", "nwucla", "pyskl") else ""
            caption = captions_of(item.action, item.performer, seed)[0]
            lines.append(f'{item.clip_id},{item.action},{performer_name(item.performer)},{camera},"{caption}"')
        text = "\n".join(lines) + "\n"
        (folder / format).mkdir(exist_ok=True)
        _write_file(folder / format / "labels.csv", lambda path, text=text: path.write_text(text))
        if format in ("ntu", "nwucla", "pyskl"):
            names = "".join(f"{action}\n" for action in ACTIONS)
            _write_file(folder / format / "actions.txt", lambda path, names=names: path.write_text(names))


def _write_recordings(path: Path, recordings: list[Recording], seed: int) -> None:
    """All clips of one file; it exists only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clips = [_record(item, seed) for item in recordings]
    number = ACTIONS.index(recordings[0].action)
    match recordings[0].format:
        case "ntu":
            _write_file(path, lambda temporary: ntu.write(clips[0], temporary))
        case "nwucla":
            _write_file(path, lambda temporary: nwucla.write(clips[0], temporary, number + 1, path.stem))
        case "pyskl":
            labels = [ACTIONS.index(item.action) for item in recordings]
            _write_file(path, lambda temporary: pyskl.write(clips, temporary, labels, sensors.IMAGE_PX))
        case "humanml3d":
            texts = path.parent.parent / "texts" / f"{path.stem}.txt"
            texts.parent.mkdir(exist_ok=True)
            lines = humanml3d.caption_lines(clips[0].captions, _parts_of_speech())
            _write_file(texts, lambda temporary: temporary.write_text(lines))
            _write_file(path, lambda temporary: humanml3d.write(clips[0], temporary))
        case _:
            _write_file(path, lambda temporary: bvh.write(clips[0], temporary))


def _parts_of_speech() -> dict[str, str]:
    verbs = {text.split()[2] for motion in MOTIONS.values() for text in motion.captions if text.startswith("a person")}
    verbs |= {text.split()[1] for motion in MOTIONS.values() for text in motion.captions if text.startswith("someone")}
    return {**dict.fromkeys(verbs, "VERB"), **_PARTS_OF_SPEECH}


def _write_file(path: Path, write: Callable[[Path], object]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _record(item: Recording, seed: int) -> Clip:
    """The performance as the sensor of its format would record it."""
    place = FORMATS_WRITTEN.index(item.format)
    rng = np.random.default_rng(
        (seed, 4, place, item.performer, ACTIONS.index(item.action), item.repetition, item.camera)
    )
    fps = {"humanml3d": humanml3d.FPS, "bvh": 60.0}.get(item.format, 30.0)
    # Nobody is recorded twice in the same movement, except by the cameras of one session.
    clip = perform(item.action, item.performer, 100 * place + item.repetition, seed, fps)
    clip = replace(clip, clip_id=item.clip_id)
    match item.format:
        case "ntu":
            seen = sensors.before_camera(sensors.convert(clip, TOPOLOGIES["kinect_v2_25"]), _view(item, rng))
            return sensors.with_losses(sensors.with_noise(seen, rng, 0.006), rng)
        case "nwucla":
            seen = sensors.convert(_alone(clip), TOPOLOGIES["kinect_v1_20"])
            seen = sensors.before_camera(seen, _view(replace(item, action=ACTIONS[0]), rng))
            return sensors.with_losses(sensors.with_noise(seen, rng, 0.009), rng, lost=0.03)
        case "pyskl":
            seen = sensors.with_noise(sensors.photograph(clip, _view(item, rng)), rng, 2.0)
            seen = replace(seen, positions=seen.positions * np.array((1, 1, 0), np.float32))
            return sensors.with_scores(sensors.with_losses(seen, rng, lost=0.04), rng)
        case "humanml3d":
            return sensors.with_noise(sensors.convert(_alone(clip), TOPOLOGIES["smpl_22"]), rng, 0.002)
        case _:
            return _somewhere(sensors.as_mocap(clip), rng)


def _view(item: Recording, rng: np.random.Generator) -> sensors.View:
    yaw = _CAMERA_YAWS[item.camera] + rng.uniform(-0.2, 0.2)
    if item.action in TWO_PERSONS:
        # Two persons are filmed from the side, or they would hide each other.
        yaw = float(rng.choice((-1, 1))) * np.pi / 2 + yaw * 0.7
    return sensors.View(
        yaw=float(yaw),
        distance_m=float(rng.uniform(2.8, 3.8)),
        height_m=float(rng.uniform(0.9, 1.4)),
        shift_m=float(rng.uniform(-0.4, 0.4)),
    )


def _alone(clip: Clip) -> Clip:
    """The first person: all that a format of one person can hold."""
    rotations = None if clip.rotations is None else clip.rotations[:1]
    return replace(clip, positions=clip.positions[:1], confidence=clip.confidence[:1], rotations=rotations)


def _somewhere(clip: Clip, rng: np.random.Generator) -> Clip:
    """In a motion capture hall people stand anywhere and face anywhere."""
    yaw = float(rng.uniform(-np.pi, np.pi))
    place = np.array((rng.uniform(-1.5, 1.5), 0, rng.uniform(-1.5, 1.5)), np.float32)
    turn = np.array([np.cos(yaw / 2), 0, np.sin(yaw / 2), 0], np.float32)
    assert clip.rotations is not None
    positions = (rotate_y(clip.positions, yaw) + place).astype(np.float32)
    return replace(clip, positions=positions, rotations=quaternion_product(turn, clip.rotations).astype(np.float32))
