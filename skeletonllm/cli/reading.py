"""What verbs that read recordings let a user say about them: one set of options, one meaning."""

import difflib
from dataclasses import dataclass

from skeletonllm.errors import ConfigError
from skeletonllm.skeleton.formats import Declared, formats
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology


@dataclass(frozen=True)
class Reading:
    """What recordings do not say themselves."""

    format: str | None = None
    """Read as this format; by default the content decides."""
    topology: str | None = None
    """Joints and parents, a name such as kinect_v2_25."""
    fps: float | None = None
    """Frames per second; wins over the file."""
    unit: str | None = None
    """Of lengths: m, cm, mm, in, ft or cmu."""
    up: str | None = None
    """The axis that points up, such as +y or -z."""

    def declared(self) -> Declared:
        """For the readers.

        Raises:
            ConfigError: a name is unknown.
        """
        if self.format is not None and self.format not in formats():
            raise ConfigError(f"--format {self.format!r} is unknown; {_known(self.format, list(formats()))}")
        topology = None if self.topology is None else _topology(self.topology)
        return Declared(topology=topology, fps=self.fps, unit=self.unit, up=self.up)


def _topology(name: str) -> Topology:
    """The topology of a name."""
    if name not in TOPOLOGIES:
        raise ConfigError(f"--topology {name!r} is unknown; {_known(name, list(TOPOLOGIES))}")
    return TOPOLOGIES[name]


def _known(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, 1)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(names)}"
