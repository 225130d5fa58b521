"""Damaged recordings of every format: `python -m tests.fuzz --files 10000`. Each is a typed error or valid clips.

A batch of files is read in a child process that has 1 GiB for what it reads, 20 s for a file, and a canary: a file that
only code from inside a recording would make.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared" / "data"
MEMORY_BYTES = 1 << 30
SECONDS_PER_FILE = 20


@dataclass(frozen=True)
class Outcome:
    """What became of one damaged file: `clips`, `refused`, or what must not happen."""

    file: str
    format: str
    outcome: str
    detail: str = ""


def seeds(folder: Path) -> dict[str, list[Path]]:
    """Small whole recordings by format: real ones where they are at hand, and some of every format that we can make."""
    from skeletonllm.skeleton.formats import detect, find_recordings
    from skeletonllm.skeleton.simulate import write_sample_data

    write_sample_data(folder / "samples", 2, seed=3)
    write_made(folder / "made")
    by_format: dict[str, list[Path]] = {}
    for root in (folder / "samples", folder / "made", *(sorted(REAL.iterdir()) if REAL.is_dir() else ())):
        if root.is_dir():
            recordings = find_recordings(root)
            for path in recordings[:: max(1, len(recordings) // 20)]:
                by_format.setdefault(detect(path).name, []).append(path)
    return {name: sorted(paths, key=_size)[:6] for name, paths in by_format.items()}


def write_made(folder: Path) -> None:
    """A recording of each format that sample data has not, as the formats' own tests make them."""
    from dataclasses import replace

    from skeletonllm.skeleton.formats import amass, plain_csv, plain_numpy, plain_parquet
    from tests.makers import make_clip
    from tests.skeletonllm.skeleton.formats import test_c3d, test_coco, test_mediapipe, test_nwucla, test_openpose

    for name in ("plain", "coco", "openpose", "mediapipe", "frames"):
        (folder / name).mkdir(parents=True)
    clip = make_clip("a", "kinect_v2_25")
    plain_csv.write(clip, folder / "plain" / "a.csv")
    plain_numpy.write(clip, folder / "plain" / "b.npz")
    plain_parquet.write(clip, folder / "plain" / "c.parquet")
    upright = np.zeros((1, 12, 22, 4), np.float32)
    upright[..., 0] = 1
    amass.write(replace(make_clip("d", "smpl_22"), rotations=upright), folder / "plain" / "d.npz")
    (folder / "plain" / "e.c3d").write_bytes(test_c3d.GOOD)
    frames = [test_coco.scored(float(number)) for number in range(4)]
    made = (test_coco.movenet(frames), test_coco.alphapose({"1.jpg": frames[:1]}), test_coco.mmpose([frames[:1]]))
    for number, content in enumerate(made):
        (folder / "coco" / f"{number}.json").write_text(json.dumps(content))
    for number in range(4):
        test_openpose.saved(folder / "openpose", number, [test_openpose.body(float(number))])
    points = test_mediapipe.standing()
    (folder / "mediapipe" / "a.json").write_text(json.dumps(test_mediapipe.as_json(points)))
    for number, frame in enumerate(points):
        np.save(folder / "frames" / f"{number}.npy", np.concatenate((frame.ravel(), np.zeros(1662 - frame.size))))
    test_nwucla.text_folder(folder)


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut off, swapped, repeated or taken out, or counts in the head made huge."""
    if not data:
        return data
    mutated = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        kind = rng.choice(("flip", "flip", "cut", "swap", "repeat", "remove", "inflate", "word"))
        at = rng.randrange(len(mutated)) if rng.random() < 0.5 else rng.randrange(min(len(mutated), 400))
        length = rng.choice((1, 4, 16, 64, 500))
        if kind == "flip":
            for place in range(at, min(at + rng.choice((1, 1, 8)), len(mutated))):
                mutated[place] ^= 1 << rng.randrange(8)
        elif kind == "cut":
            del mutated[max(1, at) :]
        elif kind == "swap":
            other = rng.randrange(len(mutated))
            one, two = bytes(mutated[at : at + length]), bytes(mutated[other : other + length])
            mutated[at : at + length], mutated[other : other + length] = two, one
        elif kind == "repeat":
            mutated[at:at] = bytes(mutated[at : at + length]) * rng.choice((1, 3, 50))
        elif kind == "remove":
            del mutated[at : at + length]
        elif kind == "inflate":
            digits = [place for place in range(min(len(mutated), 600)) if chr(mutated[place]).isdigit()]
            if digits:
                mutated[(place := rng.choice(digits)) : place + 1] = rng.choice(
                    (b"99999999", b"-1", b"4294967296", b"1e308")
                )
            else:
                mutated[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0"))
        else:
            word = rng.choice(
                (b"NaN", b"inf", b"null", b"[]", b"{}", b"", b"\0\0", b"\xff\xfe", b"1e999", b"-0", b"\n\n")
            )
            mutated[at : at + len(word)] = word
        if not mutated:
            return bytes(data[:1])
    return bytes(mutated)


def make_damaged(folder: Path, recordings: dict[str, list[Path]], count: int, seed: int) -> list[tuple[Path, str]]:
    """`count` damaged copies, as many of every format, with the name of the format that each had."""
    from skeletonllm.skeleton.formats import files_of

    rng = random.Random(seed)
    names = sorted(recordings)
    made = []
    for number in range(count):
        name = names[number % len(names)]
        source = rng.choice(recordings[name])
        place = folder / f"{number:06d}"
        place.mkdir(parents=True)
        if source.is_dir():
            target = place / source.name
            shutil.copytree(source, target)
            victim = rng.choice(sorted(target.iterdir()))
        else:
            target = victim = place / source.name
            for file in files_of(source):  # angles that belong to positions, labels
                if file.parent == source.parent:
                    shutil.copyfile(file, place / file.name)
        victim.chmod(0o644)
        victim.write_bytes(mutate(victim.read_bytes(), rng))
        made.append((target, name))
    return made


def read_all(files: Sequence[tuple[Path, str]], canary: Path) -> list[Outcome]:
    """Read damaged files in child processes; a child that dies is told, and the rest goes on in a new one."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(files):
        rest = files[len(outcomes) :]
        listed = "\n".join(json.dumps([str(path), name]) for path, name in rest)
        child = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", "--child"], input=listed, capture_output=True, text=True, cwd=ROOT
        )
        outcomes += [Outcome(*json.loads(line)) for line in child.stdout.splitlines()]
        if len(outcomes) < len(files):
            path, name = files[len(outcomes)]
            outcomes.append(Outcome(str(path), name, f"the reader died ({child.returncode})", child.stderr[-600:]))
    if canary.exists():
        outcomes.append(Outcome(str(canary), "", "code from a recording was run"))
    return outcomes


