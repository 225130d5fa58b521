"""The protocol of a data set: which of its clips train, which test, and which belong to a format never trained on."""

import functools
import logging
from hashlib import sha256
from pathlib import Path

from pipelines.assemble import sources
from pipelines.launch import read_run
from skeletonllm.errors import ConfigError
from skeletonllm.evaluate.protocols import Protocol, hold_out, parse_rule
from skeletonllm.plain import from_plain
from skeletonllm.shards.manifest import CheckpointRef, DatasetRef, read_manifest
from skeletonllm.shards.reader import ShardReader
from skeletonllm.skeleton.clip import Clip

logger = logging.getLogger(__name__)


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


@functools.lru_cache(maxsize=2)
def copies_of_held_out(clips: DatasetRef, protocol: Protocol) -> frozenset[str]:
    """The ids of training clips whose movement is, to the bit, also a clip that must not train.

    Data sets hold such copies under other names, even across the people or cameras that a protocol divides by. Only clips
    of files with equal bytes are compared: one file may hold many clips, of all splits.
    """
    rows = [(source.sha256, protocol.split_of(source) == "train") for source in sources(clips)]
    shared = {sha for sha, trains in rows if trains} & {sha for sha, trains in rows if not trains} - {""}
    if not shared:
        return frozenset()
    reader = ShardReader(clips)
    suspects = [(reader.clip(row), trains) for row, (sha, trains) in enumerate(rows) if sha in shared]
    held_out = {_movement(clip) for clip, trains in suspects if not trains}
    copies = frozenset(clip.clip_id for clip, trains in suspects if trains and _movement(clip) in held_out)
    if copies:
        logger.info("%d training clips are copies of clips that are held out, for example %s", len(copies), min(copies))
    return copies


def _movement(clip: Clip) -> bytes:
    return sha256(clip.positions.tobytes() + clip.confidence.tobytes()).digest()
