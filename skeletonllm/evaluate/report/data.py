"""What a report shows, as plain values: whoever has the results fills these, and the page is drawn from them alone."""

from dataclasses import dataclass, field

from skeletonllm.evaluate.metrics import Accuracy, Comparison


@dataclass(frozen=True)
class System:
    """One student's results on the held-out clips.

    Args:
        name: for people.
        held_out: on the clips of the test split.
        cross_format: on the formats that training never saw; None where there are none.
        by_format: on the asked clips of each format, seen or not.
        chain_label: share of held-out clips whose written chain ends in the right label; None where none was asked for.
        by_persons: on the held-out clips with so many persons, such as `1 person`.
        confusion: counts on the held-out clips, true by answer, in the order of the report's candidates; may be empty.
    """

    name: str
    held_out: Accuracy
    cross_format: Accuracy | None
    by_format: dict[str, Accuracy]
    chain_label: Accuracy | None = None
    by_persons: dict[str, Accuracy] = field(default_factory=dict)
    confusion: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Example:
    """One clip of the gallery.

    Args:
        title: of the card.
        learned: animated GIF of the learned renderer; empty where there is none.
        fixed: animated GIF of the fixed one; empty where there is none.
        truth: the true action.
        predicted: the answer of the first system.
        predicted_fixed: the answer of the second; may be empty.
        captions: the true descriptions.
        written: the student's own description.
        explained: the student's own chain.
        format: of the recording; the gallery is grouped by it.
        clip_id: of the clip.
    """

    title: str
    learned: bytes
    fixed: bytes
    truth: str
    predicted: str
    predicted_fixed: str
    captions: tuple[str, ...]
    written: str
    explained: str
    format: str = ""
    clip_id: str = ""


@dataclass(frozen=True)
class ShownStep:
    """A step of a teacher's chain with its verdict.

    Args:
        text: the claim.
        verdict: `supported`, `contradicted` or `not measurable`.
        reason: what was measured.
        frames: first and last frame of the clip that the claim is about.
    """

    text: str
    verdict: str
    reason: str
    frames: tuple[int, int] | None = None


@dataclass(frozen=True)
class ShownChain:
    """A teacher's chain as people read it."""

    clip_id: str
    action: str
    summary: str
    steps: tuple[ShownStep, ...]
    verdict: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """The loss of one stage over its steps."""

    stage: str
    steps: tuple[int, ...]
    losses: tuple[float, ...]


@dataclass(frozen=True)
class CountTable:
    """Clips counted in two ways, such as actions by splits.

    Args:
        title: what the rows are.
        columns: what the columns are.
        rows: name and counts, one for each column.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]


@dataclass(frozen=True)
class ReportData:
    """All that the report shows.

    Args:
        title: of the page.
        command: that made it.
        systems: the learned renderer first, then those it is compared with; at least one.
        candidates: the actions, in the order of the confusion matrix.
        gallery: clips of each format.
        chains: a few of the teacher's.
        chain_rate: accepted and all chains.
        step_counts: the teacher's steps by verdict.
        teacher: who it was.
        curves: of the stages.
        data: facts about the data set, name and value.
        rejected: file and reason, of some or all rejected files.
        times: seconds of each step, in their order.
        versions: of the code and its main packages.
        comparison: of the first two systems on the held-out clips.
        comparison_cross: of the first two systems on the cross-format clips.
        unseen_formats: those of `by_format` that training never saw.
        counts: of the data set's clips.
        fingerprints: of data sets and checkpoints, name and hash.
        num_rejected: all rejected files, where `rejected` has only some.
        seed: of every random choice.
        note: what a reader must know before the numbers.
    """

    title: str
    command: str
    systems: tuple[System, ...]
    candidates: tuple[str, ...]
    gallery: tuple[Example, ...]
    chains: tuple[ShownChain, ...]
    chain_rate: tuple[int, int]
    step_counts: dict[str, int]
    teacher: str
    curves: tuple[Curve, ...]
    data: tuple[tuple[str, str], ...]
    rejected: tuple[tuple[str, str], ...]
    times: tuple[tuple[str, float], ...]
    versions: tuple[tuple[str, str], ...]
    comparison: Comparison | None = None
    comparison_cross: Comparison | None = None
    unseen_formats: tuple[str, ...] = ()
    counts: tuple[CountTable, ...] = ()
    fingerprints: tuple[tuple[str, str], ...] = ()
    num_rejected: int | None = None
    seed: int | None = None
    note: str = ""

    @property
    def total_s(self) -> float:
        """Seconds of all steps."""
        return sum(seconds for _, seconds in self.times)
