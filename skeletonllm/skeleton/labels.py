"""What a clip shows, who and which camera: from labels.csv, the file's own name, actions.txt or the folder's name."""

import csv
import functools
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from skeletonllm.errors import FormatError
from skeletonllm.skeleton.actions import NTU_120, NW_UCLA_NUMBERS
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import Declared, find_recordings, holds_recordings, ntu, nwucla, read

COLUMNS = ("clip_id", "action", "subject", "camera", "caption")
_NOTHING = Declared()
_LABEL = re.compile(r"label (\d+)")
# Folders that a data set has by its layout, whatever is in them.
_LAYOUT_FOLDERS = {"new_joints", "joints", "new_joint_vecs", "texts", "data", "all_sqe", "train", "val", "test"}


@dataclass(frozen=True)
class Row:
    """What labels.csv says about one clip; empty where it says nothing."""

    action: str = ""
    subject: str = ""
    camera: str = ""
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Labels:
    """All labels below a folder.

    Args:
        folder: the root; nothing above it is looked at.
        tables: rows by clip id, of each folder that holds a labels.csv.
        names: action names by number, of each folder that holds an actions.txt.
        class_folders: folders whose names are the actions of the recordings in them.
    """

    folder: Path
    tables: dict[Path, dict[str, Row]]
    names: dict[Path, tuple[str, ...]]
    class_folders: frozenset[Path] | None = None
    """None: the disk is asked."""

    def apply(self, clip: Clip, path: Path) -> Clip:
        """The clip with its action, subject, camera, captions and data set filled in.

        What labels.csv says wins; then the number that the file gives, named by actions.txt or, where there is none, by
        the data set's official list; then a class folder.

        Args:
            clip: as its format read it.
            path: the file, below the root.

        Raises:
            FormatError: a number has no name in actions.txt.
        """
        row = self._row(clip.clip_id, path)
        parts = path.relative_to(self.folder).parts
        source = replace(
            clip.source,
            dataset=clip.source.dataset or (parts[0] if len(parts) > 1 else self.folder.name),
            subject=row.subject or clip.source.subject,
            camera=row.camera or clip.source.camera,
        )
        action = row.action or self._numbered(clip, path)
        covered = any(place in self.tables or place in self.names for place in self._places(path))
        if not action and not covered and self._is_class_folder(path.parent):
            action = path.parent.name
        captions = tuple(dict.fromkeys((*row.captions, *clip.captions)))
        return replace(clip, action=action or None, captions=captions, source=source)

    def unused(self, clip_ids: Iterable[str]) -> list[str]:
        """Labels without a clip, as `labels.csv: clip id`.

        Args:
            clip_ids: of all clips below the root: plain, or with the folder (`ntu/S001...`) in front.
        """
        known = set(clip_ids)
        plain = {(clip_id.rpartition("/")[0], clip_id.rpartition("/")[2]) for clip_id in known}
        left = []
        for place, rows in self.tables.items():
            here = place.relative_to(self.folder).as_posix()
            inside = {
                name for folder, name in plain if not folder or here == "." or f"{folder}/".startswith(f"{here}/")
            }
            prefix = "" if here == "." else f"{here}/"
            left += [
                f"{place / 'labels.csv'}: {row}" for row in rows if row not in inside and prefix + row not in known
            ]
        return left

    def _row(self, clip_id: str, path: Path) -> Row:
        """The row of the nearest labels.csv that speaks of the clip, by its id or its path without suffix."""
        for place in self._places(path):
            table = self.tables.get(place, {})
            beside = path.with_suffix("").relative_to(place).as_posix()
            for key in (clip_id, beside):
                if key in table:
                    return table[key]
        return Row()

    def _numbered(self, clip: Clip, path: Path) -> str:
        """The action by the number that the file gives: NTU's and NW-UCLA's count from 1, pyskl's labels from 0."""
        label = _LABEL.fullmatch(clip.action or "")
        in_ntu, in_nwucla = ntu.action_number(clip.clip_id), nwucla.action_number(clip.clip_id)
        number = int(label[1]) + 1 if label else in_ntu or in_nwucla
        if number is None:
            return clip.action or ""
        for place in self._places(path):
            names = self.names.get(place)
            if names is not None:
                if not 1 <= number <= len(names):
                    raise FormatError(
                        f"{path}: clip {clip.clip_id} has action number {number}, but {place / 'actions.txt'} has "
                        f"{len(names)} names; add the missing ones or leave the clip out"
                    )
                return names[number - 1]
        if in_ntu and in_ntu <= len(NTU_120.actions):
            return NTU_120.actions[in_ntu - 1]
        if in_nwucla and not label:
            return NW_UCLA_NUMBERS.get(in_nwucla, "")
        return clip.action or ""

    def _is_class_folder(self, place: Path) -> bool:
        if self.class_folders is not None:
            return place in self.class_folders
        return _is_class_folder(self.folder, place)

    def _places(self, path: Path) -> list[Path]:
        """The file's folder and those above it, up to the root."""
        above = path.parents
        return list(above[: list(above).index(self.folder) + 1]) if self.folder in above else [path.parent]


