"""Clips of one shard by row: views of its columns made once, strings decoded when they are asked for."""

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from skeletonllm.errors import ShardError
from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.topology import Topology

TOPOLOGIES = b"topologies"
_SOURCE = "source_"


class ClipRows:
    """The clips of a batch by number, their arrays still where they lie.

    What a `Clip` checks when it is made is checked here once, for all rows at a time.

    Args:
        batch: rows of the schema `CLIPS`, which Arrow found valid.
        where: names the shard in errors.

    Raises:
        ShardError: a row that cannot be a clip.
    """

    def __init__(self, batch: pa.RecordBatch, where: str) -> None:
        self._num_rows = batch.num_rows
        self._topologies = _topologies(batch.schema, where)
        self._persons, self._frames, self._joints, self._fps = (
            batch.column(name).to_numpy() for name in ("num_persons", "num_frames", "num_joints", "fps")
        )
        self._positions, self._confidence, self._rotations = (
            _Lists(batch.column(name)) for name in ("positions", "confidence", "rotations")
        )
        self._id, self._topology, self._action = (
            _Strings(batch.column(name)) for name in ("clip_id", "topology", "action")
        )
        self._captions, self._caption = _Lists(batch.column("captions")), _Strings(batch.column("captions").values)
        self._same: dict[
            str, str
        ] = {}  # what all rows have in common, such as the name of the data set, is decoded once
        self._source: list[tuple[str, memoryview, memoryview]] = []
        for name in (name for name in batch.schema.names if name.startswith(_SOURCE)):
            strings, field = _Strings(batch.column(name)), name.removeprefix(_SOURCE)
            if len(batch.column(name).unique()) == 1:
                self._same[field] = strings[0]
            else:
                self._source.append((field, strings.offsets, strings.data))
        self._check(batch.column("topology"), where)

    def __len__(self) -> int:
        return self._num_rows

    def __iter__(self) -> Iterator[Clip]:
        return (self[row] for row in range(self._num_rows))

    def __getitem__(self, row: int) -> Clip:
        shape = (self._persons.item(row), self._frames.item(row), self._joints.item(row))
        clip = object.__new__(Clip)  # what __init__ would check again is known from _check
        vars(clip).update(
            clip_id=self._id[row],
            topology=self._topologies[self._topology[row]],
            positions=self._positions[row].reshape(*shape, 3),
            confidence=self._confidence[row].reshape(shape),
            fps=self._fps.item(row),
            action=self._action[row] if self._action.has(row) else None,
            captions=tuple([self._caption[place] for place in self._captions.places(row)]),
            rotations=self._rotations[row].reshape(*shape, 4) if self._rotations.has(row) else None,
            source=self._source_of(row),
        )
        return clip

    def clip_id(self, row: int) -> str:
        """The id of a row's clip."""
        return self._id[row]

    def _source_of(self, row: int) -> Source:
        source, end = object.__new__(Source), row + 1
        vars(source).update(self._same)
        # The same as _Strings.__getitem__, but calling it ten times would be a third of a clip's time.
        vars(source).update({n: str(data[places[row] : places[end]], "utf-8") for n, places, data in self._source})
        return source

    def _check(self, topology: pa.StringArray, where: str) -> None:
        # As floats: the products of damaged sizes must not wrap around.
        persons, frames, joints = (s.astype(np.float64) for s in (self._persons, self._frames, self._joints))
        coded = topology.dictionary_encode()
        known = [
            self._topologies[name].num_joints if name in self._topologies else -1
            for name in coded.dictionary.to_pylist()
        ]
        points = persons * frames * joints
        checks = {
            "fps must be positive": self._fps > 0,
            "at least one person and one frame are needed": (persons > 0) & (frames > 0),
            "its topology must be in the shard, with as many joints": joints
            == np.asarray(known, np.float64)[coded.indices.to_numpy()],
            "positions must be persons x frames x joints x 3": self._positions.lengths == points * 3,
            "confidence must be persons x frames x joints": self._confidence.lengths == points,
            "rotations must be persons x frames x joints x 4": ~self._rotations.there
            | (self._rotations.lengths == points * 4),
        }
        for rule, kept in checks.items():
            if not kept.all():
                raise ShardError(f"{where}: row {int(np.argmin(kept))}: {rule}; run the pipeline that wrote it again")
        if not np.isfinite(self._positions.values).all():
            raise ShardError(f"{where}: a position is not finite; run the pipeline that wrote it again")


class _Lists:
    """The lists of a column."""

    def __init__(self, column: pa.ListArray | pa.LargeListArray) -> None:
        # The items of a memoryview are Python's own numbers, which slice faster than numpy's.
        self._offsets = memoryview(column.offsets.to_numpy())
        self.there = _there(column)
        self.values = column.values.to_numpy() if pa.types.is_floating(column.type.value_type) else np.empty(0)

    @property
    def lengths(self) -> np.ndarray:
        """How many values each row has."""
        return np.diff(np.asarray(self._offsets))

    def has(self, row: int) -> bool:
        """Whether there is a list."""
        return self.there.item(row)

    def places(self, row: int) -> range:
        """Where its values are."""
        return range(self._offsets[row], self._offsets[row + 1])

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self._offsets[row] : self._offsets[row + 1]]


class _Strings:
    """The strings of a column."""

    def __init__(self, column: pa.StringArray) -> None:
        _, offsets, data = column.buffers()
        first, count = column.offset, len(column)
        self.offsets = memoryview(offsets or b"")[4 * first : 4 * (first + count + 1)].cast("i")
        self.data = memoryview(data or b"")
        self._there = _there(column)

    def has(self, row: int) -> bool:
        """Whether there is a string."""
        return self._there.item(row)

    def __getitem__(self, row: int) -> str:
        return str(self.data[self.offsets[row] : self.offsets[row + 1]], "utf-8")


def _there(column: pa.Array) -> np.ndarray:
    """Which rows are not null; where all are or none is, without memory of their own."""
    if column.null_count in (0, len(column)):
        return np.broadcast_to(np.bool_(column.null_count == 0), len(column))
    return column.is_valid().to_numpy(zero_copy_only=False)


def _topologies(schema: pa.Schema, where: str) -> dict[str, Topology]:
    try:
        return {
            name: Topology(
                values["name"],
                tuple(values["joint_names"]),
                tuple(values["parents"]),
                tuple(values["parts"]),
                tuple((left, right) for left, right in values["mirror"]),
                values["dims"],
            )
            for name, values in json.loads((schema.metadata or {}).get(TOPOLOGIES, b"{}")).items()
        }
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise ShardError(f"{where}: its topologies cannot be read ({error}); run its pipeline again") from error
