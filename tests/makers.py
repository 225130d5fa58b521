"""Small makers that the tests share: a clip, a topology, with a change by keyword."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from skeletonllm.shards.manifest import DatasetRef, Manifest, dataset_folder, write_manifest
from skeletonllm.shards.schema import SCHEMA_VERSION, clips_to_table
from skeletonllm.shards.writer import describe_shard, shard_name, write_shard
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import BODY_PARTS, Topology


def make_clip(
    clip_id: str = "c0",
    topology: str | Topology = "kinect_v1_20",
    num_persons: int = 1,
    num_frames: int = 12,
    fps: float = 30.0,
    seed: int = 0,
    **changes,
) -> Clip:
    """A clip of joints that wander about a standing pose."""
    skeleton = TOPOLOGIES[topology] if isinstance(topology, str) else topology
    rng = np.random.default_rng(seed)
    pose = rng.normal(scale=0.4, size=(1, 1, skeleton.num_joints, 3))
    drift = np.cumsum(rng.normal(scale=0.02, size=(num_persons, num_frames, skeleton.num_joints, 3)), axis=1)
    positions = (pose + drift + np.arange(num_persons)[:, None, None, None]).astype(np.float32)
    if skeleton.dims == 2:
        positions[..., 2] = 0
    values = {
        "clip_id": clip_id,
        "topology": skeleton,
        "positions": positions,
        "confidence": np.ones(positions.shape[:3], np.float32),
        "fps": fps,
        "action": "wave",
        "source": Source(dataset="made", format="made", subject="P001", camera="1", file=f"{clip_id}.made"),
    }
    return Clip(**{**values, **changes})


def performed_clips(
    actions: Sequence[str] = ("kick", "wave"), subjects: Sequence[str] = ("P001", "P002")
) -> list[Clip]:
    """Real movements of simulated performers, `SUBJECT-ACTION` by name."""
    return [
        replace(
            perform(action, number, 0, 0, fps=30.0),
            clip_id=f"{subject}-{action}",
            source=Source(dataset="made", format="made", subject=subject, file=f"{subject}-{action}.made"),
        )
        for number, subject in enumerate(subjects)
        for action in actions
    ]


def write_dataset(root: Path, name: str, table: pa.Table) -> DatasetRef:
    """A data set of one shard, as a pipeline would have written it."""
    fingerprint = f"{name}-made-by-a-test"
    folder = dataset_folder(root, name, fingerprint)
    write_shard(folder / shard_name(0, 1), table)
    entry, _ = describe_shard(folder / shard_name(0, 1))
    return write_manifest(folder, Manifest(name, name, SCHEMA_VERSION, "test", 1, {}, [], fingerprint, [entry]))


def write_clips(root: Path, clips: Sequence[Clip]) -> DatasetRef:
    """A clip data set of one shard."""
    return write_dataset(root, "clips", clips_to_table(clips))


def random_topology(num_joints: int, seed: int = 0) -> Topology:
    """A random tree of joints with random body parts."""
    rng = np.random.default_rng(seed)
    parents = (-1, *(int(rng.integers(0, child)) for child in range(1, num_joints)))
    parts = tuple(str(rng.choice(BODY_PARTS)) for _ in range(num_joints))
    return Topology(f"random_{num_joints}", tuple(f"j{j}" for j in range(num_joints)), parents, parts)