def load_labels(
    folder: Path, files: Iterable[Path] | None = None, class_folders: frozenset[Path] | None = None
) -> Labels:
    """All labels below a folder.

    Args:
        folder: the root.
        files: the label files below it, where they are known; by default the folder is searched.
        class_folders: as of `find_class_folders`, where they are known.

    Raises:
        FormatError: a labels.csv or actions.txt is damaged; says file and line.
    """
    if files is None:
        files = sorted((*folder.rglob("labels.csv"), *folder.rglob("actions.txt")))
    tables, names = {}, {}
    for path in files:
        if path.name == "labels.csv":
            tables[path.parent] = _table_as_of(path, *_stamp(path))
        elif path.name == "actions.txt":
            names[path.parent] = _read_names(path)
    return Labels(folder, tables, names, class_folders)


def find_class_folders(root: Path, holders: Collection[Path]) -> frozenset[Path]:
    """The folders whose names are actions, by the rule of `_is_class_folder`.

    Args:
        root: of all recordings.
        holders: every folder that holds a recording directly.
    """
    siblings = Counter(place.parent for place in holders)
    return frozenset(
        place
        for place in holders
        if place != root
        and place.name not in _LAYOUT_FOLDERS
        and siblings[place.parent] > 1
        and place.parent not in holders
    )


def labels_beside(path: Path) -> Labels:
    """The labels that speak of one recording: those of its folder or of the folder above it; nothing else is searched.

    Raises:
        FormatError: a labels.csv or actions.txt is damaged; says file and line.
    """
    places = [path.parent, path.parent.parent]
    tables = {place: _read_table(place / "labels.csv") for place in places if (place / "labels.csv").is_file()}
    names = {place: _read_names(place / "actions.txt") for place in places if (place / "actions.txt").is_file()}
    # One recording does not tell that its folder is a class.
    root = places[1] if places[1] in tables or places[1] in names else places[0]
    return Labels(root, tables, names)


def read_labelled(path: Path, format: str | None = None, declared: Declared = _NOTHING) -> list[Clip]:
    """All clips of a recording, or of a folder of recordings, with the labels that lie there.

    Args:
        path: the recording, or a folder of recordings.
        format: a name of `skeletonllm.skeleton.formats.formats()`; by default the content decides.
        declared: what the files do not say.

    Raises:
        FormatError: a file is damaged, or of no known format.
        ConfigError: something is declared that the format says itself.
    """
    recordings = find_recordings(path) if path.is_dir() and format is None else []
    if not recordings:
        labels = labels_beside(path)
        return [labels.apply(clip, path) for clip in read(path, format, declared)]
    labels = load_labels(path)
    return [labels.apply(clip, one) for one in recordings for clip in read(one, format, declared)]


@functools.cache
def _is_class_folder(root: Path, place: Path) -> bool:
    """Whether a folder of recordings has at least one sibling with recordings: then their names are the actions."""
    if place == root or place.name in _LAYOUT_FOLDERS or root not in place.parents:
        return False
    siblings = (other for other in place.parent.iterdir() if other.is_dir() and other != place)
    return any(holds_recordings(other) for other in siblings) and not holds_recordings(place.parent)


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=64)
def _table_as_of(path: Path, mtime_ns: int, size: int) -> dict[str, Row]:
    """The table as it was at that time: a worker that makes many shards reads it once."""
    return _read_table(path)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}, offset {error.start}: found no text, expected UTF-8; save it as UTF-8") from error


def _read_names(path: Path) -> tuple[str, ...]:
    names = tuple(line.strip() for line in _read_text(path).rstrip().splitlines())
    if not names or "" in names:
        line = names.index("") + 1 if names else 1
        raise FormatError(f"{path}, line {line}: found nothing, expected the name of action {line}; one name per line")
    return names


def _read_table(path: Path) -> dict[str, Row]:
    """Rows by clip id; several rows of a clip may give several captions, but no two actions."""
    reader = csv.DictReader(_read_text(path).splitlines(), restkey="more")
    columns = reader.fieldnames or []
    if "clip_id" not in columns or set(columns) - set(COLUMNS):
        raise FormatError(
            f"{path}, line 1: found columns {', '.join(columns) or 'nothing'}, expected clip_id and any of "
            f"{', '.join(COLUMNS[1:])}; rename or remove the others"
        )
    rows: dict[str, Row] = {}
    for record in reader:
        where = f"{path}, line {reader.line_num}"
        if "more" in record or None in record.values():
            raise FormatError(f"{where}: found more or fewer fields than the {len(columns)} columns; quote any comma")
        values = {key: value.strip() for key, value in record.items()}
        clip_id = values["clip_id"]
        caption = values.get("caption", "")
        action, subject, camera = (values.get(key, "") for key in COLUMNS[1:4])
        row = Row(action, subject, camera, (caption,) if caption else ())
        known = rows.get(clip_id)
        if not clip_id:
            raise FormatError(f"{where}: found an empty clip_id, expected the name of a clip; fill it in")
        if known is not None and replace(known, captions=()) != replace(row, captions=()):
            raise FormatError(f"{where}: found other labels for clip {clip_id!r} than before, expected one; remove one")
        rows[clip_id] = row if known is None else replace(known, captions=(*known.captions, *row.captions))
    return rows
