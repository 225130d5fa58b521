"""How well chains are checked: true ones damaged in known ways, and how many are checked a second.

Simulated recordings: the chain is written from the movement itself, and checked against what a noisy sensor that loses
joints saw of it. Real ones: the movement is not known, so the chain is written from the recording that it is checked
against.
"""

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipelines.teacher.kinematic import write_chain
from skeletonllm.errors import SkeletonLLMError
from skeletonllm.reasoning.signals import measure_signals
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.skeleton import sensors
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, find_recordings, read
from skeletonllm.skeleton.performers import ACTIONS, TWO_PERSONS, perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from tests.damages import blurred, damage

REAL = Path(__file__).parents[3] / "shared" / "data"
_SEEN_AS = ("kinect_v2_25", "kinect_v1_20", "smpl_22", "utdmhad_20", "coco_17")
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
        made = [("true", chain), ("frames off by 5 %", blurred(chain, seen.num_frames, rng))]
        for name, other in [*made, *damage(chain, curves, rng)]:
            checked = verify_chain(other, seen, signals)
            self.made[name] += 1
            self.found[name] += checked.verdict == "rejected"
            if (checked.verdict == "rejected") == (name in ("true", "frames off by 5 %")):
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


def score(pairs: Iterable[tuple[Clip, Clip]]) -> Score:
    """All of it."""
    result, rng = Score(), random.Random(0)
    for truth, seen in pairs:
        result.add(truth, seen, rng)
    return result
