"""How well chains are checked: true ones damaged in known ways, and how many are checked a second.

Simulated recordings: the chain is written from the movement itself, and checked against what a noisy sensor that loses
joints saw of it. Real ones: the movement is not known, so the chain is written from the recording that it is checked
against, and only what checking itself blurs can reject it. The thresholds were set on other performers and on the other
half of the real files.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from pipelines.teacher.kinematic import write_chain
from skeletonllm.errors import SkeletonLLMError
from skeletonllm.reasoning import free_text
from skeletonllm.reasoning.signals import measure_signals
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, find_recordings, read
from skeletonllm.skeleton.performers import ACTIONS, TWO_PERSONS, perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.benchmarks.measure import Row
from tests.damages import NAMES, blurred, damage

REAL = Path(__file__).parents[3] / "shared" / "data"
_SEEN_AS = ("kinect_v2_25", "kinect_v1_20", "smpl_22", "utdmhad_20", "coco_17")
_TRUE = ("true", "true, frames off by up to 5 %")
_FIRST, _PERFORMERS, _SEED = 100, 15, 7  # the thresholds were set on performers 0 to 5 of seed 0
_HALF = 1  # and on the real files of half 0
_PER_FOLDER = 150
_FRAMES = (12, 400)


@dataclass
class Score:
    """Counts of one kind of recordings."""

    chains: int = 0
    made: Counter = field(default_factory=Counter)
    found: Counter = field(default_factory=Counter)
    reasons: list[str] = field(default_factory=list)

    def add(self, truth: Clip, seen: Clip, rng: random.Random) -> None:
        """Write a chain of the true movement; check it, a blurred copy and all damaged ones against what was seen."""
        chain = write_chain(truth, truth.action or "unknown")
        signals, curves = measure_signals(seen), measure_signals(truth)
        self.chains += 1
        made = [(_TRUE[0], chain), (_TRUE[1], blurred(chain, seen.num_frames, rng))]
        for name, other in [*made, *damage(chain, curves, rng)]:
            checked = verify_chain(other, seen, signals)
            self.made[name] += 1
            self.found[name] += checked.verdict == "rejected"
            if (checked.verdict == "rejected") == (name in _TRUE):
                self.reasons.append(f"{name}: {seen.clip_id} {seen.topology.name}: {checked.reasons or other.steps}")


def simulated(first: int, performers: int, seed: int) -> Iterator[tuple[Clip, Clip]]:
    """True movements, and what a sensor saw of each: all actions by performers from a number on, in five topologies."""
    for place, topology in enumerate(_SEEN_AS):
        for performer in range(first, first + performers):
            for number, action in enumerate(ACTIONS):
                rng = np.random.default_rng((seed, place, performer, number))
                yield _recorded(action, performer, topology, rng, seed)


def _recorded(action: str, performer: int, topology: str, rng: np.random.Generator, seed: int) -> tuple[Clip, Clip]:
    clip = perform(action, performer, 0, seed, fps=30.0)
    yaw = float(rng.uniform(-0.9, 0.9))
    view = sensors.View(yaw + (np.pi / 2 if action in TWO_PERSONS else 0), float(rng.uniform(2.8, 3.8)))
    if topology == "coco_17":
        truth = sensors.photograph(clip, view)
        return truth, sensors.with_losses(sensors.with_noise(truth, rng, 2.0), rng, lost=0.04)
    truth = sensors.before_camera(sensors.convert(clip, TOPOLOGIES[topology]), view)
    size_m = {"kinect_v2_25": 0.006, "kinect_v1_20": 0.009, "smpl_22": 0.002}.get(topology, 0.004)
    return truth, sensors.with_losses(sensors.with_noise(truth, rng, size_m), rng)


def recorded(data: Path, half: int) -> Iterator[Clip]:
    """Real clips of all data sets below a folder, at most so many of each; half of them, by number."""
    for folder in sorted(path for path in data.iterdir() if path.is_dir()):
        kept = 0
        files = find_recordings(folder)
        random.Random(0).shuffle(files)
        for file in files[half::2]:
            try:
                clips = read(file, declared=Declared(fps=30.0))
            except SkeletonLLMError:
                continue
            for clip in clips[: _PER_FOLDER // 4]:
                if kept < _PER_FOLDER and _FRAMES[0] <= clip.num_frames <= _FRAMES[1]:
                    kept += 1
                    yield clip
            if kept >= _PER_FOLDER:
                break


def verifications(runs: int) -> Iterator[Row]:
    """Of true chains and of each kind of damage, the share that is rejected, with Wilson's 95 % interval; and the speed."""
    yield from _rows("simulated", score(simulated(_FIRST, _PERFORMERS, _SEED)))
    if REAL.is_dir():
        yield from _rows("real", score((clip, clip) for clip in recorded(REAL, _HALF)))
    else:
        yield Row(f"real: left out, {REAL} is not there", "", 0, "", 0, 0)
    yield _speed(runs)


def score(pairs: Iterable[tuple[Clip, Clip]]) -> Score:
    """All of it."""
    result, rng = Score(), random.Random(0)
    for truth, seen in pairs:
        result.add(truth, seen, rng)
    return result


def _rows(group: str, result: Score) -> Iterator[Row]:
    for name in (*_TRUE, *NAMES):
        made, found = result.made[name], result.found[name]
        if made:
            low, high = _interval(found, made)
            yield Row(f"verify, {group}", f"{name} ({made})", 100 * found / made, "% rejected", 100 * low, 100 * high)


def _interval(found: int, made: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, found / made
    middle = (share + z * z / (2 * made)) / (1 + z * z / made)
    half = z * math.sqrt(share * (1 - share) / made + z * z / (4 * made * made)) / (1 + z * z / made)
    return middle - half, middle + half


def _speed(runs: int) -> Row:
    """Chains of 25 joints and 80 to 100 frames, from the joints on, by the processor's time of one core."""
    clips = [seen for _, seen in simulated(_FIRST, 8, _SEED) if seen.topology.name == "kinect_v2_25"]
    clips = [clip for clip in clips if clip.num_persons == 1 and 80 <= clip.num_frames <= 100]
    chains = [write_chain(clip, clip.action or "") for clip in clips]
    rates = []
    for _ in range(max(3, runs)):
        for cached in (free_text._predicates, free_text._subject, free_text._share):
            cached.cache_clear()  # the same texts do not come again
        started = time.process_time()
        for chain, clip in zip(chains, clips, strict=True):
            verify_chain(chain, clip)
        rates.append(len(chains) / (time.process_time() - started))
    return Row("verify", "chains of 80 to 100 frames", median(rates), "chains/s", min(rates), max(rates))
