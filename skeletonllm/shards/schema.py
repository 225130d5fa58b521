"""The Arrow schemas of our data sets, rows to objects and back. Tensors are flat lists plus integer shapes."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from skeletonllm.errors import ShardError
from skeletonllm.plain import canonical_json, digest
from skeletonllm.shards.rows import TOPOLOGIES, ClipRows
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topology import Topology

SCHEMA_VERSION = 2
_SOURCE_FIELDS = (
    "dataset",
    "format",
    "subject",
    "camera",
    "setup",
    "repetition",
    "file",
    "sha256",
    "fps_from",
    "space",
)

CLIPS = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("topology", pa.string(), nullable=False),
        pa.field("num_persons", pa.int32(), nullable=False),
        pa.field("num_frames", pa.int32(), nullable=False),
        pa.field("num_joints", pa.int32(), nullable=False),
        pa.field("positions", pa.large_list(pa.float32()), nullable=False),
        pa.field("confidence", pa.large_list(pa.float32()), nullable=False),
        pa.field("rotations", pa.large_list(pa.float32())),
        pa.field("fps", pa.float64(), nullable=False),
        pa.field("action", pa.string()),
        pa.field("captions", pa.list_(pa.string()), nullable=False),
        *(pa.field(f"source_{name}", pa.string(), nullable=False) for name in _SOURCE_FIELDS),
    ]
)

# One confusable pair a row; see skeletonllm.mining.merge. What did not speak is null.
PAIRS = pa.schema(
    [
        pa.field("action", pa.string(), nullable=False),
        pa.field("confused_with", pa.string(), nullable=False),
        pa.field("score", pa.float64(), nullable=False),
        pa.field("student", pa.float64()),
        pa.field("kinematics", pa.float64()),
        pa.field("teacher", pa.float64()),
        pa.field("mistaken", pa.int64()),
        pa.field("evidence", pa.string(), nullable=False),
    ]
)

# The motion of one clip a row, in the order of skeletonllm.mining.motion's STATISTICS.
MOTION = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("statistics", pa.list_(pa.float32()), nullable=False),
    ]
)

# One action that a teacher names as similar a row; rank 1 is the most alike.
SIMILAR = pa.schema(
    [
        pa.field("action", pa.string(), nullable=False),
        pa.field("similar", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("teacher", pa.string(), nullable=False),
    ]
)

# One reasoning chain a row: what filters need as columns, the whole of it as JSON; see skeletonllm.reasoning.chain.
CHAINS = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("teacher", pa.string(), nullable=False),
        pa.field("request_key", pa.string(), nullable=False),
        pa.field("chain", pa.string(), nullable=False),
    ]
)

# One training example a row.
EXAMPLES = pa.schema(
    [
        pa.field("example_id", pa.string(), nullable=False),
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("target", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)

# One answered clip a row; scores stand in the order of the `actions` in the manifest's statistics.
PREDICTIONS = pa.schema(
    [
        pa.field("clip_id", pa.string(), nullable=False),
        pa.field("action", pa.string(), nullable=False),
        pa.field("predicted", pa.string(), nullable=False),
        pa.field("scores", pa.list_(pa.float32()), nullable=False),
        pa.field("format", pa.string(), nullable=False),
        pa.field("subject", pa.string(), nullable=False),
        pa.field("camera", pa.string(), nullable=False),
    ]
)

REJECTED = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
    ]
)

# By the name of the schema in a manifest.
SCHEMAS = {
    "clips": CLIPS,
    "pairs": PAIRS,
    "motion": MOTION,
    "similar": SIMILAR,
    "chains": CHAINS,
    "examples": EXAMPLES,
    "predictions": PREDICTIONS,
    "rejected": REJECTED,
}


def clips_to_table(clips: Sequence[Clip]) -> pa.Table:
    """Clips as rows of `CLIPS`; their topologies go into the schema's metadata, each once."""
    keys = {topology: _topology_key(topology) for topology in dict.fromkeys(clip.topology for clip in clips)}
    metadata = {TOPOLOGIES: canonical_json({key: asdict(topology) for topology, key in keys.items()}).encode()}
    columns: dict[str, list[Any]] = {name: [] for name in CLIPS.names}
    for clip in clips:
        persons, frames, joints, _ = clip.positions.shape
        row = {
            "clip_id": clip.clip_id,
            "topology": keys[clip.topology],
            "num_persons": persons,
            "num_frames": frames,
            "num_joints": joints,
            "positions": clip.positions.ravel(),
            "confidence": clip.confidence.ravel(),
            "rotations": None if clip.rotations is None else clip.rotations.ravel(),
            "fps": clip.fps,
            "action": clip.action,
            "captions": list(clip.captions),
            **{f"source_{name}": getattr(clip.source, name) for name in _SOURCE_FIELDS},
        }
        for name, value in row.items():
            columns[name].append(value)
    arrays = [pa.array(columns[field.name], field.type) for field in CLIPS]
    return pa.Table.from_arrays(arrays, schema=CLIPS.with_metadata(metadata))


def clips_from_table(table: pa.Table) -> Iterator[Clip]:
    """The clips of a table, without copying their arrays."""
    for batch in table.to_batches():
        yield from ClipRows(batch, "table of clips")


def check_schema(found: pa.Schema, schema: str, version: int, where: str) -> None:
    """That a shard has exactly the columns which its manifest's schema has in this version of SkeletonLLM.

    Raises:
        ShardError: which columns differ, and what to do about it.
    """
    if schema not in SCHEMAS:
        return
    expected = SCHEMAS[schema]
    if version == SCHEMA_VERSION and found.equals(expected, check_metadata=False):
        return
    older = "an older" if version < SCHEMA_VERSION else "a newer" if version > SCHEMA_VERSION else "another"
    advice = "update SkeletonLLM" if version > SCHEMA_VERSION else "run the pipeline that builds it again"
    lacking = [_told(column) for column in expected if column not in list(found)]
    differ = lacking + [f"not {_told(column)}" for column in found if column not in list(expected)]
    raise ShardError(
        f"{where}: schema {schema!r} of {older} version ({version}, this program reads {SCHEMA_VERSION}); columns that "
        f"differ: {'; '.join(differ) or 'none, or only their order'}; {advice}"
    )


def _told(column: pa.Field) -> str:
    return f"{column.name} ({column.type}{'' if column.nullable else ', never null'})"


def _topology_key(topology: Topology) -> str:
    """Name and content: two BVH files may call different skeletons by one name."""
    return f"{topology.name}#{digest(asdict(topology))[:8]}"
