"""The protocol of a data set: which of its clips train, which test, and which belong to a format never trained on."""

from pathlib import Path

from pipelines.assemble import sources
from pipelines.launch import read_run
from skeletonllm.errors import ConfigError
from skeletonllm.evaluate.protocols import Protocol, hold_out, parse_rule
from skeletonllm.plain import from_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, read_manifest


def protocol_of(clips: DatasetRef, rule: str, cross_format: tuple[str, ...]) -> Protocol:
    """The protocol that a rule such as `subject=25%` or `camera=3` makes of a data set."""
    return hold_out(sources(clips), parse_rule(rule), cross_format)


def check_untrained(clips: DatasetRef, protocol: Protocol, checkpoint: CheckpointRef) -> None:
    """Make sure that no clip which is to test may have trained the checkpoint.

    Raises:
        ConfigError: says by which rule it was trained.
    """
    examples = read_manifest(Path(read_run(checkpoint).examples.path))
    trained = from_plain(Protocol, examples.config["protocol"], f"protocol of {checkpoint.path}")
    known = [
        source.file
        for source in sources(clips)
        if protocol.split_of(source) != "train" and trained.split_of(source) == "train"
    ]
    if known:
        raise ConfigError(
            f"{checkpoint.path}: was trained with {trained.name} held out, and is to be tested with {protocol.name}: "
            f"{len(known)} of these clips may have trained it, for example {known[0]}; test with what was held out, or "
            "train with this hold-out first"
        )
