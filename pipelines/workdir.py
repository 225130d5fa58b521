"""Where a run keeps what it makes: data sets, training runs, the teacher's ledger, reports."""

from dataclasses import dataclass
from pathlib import Path

from skeletonllm.errors import DataError
from skeletonllm.shards.manifest import DatasetRef, find_dataset

DEFAULT_WORKDIR = "skeletonllm-work"


@dataclass(frozen=True)
class Workdir:
    """The folders of one project; whatever is in them is found by fingerprint and never made twice."""

    path: Path

    def __post_init__(self) -> None:
        # A Ray worker or a trainer may stand in another folder.
        object.__setattr__(self, "path", self.path.resolve())

    @property
    def data(self) -> Path:
        """Data sets, `data/<name>/<fingerprint>/`."""
        return self.path / "data"

    @property
    def runs(self) -> Path:
        """Training runs, `runs/<stage>/<fingerprint>/`."""
        return self.path / "runs"

    @property
    def ledger(self) -> Path:
        """What the teacher was asked, answered and cost, where the settings name no other ledger."""
        return self.path / "ledger.sqlite"

    def newest(self, name: str) -> DatasetRef:
        """The newest data set of a name.

        Raises:
            DataError: there is none yet.
        """
        found = find_dataset(self.data, name)
        if found is None:
            raise DataError(
                f"{self.data}: no data set {name!r} yet; run `skeletonllm ingest FOLDER --workdir {self.path}` first"
            )
        return found
