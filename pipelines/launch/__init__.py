"""Training is started here: on this machine or on a Ray cluster, once per stage, and goes on where it was killed."""

from pipelines.launch.runs import find_checkpoint, find_run, launch_s, newest_checkpoint, read_run
from pipelines.launch.supervise import Interrupted, launch

__all__ = ["Interrupted", "find_checkpoint", "find_run", "launch", "launch_s", "newest_checkpoint", "read_run"]
