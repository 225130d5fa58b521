"""Source files of any format -> clip shards in the one canonical space. Bad files are recorded, never dropped.

A shard has a key, the digest of all it is made from: where a shard with that key is there, it is linked, not made again.
"""

import functools
import itertools
import logging
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from pipelines.card import DAMAGED, NO_BODY, card_of, statistics_of
from pipelines.executor import Build, ExecutorName, Rejected, ShardOutput, map_shards
from pipelines.ingest_plan import Plan, find_shards, link_shards, plan_of
from pipelines.sources import FILE as SOURCES_FILE
from pipelines.sources import (
    Kept,
    Sources,
    assign,
    known_data_sets,
    parents_of,
    scan,
    shares_recordings,
    write_sources,
)
from skeletonllm.errors import ConfigError, DataError, FormatError, NobodyError
from skeletonllm.plain import canonical_json, digest, sha256_of, to_plain
from skeletonllm.shards.manifest import DatasetRef, dataset_folder, find_dataset, fingerprint_of
from skeletonllm.shards.reader import open_shard
from skeletonllm.shards.schema import SCHEMA_VERSION, clips_to_table
from skeletonllm.shards.storage import Location, locate
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats.common import Declared
from skeletonllm.skeleton.formats.declared import FILE_NAME, MAX_FPS, declared_by, read_declaration, topology_named
from skeletonllm.skeleton.labels import Labels, find_class_folders, load_labels

logger = logging.getLogger(__name__)
pc: Any = pyarrow.compute  # made at its import, where no type checker sees it

VERSION = 2
_OF_ALL_SHARDS = ("files_per_shard", "max_rejected")


@dataclass(frozen=True)
class IngestConfig:
    """How source files become clips. What a reader does not take is refused by it."""

    files_per_shard: int = 128
    """Recordings of one new shard; files that hold many clips make larger shards."""
    max_rejected: float = 0.1
    """The run fails when more than this share of the files is rejected."""
    format: str | None = None
    """Read only recordings of this format, whatever they look like; by default the content decides."""
    topology: str | None = None
    """The joints' topology, for files that do not say it: a name, or a .toml file."""
    fps: float | None = None
    """Frames per second; wins over the files."""
    unit: str | None = None
    """Unit of the positions, for files that do not say it."""
    up: str | None = None
    """Axis that points up, such as +z, for files that do not say it."""
    body_model: Path | None = None
    """The user's own SMPL model (.npz), for files of poses."""

    def __post_init__(self) -> None:
        from skeletonllm.skeleton.formats import formats

        if self.files_per_shard < 1:
            raise ConfigError(f"files_per_shard is {self.files_per_shard}, must be at least 1")
        if not 0 <= self.max_rejected <= 1:
            raise ConfigError(f"max_rejected is {self.max_rejected}, must be a share from 0 to 1")
        if self.format is not None and self.format not in formats():
            raise ConfigError(f"format {self.format!r} is unknown; known are {', '.join(formats())}")
        if self.fps is not None and not 0 < self.fps <= MAX_FPS:
            raise ConfigError(f"fps is {self.fps:g}, must be more than 0 and at most {MAX_FPS}")
        declared_by(self.topology, self.fps, self.unit, self.up)

    @property
    def declared(self) -> Declared:
        """What readers are told."""
        return replace(declared_by(self.topology, self.fps, self.unit, self.up), body_model=self.body_model)

    @property
    def reading(self) -> dict[str, Any]:
        """What the clips of a shard depend on; what is not said is left out, so that a new option changes no key."""
        said = {name: value for name, value in to_plain(self).items() if value is not None}
        if self.topology is not None:
            said["topology"] = asdict(topology_named(self.topology))
        if self.body_model is not None:
            said["body_model"] = sha256_of(self.body_model)
        return {name: value for name, value in said.items() if name not in _OF_ALL_SHARDS}


@dataclass(frozen=True)
class Recording:
    """One recording as the driver saw it: path below the folder, hash, and each file's size and time."""

    path: str
    sha256: str
    files: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Files:
    """One shard's work: recordings below a folder, and the label files that speak of them."""

    folder: str
    recordings: tuple[Recording, ...]
    labels: tuple[tuple[str, int, int], ...] = ()
    class_folders: tuple[str, ...] = ()
    format: str | None = None
    declared: Declared = field(default_factory=Declared)


