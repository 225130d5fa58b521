"""What verbs that read recordings let a user say about them: one set of options, one meaning."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from skeletonllm.skeleton.formats import Declared


@dataclass(frozen=True)
class Reading:
    """What recordings do not say themselves. A `recordings.toml` beside them can say it too; these options win over it."""

    format: str | None = None
    """Read as this format; by default the content decides."""
    topology: str | None = None
    """Joints and parents: a name such as kinect_v2_25, or a .toml file with joints and parents."""
    fps: float | None = None
    """Frames per second; wins over the file."""
    unit: str | None = None
    """Of lengths: m, cm, mm, in, ft or cmu."""
    up: str | None = None
    """The axis that points up, such as +y or -z."""
    body_model: Path | None = None
    """The user's own SMPL, SMPL-H or SMPL-X model (.npz), for files of poses."""

    def declared(self) -> "Declared":
        """For the readers.

        Raises:
            ConfigError: a name is unknown.
            FormatError: the topology's file is damaged.
        """
        from dataclasses import replace

        from skeletonllm.errors import ConfigError
        from skeletonllm.skeleton.formats import formats
        from skeletonllm.skeleton.formats.declared import declared_by

        if self.format is not None and self.format not in formats():
            close = difflib.get_close_matches(self.format, list(formats()), 1)
            advice = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(formats())}"
            raise ConfigError(f"--format {self.format!r} is unknown; {advice}")
        return replace(declared_by(self.topology, self.fps, self.unit, self.up), body_model=self.body_model)


# Its options stand among the verb's own, without a prefix.
ReadingArgument = Annotated[Reading, tyro.conf.arg(name="")]
