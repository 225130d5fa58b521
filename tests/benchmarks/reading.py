"""How fast NTU's text is read, beside the usual readers of the field and a plain parse of the same bytes as numbers.

Real recordings where they are at hand, simulated ones elsewhere; CPU time, the smallest of several runs.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from skeletonllm.skeleton.formats import Declared, ntu
from skeletonllm.skeleton.formats.numbers import parse_numbers
from skeletonllm.skeleton.simulate import write_sample_data
from tests.benchmarks.measure import Row

REAL = Path(__file__).parents[3] / "shared" / "data" / "ntu_skeleton"
_FIELDS = ("x", "y", "z", "depth_x", "depth_y", "color_x", "color_y", "w", "qx", "qy", "qz", "state")


def token_by_token(data: bytes) -> dict[str, list[np.ndarray]]:
    """The usual reader: a line at a time, each word a Python float, each joint a dictionary."""
    lines = iter(data.decode().splitlines())
    bodies: dict[str, list[np.ndarray]] = {}
    for _ in range(int(next(lines))):
        for _ in range(int(next(lines))):
            name = next(lines).split()[0]
            joints = [dict(zip(_FIELDS, map(float, next(lines).split()), strict=True)) for _ in range(int(next(lines)))]
            bodies.setdefault(name, []).append(np.array([[joint["x"], joint["y"], joint["z"]] for joint in joints]))
    return bodies


def array_by_array(data: bytes) -> dict[str, list[np.ndarray]]:
    """As CTR-GCN's preparation does it: a line at a time, two small arrays for each joint."""
    lines = iter(data.decode().splitlines())
    bodies: dict[str, list[np.ndarray]] = {}
    for _ in range(int(next(lines))):
        for _ in range(int(next(lines))):
            name = next(lines).split()[0]
            places = np.zeros((int(next(lines)), 3), np.float32)
            colors = np.zeros((len(places), 2), np.float32)
            for joint in range(len(places)):
                words = next(lines).split()
                places[joint] = np.array(words[:3], np.float32)
                colors[joint] = np.array(words[5:7], np.float32)
            bodies.setdefault(name, []).append(places)
    return bodies


def by_numpy(data: bytes) -> np.ndarray:
    """A plain parse: all words as floats, no structure."""
    return np.array(data.split(), np.float64)


def by_arrow(data: bytes) -> pa.Table:
    """The same by Arrow's CSV reader, a number in each line."""
    return pyarrow.csv.read_csv(
        pa.BufferReader(data.replace(b"\r", b"").translate(bytes.maketrans(b" ", b"\n"))),
        pyarrow.csv.ReadOptions(column_names=["number"], use_threads=False),
        pyarrow.csv.ParseOptions(quote_char=False),
        pyarrow.csv.ConvertOptions(column_types={"number": pa.float64()}),
    )


def readers(runs: int) -> Iterator[Row]:
    """Megabytes per second of each, and how many times the usual readers ours is."""
    with tempfile.TemporaryDirectory() as place:
        if not REAL.is_dir():
            write_sample_data(Path(place), num_performers=2)
        folder = REAL if REAL.is_dir() else Path(place) / "ntu"
        paths = sorted(folder.glob("*.skeleton"))[:20]
        texts = [path.read_bytes() for path in paths]
        works: dict[str, Callable[[], object]] = {
            "token by token (usual)": lambda: [token_by_token(text) for text in texts],
            "array by array (CTR-GCN)": lambda: [array_by_array(text) for text in texts],
            "plain parse, numpy": lambda: [by_numpy(text) for text in texts],
            "plain parse, Arrow": lambda: [by_arrow(text) for text in texts],
            "plain parse, ours": lambda: [parse_numbers(text) for text in texts],
            "ours: persons, orientations, checks": lambda: [ntu.read(path, Declared()) for path in paths],
        }
        seconds: dict[str, list[float]] = {name: [] for name in works}
        for _ in range(max(3, runs)):
            for name, work in works.items():  # one after the other, so that a stall hits all alike
                started = time.process_time()
                work()
                seconds[name].append(time.process_time() - started)
    megabytes = sum(map(len, texts)) / 1e6
    best = {name: megabytes / min(taken) for name, taken in seconds.items()}
    *others, ours = best
    for name, value in best.items():
        yield Row("read NTU", name, value, "MB/s", megabytes / max(seconds[name]), value)
    for name in others[:4]:
        times = best[ours] / best[name]
        yield Row("read NTU", f"ours / {name}", times, "x", times, times)


def main() -> None:
    """Print the rows of `readers`."""
    for row in readers(9):
        print(f"{row.what:<45} {row.value:10.1f} {row.unit}")


if __name__ == "__main__":
    main()
