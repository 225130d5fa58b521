"""The verb that makes sample recordings."""

from pathlib import Path
from typing import Annotated

import tyro

_FolderArgument = Annotated[Path, tyro.conf.Positional]


def sample_data(folder: _FolderArgument = Path("sample-data"), performers: int = 16, seed: int = 0) -> None:
    """Simulate performers and write their recordings in five file formats, as the sensors would.

    Args:
        folder: where to write; files that are there are kept.
        performers: how many people take part.
        seed: of every random choice.
    """
    from skeletonllm.log import set_up_logging

    set_up_logging()
    print(f"{simulate(folder, performers, seed)} clips in {folder}")


def simulate(folder: Path, performers: int = 16, seed: int = 0) -> int:
    """Write the sample data, with progress; how many clips they are."""
    from skeletonllm.log import progress
    from skeletonllm.skeleton.simulate import write_sample_data

    with progress("sample data", 100, "%") as tick:
        return write_sample_data(
            folder, performers, seed=seed, progress=lambda done, total: tick(100 * done // max(total, 1))
        )
