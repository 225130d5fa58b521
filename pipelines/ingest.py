"""Source files of any format -> clip shards in the one canonical space. Bad files are recorded, never dropped."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pipelines.executor import Build, ExecutorName, Rejected, ShardOutput, map_shards
from skeletonllm.errors import DataError
from skeletonllm.plain import digest, sha256_of
from skeletonllm.shards.manifest import DatasetRef
from skeletonllm.shards.reader import open_shard
from skeletonllm.shards.schema import clips_to_table
from skeletonllm.skeleton.clip import Clip

logger = logging.getLogger(__name__)

VERSION = 1


@dataclass(frozen=True)
class IngestConfig:
    """How source files become clips."""

    files_per_shard: int = 128
    """Source files of one shard; files that hold many clips make larger shards."""
    max_rejected: float = 0.1
    """The run fails when more than this share of the files is rejected."""


@dataclass(frozen=True)
class Files:
    """One shard's work: some files below a folder."""

    folder: str
    files: tuple[str, ...]


def run(
    folder: Path, root: Path, config: IngestConfig | None = None, executor: ExecutorName = "inline", name: str = "clips"
) -> DatasetRef:
    """Ingest every recording below a folder.

    Args:
        folder: holds recordings in known formats, and labels (file names, class folders, labels.csv).
        root: where data sets are kept.

    Raises:
        DataError: no recording is found, or too many are damaged.
    """
    from skeletonllm.skeleton.formats import find_recordings, formats
    from skeletonllm.skeleton.labels import load_labels

    config, folder = config or IngestConfig(), folder.resolve()
    if not folder.is_dir():
        raise DataError(f"{folder}: not a folder; give the folder that holds the recordings")
    if root.resolve().is_relative_to(folder):
        raise DataError(
            f"{root}: lies inside the recordings ({folder}), so what is made would be read as recordings; choose a "
            "--workdir outside"
        )
    files = [str(path.relative_to(folder)) for path in find_recordings(folder)]
    if not files:
        raise DataError(f"{folder}: no recording in a known format below it; known are {', '.join(formats())}")
    load_labels(folder)  # a damaged label file is one error here, not one per shard
    step = config.files_per_shard
    shards = [Files(str(folder), tuple(files[start : start + step])) for start in range(0, len(files), step)]
    build = Build(
        name=name,
        pipeline="ingest",
        version=VERSION,
        config={"files_per_shard": step},
        inputs=[_fingerprint(folder)],
        schema="clips",
        process_shard=process_shard,
        shards=shards,
        max_rejected=config.max_rejected,
        left_over=partial(_labels_without_clips, folder),
    )
    return map_shards(build, root, executor)


def process_shard(work: Files) -> ShardOutput:
    """Read some files: their clips, and what was rejected with the reason."""
    from skeletonllm.skeleton.formats import read
    from skeletonllm.skeleton.labels import load_labels

    folder = Path(work.folder)
    labels = load_labels(folder)
    clips: list[Clip] = []
    rejected = []
    for file in work.files:
        path = folder / file
        try:
            read_clips, sha256 = read(path), sha256_of(path)
        except (DataError, OSError) as error:
            rejected.append(_refused(file, "", error, folder))
            continue
        ids: set[str] = set()
        for found in read_clips:
            try:
                clip = _placed(labels.apply(found, path), Path(file), path, sha256)
                if clip.clip_id in ids:
                    raise DataError(
                        f"{file}: clip id {clip.clip_id!r} occurs twice in the file; rename one of the clips"
                    )
            except DataError as error:
                rejected.append(_refused(file, found.clip_id, error, folder))
                continue
            ids.add(clip.clip_id)
            clips.append(clip)
    return ShardOutput(clips_to_table(clips), tuple(rejected), _statistics(clips))


def _labels_without_clips(folder: Path, shards: Sequence[Path], rejected: Sequence[Path]) -> list[Rejected]:
    """Labels whose clip is in no shard; those of files that were rejected are not named a second time.

    Raises:
        DataError: a clip is in several shards.
    """
    from skeletonllm.skeleton.labels import load_labels

    known = [clip_id for path in shards for clip_id in open_shard(path).column("clip_id").to_pylist()]
    twice = [clip_id for clip_id, count in Counter(known).items() if count > 1]
    if twice:
        raise DataError(
            f"{folder}: {len(twice)} clip ids belong to several recordings, for example {twice[0]!r}; rename one of each, "
            "or put them into folders of their own"
        )
    for row in (row for path in rejected for row in open_shard(path).to_pylist()):
        known += [Path(row["file"]).with_suffix("").as_posix(), row["place"]]
    unused = load_labels(folder).unused(known)
    if unused:
        logger.warning("%d labels have no clip, for example %s", len(unused), unused[0])
    parts = [line.removeprefix(f"{folder}/").split(": ", 1) for line in unused]
    return [Rejected(file, row, "no recording of this clip; correct its id or remove the row") for file, row in parts]


def _refused(file: str, place: str, error: Exception, folder: Path) -> Rejected:
    # Without the folder's own place: the same recordings elsewhere give the same bytes.
    return Rejected(file, place, str(error).replace(f"{folder}/", ""))


def _placed(clip: Clip, file: Path, path: Path, sha256: str) -> Clip:
    """The clip with an id that is unique in the folder, and with its file's name and hash."""
    source = replace(clip.source, file=str(file), sha256=sha256)
    if not source.dataset:
        source = replace(source, dataset=file.parts[0] if len(file.parts) > 1 else path.parent.name)
    place = file.parent.as_posix()
    return replace(clip, clip_id=clip.clip_id if place == "." else f"{place}/{clip.clip_id}", source=source)


def _statistics(clips: Sequence[Clip]) -> dict[str, object]:
    return {
        "frames": sum(clip.num_frames for clip in clips),
        "seconds": round(sum(clip.num_frames / clip.fps for clip in clips), 3),
        "actions": dict(sorted(Counter(clip.action or "" for clip in clips).items())),
        "formats": dict(sorted(Counter(clip.source.format for clip in clips).items())),
        "subjects": dict(sorted(Counter(clip.source.subject for clip in clips).items())),
        "topologies": dict(sorted(Counter(clip.topology.name for clip in clips).items())),
        "persons": dict(sorted(Counter(str(clip.num_persons) for clip in clips).items())),
    }


def _fingerprint(folder: Path) -> str:
    """Of all files below the folder, side files such as labels too: path, size and content."""
    facts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            facts.append([path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path)])
    return digest(facts)
