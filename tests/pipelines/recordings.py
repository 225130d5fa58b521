"""Small NTU recordings for tests of the ingest: a few milliseconds each to read."""

from pathlib import Path

from skeletonllm.skeleton.formats import ntu
from tests.makers import make_clip


def ntu_name(number: int, action: int = 1) -> str:
    """A name as in the data set, one per number."""
    return f"S{number // 40 % 17 + 1:03d}C001P{number % 40 + 1:03d}R{number // 680 + 1:03d}A{action:03d}.skeleton"


def write_recordings(folder: Path, numbers: range | list[int], num_frames: int = 3) -> list[Path]:
    """Recordings of one person who stands about."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in numbers:
        clip = make_clip(topology="kinect_v2_25", num_frames=num_frames, seed=number)
        paths.append(folder / ntu_name(number))
        ntu.write(clip, paths[-1])
    return paths


def write_nobody(path: Path, num_frames: int = 3) -> Path:
    """A recording in which the sensor saw nobody."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{num_frames}\n" + "0\n" * num_frames)
    return path


def write_cut(path: Path) -> Path:
    """A recording whose second half is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ntu.write(make_clip(topology="kinect_v2_25", num_frames=3), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path