def _child() -> None:
    import faulthandler
    import resource
    import warnings

    from skeletonllm.errors import FormatError
    from skeletonllm.skeleton.formats import Declared, formats, read

    warnings.simplefilter("error")
    formats()
    lines = [json.loads(line) for line in sys.stdin]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
    for path, name in lines:
        faulthandler.dump_traceback_later(SECONDS_PER_FILE, exit=True)
        detail = ""
        try:
            # Half of them as the format that they had, half by their content.
            clips = read(Path(path), name if int(Path(path).parent.name) % 2 else None, Declared(fps=30.0))
            valid = all(np.isfinite(clip.positions).all() and clip.confidence.max() > 0 for clip in clips) and clips
            outcome = "clips" if valid else "clips that are none"
        except FormatError as error:
            outcome = "refused"
            if not str(error).startswith(str(Path(path).parent)) or str(error).count("\n"):
                outcome, detail = "a message without its place", str(error)
        except BaseException as error:  # that is what is looked for
            import traceback

            outcome, detail = f"{type(error).__name__}", traceback.format_exc()[-1500:]
        print(json.dumps([path, name, outcome, detail]), flush=True)
    faulthandler.cancel_dump_traceback_later()


def run(count: int, seed: int = 0) -> tuple[Counter[tuple[str, str]], list[Outcome]]:
    """How often each format had each outcome, and all outcomes that must not be."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        folder = Path(place)
        damaged = make_damaged(folder / "damaged", seeds(folder), count, seed)
        outcomes = read_all(damaged, folder / "canary")
        bad = [one for one in outcomes if one.outcome not in ("clips", "refused")]
        if bad:
            kept = Path(tempfile.mkdtemp(prefix="fuzz-bad-"))
            for one in bad:
                source = Path(one.file)
                if source.exists():
                    (shutil.copytree if source.is_dir() else shutil.copyfile)(
                        source, kept / f"{source.parent.name}-{source.name}"
                    )
            print(f"files kept in {kept}")
    return Counter((one.format, one.outcome) for one in outcomes), bad


def main() -> int:
    """Print a table of outcomes by format; the exit code is 1 where something happened that must not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="how many damaged files, spread over all formats")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child()
        return 0
    counts, bad = run(options.files, options.seed)
    for name in sorted({name for name, _ in counts}):
        row = {outcome: count for (format, outcome), count in counts.items() if format == name}
        print(f"{name:24s}", ", ".join(f"{outcome} {count}" for outcome, count in sorted(row.items())))
    for one in bad[:20]:
        print(f"\n{one.format}: {one.file}: {one.outcome}\n{one.detail}")
    print(f"\n{sum(counts.values())} damaged files, {len(bad)} with an outcome that must not be")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
