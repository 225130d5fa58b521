"""Counts of everything that is read, so that memory hardly grows with the recordings; and a few clips to show."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.checks import LEVELS, Finding, SetCheck
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topology import Topology
from skeletonllm.survey.sources import Found, Recording

_MAX_SAMPLES = 48
_MAX_KEPT = 2000  # findings of a kind that are kept with their texts; all are counted


@dataclass(frozen=True)
class Placed:
    """A finding and the file it is about."""

    file: str
    finding: Finding


@dataclass(frozen=True)
class Rejected:
    """What could not be read, and why."""

    file: str
    place: str
    reason: str


@dataclass
class Group:
    """All clips of one format and topology.

    Args:
        format: a name.
        topology: joints and parents.
        clips: how many.
        frames: of all clips.
        seconds: of all clips.
        persons: clips by the number of their persons.
        rates: clips by frame rate and by who says it.
        spaces: clips by unit and axes.
        joints: how often each joint could have been seen, was seen, in frames of people who were.
        lost: frames in which nobody was seen.
    """

    format: str
    topology: Topology
    clips: int = 0
    frames: int = 0
    seconds: float = 0.0
    persons: Counter[int] = field(default_factory=Counter)
    rates: Counter[tuple[float, str]] = field(default_factory=Counter)
    spaces: Counter[str] = field(default_factory=Counter)
    possible: int = 0
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    lost: int = 0

    @property
    def name(self) -> str:
        """Format and topology."""
        return f"{self.format or 'unknown'}, {self.topology.name}"

    @property
    def seen_shares(self) -> np.ndarray:
        """How often each joint was seen, of people who were, 0 to 1."""
        return self.seen / max(self.possible, 1)

    def add(self, clip: Clip) -> None:
        """Count one more clip."""
        seen = clip.confidence > 0
        present = seen.any(-1)
        self.clips += 1
        self.frames += clip.num_frames
        self.seconds += clip.num_frames / clip.fps
        self.persons[clip.num_persons] += 1
        self.rates[clip.fps, clip.source.fps_from] += 1
        self.spaces[clip.source.space] += 1
        self.possible += int(present.sum())
        self.seen = (self.seen if len(self.seen) else np.zeros(seen.shape[-1], np.int64)) + seen.sum((0, 1))
        self.lost += int((~present.any(0)).sum())


@dataclass
class Survey:
    """What lies below a path, counted.

    Args:
        path: that was asked for.
        kind: `file`, `folder` or `data set`.
        about: a line about the whole.
        recordings: how many were read.
        groups: by format and topology.
        actions: clips by class; "" where it is not known.
        subjects: clips by who moves.
        cameras: clips by camera.
        pairs: clips by (subject, action).
        durations_s: of each clip.
        captions: how many clips have one.
        findings: those that are kept.
        counts: of all findings, by (level, kind).
        rejected: what could not be read.
        samples: clips to show, of different formats and classes.
        examples: the first clip of each kind of finding.
    """

    path: Path
    kind: str
    about: str = ""
    recordings: int = 0
    groups: dict[tuple[str, Topology], Group] = field(default_factory=dict)
    actions: Counter[str] = field(default_factory=Counter)
    subjects: Counter[str] = field(default_factory=Counter)
    cameras: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    durations_s: list[float] = field(default_factory=list)
    captions: int = 0
    findings: list[Placed] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)
    samples: list[Clip] = field(default_factory=list)
    examples: dict[str, Clip] = field(default_factory=dict)
    _sampled: Counter = field(default_factory=Counter)
    _kept: Counter[str] = field(default_factory=Counter)

    @property
    def clips(self) -> int:
        """How many clips there are."""
        return len(self.durations_s)

    @property
    def seconds(self) -> float:
        """Of all clips."""
        return sum((group.seconds for group in self.groups.values()), 0.0)

    def level(self, level: str) -> int:
        """How many findings are of a level."""
        return sum(count for (of, _), count in self.counts.items() if of == level)

    def add(self, clip: Clip, found: Iterable[Finding]) -> None:
        """Count one more clip and what is suspicious about it."""
        group = self.groups.setdefault((clip.source.format, clip.topology), Group(clip.source.format, clip.topology))
        group.add(clip)
        self.actions[clip.action or ""] += 1
        self.subjects[clip.source.subject] += 1
        self.cameras[clip.source.camera] += 1
        self.pairs[clip.source.subject, clip.action or ""] += 1
        self.durations_s.append(clip.num_frames / clip.fps)
        self.captions += bool(clip.captions)
        for finding in found:
            self.keep(clip.source.file, finding)
            self.examples.setdefault(finding.kind, clip)
        self._sample(clip, group)

    def keep(self, file: str, finding: Finding) -> None:
        """Count a finding, and keep it unless there are very many of its kind."""
        self.counts[finding.level, finding.kind] += 1
        if self._kept[finding.kind] < _MAX_KEPT:
            self._kept[finding.kind] += 1
            self.findings.append(Placed(file, finding))

    def _sample(self, clip: Clip, group: Group) -> None:
        """The first clip of each class in each group, and a few more of a group without classes."""
        key = (group.name, clip.action)
        if self._sampled[key] < (1 if clip.action else 3) and self._sampled[group.name] < _MAX_SAMPLES:
            self._sampled[key] += 1
            self._sampled[group.name] += 1
            self.samples.append(clip)


def collect(found: Found, progress: Callable[[int, str], None] | None = None) -> Survey:
    """Read, count and check everything that was found.

    Args:
        found: as of `skeletonllm.survey.sources.find`.
        progress: told how many recordings are done and the name of the last one.
    """
    survey = Survey(found.path, found.kind, found.about)
    together = SetCheck()
    for number, recording in enumerate(found.recordings(1), 1):
        if recording.error:
            _reject(survey, recording)
        else:
            survey.recordings += 1
        for clip in recording.clips:
            kind = f"{clip.source.format or 'unknown'}, {clip.topology.name}"
            survey.add(clip, together.check(clip, kind))
        if progress is not None:
            progress(min(number, found.count), recording.file)
    for finding in together.findings():
        survey.keep("", finding)
    survey.findings.sort(key=lambda one: LEVELS.index(one.finding.level))
    return survey


def _reject(survey: Survey, recording: Recording) -> None:
    survey.rejected.append(Rejected(recording.file, recording.place, recording.error))
    kind = "damaged" if survey.kind == "data set" else "unreadable"
    level = "error" if recording.fatal else "note"
    survey.keep(recording.file, Finding(recording.place or recording.file, level, kind, recording.error))


def motion_by_part(clip: Clip, bins: int = 32) -> dict[str, np.ndarray]:
    """Mean speed of the joints of each part of the body over time, m/s; parts that are never seen are left out."""
    topology = clip.topology
    groups: dict[str, list[int]] = defaultdict(list)
    for joint, (part, side) in enumerate(zip(topology.parts, topology.sides, strict=True)):
        groups[_region(part, side)].append(joint)
    if clip.num_frames < 2:
        return {}
    moved = np.diff(clip.positions, axis=1).astype(np.float64)
    speed = np.sqrt((moved**2).sum(-1)) * clip.fps
    both = (clip.confidence[:, 1:] > 0) & (clip.confidence[:, :-1] > 0)
    edges = np.linspace(0, clip.num_frames - 1, min(bins, clip.num_frames - 1) + 1).astype(int)
    found = {}
    for region in ("head", "trunk", "left arm", "right arm", "left leg", "right leg", "body"):
        joints = groups.get(region)
        if joints and both[:, :, joints].any():
            sums = np.where(both[:, :, joints], speed[:, :, joints], 0).sum((0, 2))
            counts = both[:, :, joints].sum((0, 2))
            found[region] = np.array([sums[a:b].sum() / max(counts[a:b].sum(), 1) for a, b in pairwise(edges)])
    return found


def _region(part: str, side: str) -> str:
    if part in ("head", "face"):
        return "head"
    if part in ("shoulder", "elbow", "wrist", "hand") and side != "center":
        return f"{side} arm"
    if part in ("hip", "knee", "ankle", "foot") and side != "center":
        return f"{side} leg"
    return "trunk"
