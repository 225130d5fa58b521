"""Every recording below a path, one after the other: files of any format, folders of them, data sets of shards."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from skeletonllm.errors import DataError, FormatError, ShardError
from skeletonllm.shards.manifest import MANIFEST, read_manifest
from skeletonllm.shards.reader import open_shard
from skeletonllm.shards.schema import clips_from_table
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, detect, find_recordings, formats, read
from skeletonllm.skeleton.labels import labels_beside, load_labels


@dataclass(frozen=True)
class Recording:
    """One recording (a file, a folder with a file per frame, or a shard) and what came of it.

    Args:
        file: below the path that was asked for.
        clips: with labels; empty where it could not be read.
        error: why it could not be read.
        place: in the file, where the error says it.
        fatal: whether the error is damage, not an earlier rejection that is on record.
    """

    file: str
    clips: tuple[Clip, ...] = ()
    error: str = ""
    place: str = ""
    fatal: bool = True


@dataclass(frozen=True)
class Found:
    """What lies below a path.

    Args:
        path: that was asked for.
        kind: `file`, `folder` or `data set`.
        count: recordings, or shards.
        recordings: reads every so many of them, each when it is asked for.
        about: a line about the whole: the format of a file, the origin of a data set.
    """

    path: Path
    kind: str
    count: int
    recordings: Callable[[int], Iterator[Recording]]
    about: str = ""


def find(path: Path, format: str | None = None, declared: Declared | None = None) -> Found:
    """What lies below a path, to be read.

    Args:
        path: a recording, a folder of recordings, or a data set of clips (a folder with a manifest).
        format: a name of `skeletonllm.skeleton.formats`; by default the content decides.
        declared: what the files do not say.

    Raises:
        DataError: there is no recording below it.
        OSError: there is no such path.
    """
    how = declared or Declared()
    if (path / MANIFEST).is_file():
        return _data_set(path)
    if not path.is_dir() or _is_recording(path, format):
        return Found(
            path,
            "file",
            1,
            lambda _: iter([_read(path, path.parent, format, how, labels_beside)]),
            _description(path, format),
        )
    files = find_recordings(path)
    if not files:
        raise DataError(f"{path}: no recording in a known format below it; known are {', '.join(formats())}")
    labels = load_labels(path)
    return Found(
        path,
        "folder",
        len(files),
        lambda every: (_read(file, path, format, how, lambda _: labels) for file in files[::every]),
    )


def _description(path: Path, format: str | None) -> str:
    """The format of a recording in words; empty where it cannot be known, which reading tells better."""
    try:
        return (formats()[format] if format in formats() else detect(path)).description
    except FormatError:
        return ""


def _is_recording(folder: Path, format: str | None) -> bool:
    """Whether a folder is one recording: a format has one file per frame."""
    if format in formats():
        return formats()[format].is_folder
    try:
        return detect(folder).is_folder
    except DataError:
        return False


def _read(file: Path, root: Path, format: str | None, how: Declared, labels_of: Callable) -> Recording:
    name = file.relative_to(root).as_posix()
    try:
        clips = read(file, format, how)
        labels = labels_of(file)
        return Recording(name, tuple(_placed(labels.apply(clip, file), name) for clip in clips))
    except (DataError, OSError) as error:
        return Recording(name, error=str(error).replace(f"{root}/", ""))


def _placed(clip: Clip, name: str) -> Clip:
    """With its file's name, and with an id that is unique in the folder, as ingest gives it."""
    folder = Path(name).parent.as_posix()
    unique = clip.clip_id if folder == "." else f"{folder}/{clip.clip_id}"
    return replace(clip, clip_id=unique, source=replace(clip.source, file=name))


def _data_set(folder: Path) -> Found:
    """A data set's shards; each is verified: its hash against the manifest, and Arrow's structure."""
    manifest = read_manifest(folder)
    if manifest.schema != "clips":
        raise ShardError(f"{folder}: a data set of {manifest.schema}, expected clips; give the one that ingest wrote")

    def recordings(every: int) -> Iterator[Recording]:
        for shard in manifest.shards[::every]:
            try:
                yield Recording(shard.file, tuple(clips_from_table(open_shard(folder / shard.file, shard))))
            except DataError as error:
                yield Recording(shard.file, error=str(error).replace(f"{folder}/", ""))
        for shard in manifest.rejected:
            try:
                rows = open_shard(folder / shard.file, shard).to_pylist()
            except DataError as error:
                yield Recording(shard.file, error=str(error).replace(f"{folder}/", ""))
                continue
            for row in rows:
                yield Recording(row["file"], error=row["reason"], place=row["place"], fatal=False)

    about = f"{manifest.name}, made by {manifest.pipeline} on {manifest.created_at or 'an unknown day'}"
    return Found(folder, "data set", len(manifest.shards), recordings, about)