@dataclass(frozen=True)
class Work(Sequence[Files]):
    """The work of each shard, made when it is asked for: the driver holds flat tables only."""

    folder: Path
    config: IngestConfig
    sources: Sources
    class_folders: frozenset[str]

    def __len__(self) -> int:
        return self.sources.num_shards

    def __getitem__(self, index: int) -> Files:  # type: ignore[override]
        recordings, places = [], set()
        for path, rows in _grouped(self.sources.shard(index)):
            files = tuple((row["file"], row["bytes"], row["mtime_ns"]) for row in rows)
            recordings.append(Recording(path, _content_hash(path, rows), files))
            places.add(path.rpartition("/")[0])
        labels = tuple((row["file"], row["bytes"], row["mtime_ns"]) for row in self.sources.label_files(places))
        in_class = tuple(sorted(self.class_folders & places))
        return Files(str(self.folder), tuple(recordings), labels, in_class, self.config.format, self.config.declared)

    @property
    def inputs(self) -> list[str]:
        """What the data set is made from: its shards' keys in order, and all side files."""
        sides = [[row["file"], row["sha256"]] for row in self.sources.sides.to_pylist()]
        return [digest(self.keys), digest(sides)]

    @functools.cached_property
    def keys(self) -> list[str]:
        """Of each shard: a digest of all that its bytes depend on."""
        return [self._key(index) for index in range(len(self))]

    def _key(self, index: int) -> str:
        rows = self.sources.shard(index).select(["recording", "file", "bytes", "sha256"]).to_pylist()
        places = parents_of(row["recording"] for row in rows)
        labels = [[row["file"], row["sha256"]] for row in self.sources.label_files(places)]
        return digest(
            {
                "made_by": made_by(self.config),
                "files": [list(row.values()) for row in rows],
                "labels": labels,
                "class_folders": sorted(self.class_folders & places),
                # Clips that lie in the root itself have its name for their data set's.
                "root": self.folder.name if "" in places else "",
            }
        )


def made_by(config: IngestConfig) -> str:
    """What made a shard besides its sources."""
    return canonical_json(["ingest", VERSION, SCHEMA_VERSION, config.reading])


def assigned_by(config: IngestConfig) -> str:
    """What a data set must share with the next one for its shards to be kept."""
    return canonical_json([made_by(config), config.files_per_shard])


def run(
    folder: Path,
    root: Location | str,
    config: IngestConfig | None = None,
    executor: ExecutorName = "inline",
    name: str = "clips",
    fresh: bool = False,
) -> DatasetRef:
    """Ingest every recording below a folder.

    Args:
        folder: holds recordings in known formats, and labels (file names, class folders, labels.csv).
        root: where data sets are kept, a folder or a place in an object store (s3://, gs://).
        config: how files are read.
        executor: where shards are made.
        name: of the data set.
        fresh: put the recordings into shards as if they had never been ingested; shards that come out the same are kept.

    Raises:
        DataError: no recording is found, or too many are damaged.
        ConfigError: something is declared that a format says itself.
    """
    config, folder, root = config or IngestConfig(), folder.resolve(), locate(root)
    work, _ = _work(folder, root, config, name, fresh, save=True)
    labels = [folder / row["file"] for row in work.sources.sides.to_pylist()]
    load_labels(folder, labels)  # a damaged label file is one error here, not one per shard
    for path in labels:
        if path.name == FILE_NAME:
            read_declaration(path)
    build = Build(
        name=name,
        pipeline="ingest",
        version=VERSION,
        config=_fingerprinted(config),
        inputs=work.inputs,
        schema="clips",
        process_shard=process_shard,
        shards=work,
        max_rejected=config.max_rejected,
        left_over=partial(_labels_without_clips, folder, labels),
        prepare=partial(_prepare, root, name, work),
        card=partial(card_of, folder, work.sources),
        is_pure=True,
    )
    return map_shards(build, root, executor)


