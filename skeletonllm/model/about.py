"""What is known of how a student came to be. Kept with its weights, and what its card tells; unknown is left empty."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataFacts:
    """A data set that a student learned from."""

    name: str
    fingerprint: str
    rows: int | None = None
    formats: tuple[str, ...] = ()
    code_version: str = ""
    """Of SkeletonLLM, when the data set was made."""


@dataclass(frozen=True)
class StageFacts:
    """One stage of training."""

    name: str
    fingerprint: str
    """Of its run: a hash of all that its weights depend on."""
    trains: tuple[str, ...]
    examples: tuple[str, ...]
    """What they ask for, such as `mqa`."""
    step: int
    num_steps: int
    seed: int
    clips: str
    """Fingerprint of the clips."""
    learned_from: str
    """Fingerprint of the examples."""
    code_version: str


@dataclass(frozen=True)
class Score:
    """A measured share of right answers with its 95 % interval."""

    metric: str
    clips: str
    """Which clips were asked about."""
    value: float
    low: float
    high: float
    right: int
    total: int
    chance: float


@dataclass(frozen=True)
class About:
    """What a student's folder says of it besides its configuration."""

    licence: str = ""
    """Of the weights, by its identifier on the Hub, such as `apache-2.0`."""
    recipe: str = ""
    revision: str = ""
    """Of the backbone: the commit on the Hub that it was loaded from."""
    split: str = ""
    """Which clips never trained it, such as `subject=P003,P007`."""
    actions: tuple[str, ...] = ()
    """The labels it was trained to choose from."""
    data: tuple[DataFacts, ...] = ()
    stages: tuple[StageFacts, ...] = ()
    scores: tuple[Score, ...] = ()
    changes: tuple[str, ...] = ()
    """What was done to the weights after training, a sentence each."""
