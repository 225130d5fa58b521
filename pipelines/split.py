"""The protocol of a data set: which of its clips train, which test, and which belong to a format never trained on."""

from pipelines.assemble import sources
from skeletonllm.evaluate.protocols import Protocol, hold_out, parse_rule
from skeletonllm.shards.manifest import DatasetRef


def protocol_of(clips: DatasetRef, rule: str, cross_format: tuple[str, ...]) -> Protocol:
    """The protocol that a rule such as `subject=25%` or `camera=3` makes of a data set."""
    return hold_out(sources(clips), parse_rule(rule), cross_format)