def plan(
    folder: Path, root: Location | str, config: IngestConfig | None = None, name: str = "clips", fresh: bool = False
) -> Plan:
    """What `run` would do with the same arguments, and why; nothing is written.

    Raises:
        DataError: no recording is found.
    """
    config, folder, root = config or IngestConfig(), folder.resolve(), locate(root)
    work, previous = _work(folder, root, config, name, fresh, save=False)
    fingerprint = fingerprint_of("ingest", VERSION, _fingerprinted(config), work.inputs)
    is_done = find_dataset(root, name, fingerprint) is not None
    found = find_shards(root, name, work.keys)
    return plan_of(work.sources, work.keys, previous, found, dataset_folder(root, name, fingerprint), is_done)


def process_shard(work: Files) -> ShardOutput:
    """Read some recordings: their clips, and what was rejected with the reason.

    Raises:
        DataError: a file changed since the driver saw it, or this machine does not see the folder.
    """
    from skeletonllm.skeleton.formats import read

    folder = Path(work.folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: machine {socket.gethostname()} does not see it; put the recordings on a disk that all machines of "
            "the Ray cluster share under the same path"
        )
    labels = load_labels(
        folder, [folder / file for file, _, _ in work.labels], frozenset(folder / place for place in work.class_folders)
    )
    clips: list[Clip] = []
    rejected: list[Rejected] = []
    for recording in work.recordings:
        path = folder / recording.path
        try:
            found = read(path, work.format, work.declared, folder)
        except (DataError, OSError) as error:
            rejected.append(_refused(recording.path, "", error, folder))
        else:
            accepted, refused = _labelled(found, recording, labels, folder)
            clips += accepted
            rejected += refused
        _check_unchanged(folder, recording.files)
    _check_unchanged(folder, work.labels)
    return ShardOutput(clips_to_table(clips), tuple(rejected), statistics_of(clips))


def _work(
    folder: Path, root: Location, config: IngestConfig, name: str, fresh: bool, save: bool
) -> tuple[Work, Kept | None]:
    """The work of all shards, and the data set that their assignment goes on from."""
    from skeletonllm.skeleton.formats import formats

    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder that holds the recordings")
    if isinstance(root, Path) and root.resolve().is_relative_to(folder):
        raise DataError(
            f"{root}: lies inside the recordings ({folder}), so what is made would be read as recordings; choose a "
            "--workdir outside"
        )
    rows, sides = scan(folder, config.format, root / ".hashes" / f"{digest(str(folder))[:12]}.arrow", save)
    if not len(rows):
        known = "in a known format below it; known are " + ", ".join(formats())
        raise DataError(f"{folder}: no recording {f'of format {config.format} below it' if config.format else known}")
    previous = None
    if not fresh:
        all_kept = (kept for kept in known_data_sets(root, name) if kept.made_by == assigned_by(config))
        previous = next((kept for kept in all_kept if shares_recordings(rows, kept)), None)
    sources = assign(rows, sides, previous, config.files_per_shard)
    holders = {folder / place for place in parents_of(sources.recordings().to_pylist())}
    class_folders = {place.relative_to(folder).as_posix() for place in find_class_folders(folder, holders)}
    return Work(folder, config, sources, frozenset(class_folders)), previous


def _prepare(root: Location, name: str, work: Work, folder: Location) -> None:
    """Note the sources in the data set's folder, and link the shards that are known from other data sets."""
    if not (folder / SOURCES_FILE).exists():
        write_sources(folder, work.sources, work.keys, assigned_by(work.config))
    linked = link_shards(folder, work.keys, find_shards(root, name, work.keys))
    if linked:
        logger.info("%s: %d of %d shards are kept from before", name, linked, len(work))


def _fingerprinted(config: IngestConfig) -> dict[str, Any]:
    return {"files_per_shard": config.files_per_shard, **config.reading}


def _grouped(rows: pa.Table) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Each recording with the rows of its files."""
    columns = ["recording", "file", "bytes", "mtime_ns", "sha256"]
    for path, files in itertools.groupby(rows.select(columns).to_pylist(), key=lambda row: row["recording"]):
        yield path, list(files)


def _content_hash(path: str, rows: Sequence[dict[str, Any]]) -> str:
    """Of a file its hash, of a folder that of its files' names and hashes."""
    own = {row["file"]: row["sha256"] for row in rows}
    inside = [[file, sha256] for file, sha256 in own.items() if file.startswith(f"{path}/")]
    return own.get(path) or digest(inside)


def _check_unchanged(folder: Path, files: Sequence[tuple[str, int, int]]) -> None:
    """What was hashed must be what was read: a shard's key says what is in it."""
    for file, size, mtime_ns in files:
        try:
            stat = (folder / file).stat()
        except OSError as error:
            raise DataError(f"{file}: vanished while it was being ingested; run again") from error
        if (stat.st_size, stat.st_mtime_ns) != (size, mtime_ns):
            raise DataError(f"{file}: changed while it was being ingested; run again (finished shards are kept)")


def _labelled(
    found: Sequence[Clip], recording: Recording, labels: Labels, folder: Path
) -> tuple[list[Clip], list[Rejected]]:
    """The clips of one recording with their labels and ids; each that cannot be is rejected by itself."""
    accepted: dict[str, Clip] = {}
    rejected = []
    for clip in found:
        try:
            placed = _placed(labels.apply(clip, folder / recording.path), recording)
            if placed.clip_id in accepted:
                raise DataError(
                    f"{recording.path}: clip id {placed.clip_id!r} occurs twice in the file; rename one of the clips"
                )
            accepted[placed.clip_id] = placed
        except DataError as error:
            kind = "label" if isinstance(error, FormatError) else "repeated id"
            rejected.append(_refused(recording.path, clip.clip_id, error, folder, kind))
    return list(accepted.values()), rejected


def _placed(clip: Clip, recording: Recording) -> Clip:
    """The clip with an id that is unique in the folder, and with its file's name and hash."""
    source = replace(clip.source, file=recording.path, sha256=recording.sha256)
    place = recording.path.rpartition("/")[0]
    return replace(clip, clip_id=f"{place}/{clip.clip_id}" if place else clip.clip_id, source=source)


def _refused(file: str, place: str, error: Exception, folder: Path, kind: str = "") -> Rejected:
    if not kind:
        kind = NO_BODY if isinstance(error, NobodyError) else "unreadable" if isinstance(error, OSError) else DAMAGED
    # Without the folder's own place: the same recordings elsewhere give the same bytes.
    return Rejected(file, place, str(error).replace(f"{folder}/", ""), kind)


def _labels_without_clips(
    folder: Path, label_files: Sequence[Path], shards: Sequence[Location], rejected: Sequence[Location]
) -> list[Rejected]:
    """Labels whose clip is in no shard; those of files that were rejected are not named a second time.

    Raises:
        DataError: a clip is in several shards.
    """
    ids = pa.concat_arrays([_column(path, "clip_id") for path in shards])
    counts = pc.value_counts(ids)
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if len(twice):
        raise DataError(
            f"{folder}: {len(twice)} clip ids belong to several recordings, for example {twice[0].as_py()!r}; rename one "
            "of each, or put them into folders of their own"
        )
    labels = load_labels(folder, label_files)
    if not labels.tables:
        return []
    known: list[str] = ids.to_pylist()
    for path in rejected:
        known += [Path(file).with_suffix("").as_posix() for file in _column(path, "file").to_pylist()]
        known += _column(path, "place").to_pylist()
    unused = labels.unused(known)
    if unused:
        logger.warning("%d labels have no clip, for example %s", len(unused), unused[0])
    parts = [line.removeprefix(f"{folder}/").split(": ", 1) for line in unused]
    reason = "no recording of this clip; correct its id or remove the row"
    return [Rejected(file, row, reason, "label without a clip") for file, row in parts]


def _column(path: Location, name: str) -> pa.Array:
    """A copy of one column: hundreds of shards are not kept open."""
    column = open_shard(path)[name]
    return pa.concat_arrays([*column.chunks, pa.array([], column.type), pa.array([""], column.type)])[:-1]
