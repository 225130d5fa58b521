"""The card of a clip data set: a README.md that says what is in it, whose it is, what was left out and how to make it.

Its text depends on the data set's content alone: no times, no paths of this machine.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from pipelines.sources import Sources
from skeletonllm.errors import FormatError
from skeletonllm.shards.manifest import Manifest
from skeletonllm.shards.reader import open_shard
from skeletonllm.shards.storage import Location
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats.declared import read_declaration

NO_BODY, DAMAGED = "no body", "damaged"
pc: Any = pyarrow.compute  # made at its import, where no type checker sees it
_MOST_ROWS = 200
_MOST_NAMES = 60
_SECONDS = (1, 2, 5, 10, 30, 60)
_LICENCE_BYTES = 4096
# Setups, actions and recordings of the two data sets, and how many of these their authors list as having missing or
# incomplete skeletons. Source: shahroudy/NTURGB-D, README and lists.
_NTU = (("NTU RGB+D 60", 17, 60, 56_880, 302), ("NTU RGB+D 120", 32, 120, 114_480, 535))
_NTU_NAME = r"S(?P<setup>\d{3})C\d{3}P\d{3}R\d{3}A(?P<action>\d{3})\.skeleton$"
_COMPLETE = 0.99  # of a published data set, before its counts are compared


def statistics_of(clips: Sequence[Clip]) -> dict[str, Any]:
    """Counts of some clips; those of several shards add up."""

    def count(values: Iterable[object]) -> dict[str, int]:
        return dict(sorted(Counter(map(str, values)).items()))

    return {
        "frames": sum(clip.num_frames for clip in clips),
        "seconds": round(sum(clip.num_frames / clip.fps for clip in clips), 3),
        "actions": count(clip.action or "" for clip in clips),
        "formats": count(clip.source.format for clip in clips),
        "subjects": count(clip.source.subject for clip in clips),
        "cameras": count(clip.source.camera for clip in clips),
        "topologies": count(clip.topology.name for clip in clips),
        "skeletons": count(
            f"{clip.topology.name}, {clip.topology.num_joints} joints, {clip.topology.dims}D" for clip in clips
        ),
        "persons": count(clip.num_persons for clip in clips),
        "fps": count(f"{clip.fps:g} by the {clip.source.fps_from or 'reader'}" for clip in clips),
        "durations": count(_duration(clip.duration_s) for clip in clips),
        "captions": sum(len(clip.captions) for clip in clips),
        "joints": sum(clip.confidence.size for clip in clips),
        "joints_seen": sum(int((clip.confidence > 0).sum()) for clip in clips),
    }


def card_of(folder: Path, sources: Sources, manifest: Manifest, rejected: Sequence[Location]) -> str:
    """The card's text.

    Args:
        folder: of the recordings; licences and declarations are read from it.
        sources: all files of the recordings.
        manifest: as it will be written.
        rejected: the files of what was rejected.
    """
    refused = _refused(rejected)
    parts = [
        f"# {_text(manifest.name)}: {manifest.num_rows:,} clips",
        _summary(sources, manifest),
        _classes(manifest.statistics),
        _people(manifest.statistics),
        _skeletons(manifest.statistics),
        _terms(folder, sources, manifest.statistics),
        _left_out(refused),
        missing_skeletons(sources.recordings(), refused),
        _recipe(manifest),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _duration(seconds: float) -> str:
    bounds = (0, *_SECONDS)
    low = max(bound for bound in bounds if seconds >= bound)
    return f"over {low} s" if low == bounds[-1] else f"{low} to {bounds[bounds.index(low) + 1]} s"


def _summary(sources: Sources, manifest: Manifest) -> str:
    counts = manifest.statistics
    known = {name: len([key for key in counts.get(name, {}) if key]) for name in ("actions", "subjects", "cameras")}
    seen = counts.get("joints_seen", 0) / max(counts.get("joints", 0), 1)
    size = pc.sum(sources.rows["bytes"]).as_py() or 0
    rows = [
        ("recordings", f"{len(sources.recordings()):,} ({len(sources.rows):,} files, {bytes_text(size)})"),
        ("clips", f"{manifest.num_rows:,}"),
        ("frames", f"{counts.get('frames', 0):,}"),
        ("duration", _time(counts.get("seconds", 0))),
        ("classes", f"{known['actions']:,}"),
        ("subjects, cameras", f"{known['subjects']:,}, {known['cameras']:,}"),
        ("captions", f"{counts.get('captions', 0):,}"),
        ("joints seen", f"{seen:.2%} of {counts.get('joints', 0):,}"),
        ("rejected", f"{manifest.num_rejected:,}"),
        ("shards", f"{len(manifest.shards):,} ({bytes_text(sum(shard.bytes for shard in manifest.shards))})"),
        ("fingerprint", f"`{manifest.fingerprint}`"),
    ]
    return _table(("", ""), rows)


def _classes(counts: Mapping[str, Any]) -> str:
    actions = dict(counts.get("actions", {}))
    unknown = actions.pop("", 0)
    if not actions:
        return "## Classes\n\nNo clip says what it shows."
    order = sorted(actions.items(), key=lambda item: (-item[1], item[0]))
    note = f"\n\n{unknown:,} clips do not say what they show." if unknown else ""
    return f"## Classes\n\n{_table(('class', 'clips'), order)}{note}"


def _people(counts: Mapping[str, Any]) -> str:
    lines = [
        f"* {name}: {_names(counts[name])}" for name in ("subjects", "cameras") if set(counts.get(name, {})) - {""}
    ]
    lines.append(f"* persons in a clip: {_counts(counts.get('persons', {}))}")
    return "## People\n\n" + "\n".join(lines)


def _skeletons(counts: Mapping[str, Any]) -> str:
    order = [_duration(bound) for bound in (0, *_SECONDS)]
    durations = {name: counts["durations"][name] for name in order if name in counts.get("durations", {})}
    skeletons = sorted(counts.get("skeletons", {}).items(), key=lambda item: (-item[1], item[0]))
    lines = [
        f"* frames a second, and who says so: {_counts(counts.get('fps', {}))}",
        f"* durations: {_counts(durations)}",
    ]
    return f"## Skeletons\n\n{_table(('skeleton', 'clips'), skeletons)}\n\n" + "\n".join(lines)


def _terms(folder: Path, sources: Sources, counts: Mapping[str, Any]) -> str:
    """Who made the recordings, and what they allow: from the formats, the user's declarations and licence files."""
    from skeletonllm.skeleton.formats import formats

    known, rows = formats(), []
    for name, clips in counts.get("formats", {}).items():
        format = known.get(name)
        rows.append(
            (name, clips, format.description if format else "", (format.origin if format else "") or "not known")
        )
    said = []
    for name in sources.sides["file"].to_pylist():
        if name.rpartition("/")[2] == "recordings.toml":
            terms = _declared(folder / name)
            said += [f"* `{_text(name)}` says: {key} {_text(value)}" for key, value in terms.items()]
    said += [f"* `{_text(name)}`: {_text(_first_line(folder / name))}" for name in sources.licence_files()]
    note = "\n".join(said) or "No licence lies beside the recordings: ask their owner before you pass them on."
    return f"## Licence and origin\n\n{_table(('format', 'clips', 'what it is', 'origin and terms'), rows)}\n\n{note}"


def _declared(path: Path) -> dict[str, str]:
    """What a recordings.toml says of the data set itself; a damaged one is told where recordings are read."""
    try:
        said = read_declaration(path)
    except (OSError, FormatError):
        return {}
    terms = {"dataset": said.dataset, "licence": said.licence, "origin": said.origin}
    return {key: value for key, value in terms.items() if value}


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        text = file.read(_LICENCE_BYTES).decode("utf-8", "replace")
    return next((line.strip() for line in text.splitlines() if line.strip()), "empty")


def _refused(files: Sequence[Location]) -> pa.Table:
    names = ("file", "kind", "reason")
    if not files:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    return pa.concat_tables([open_shard(path).select(names).replace_schema_metadata(None) for path in files])


def _left_out(refused: pa.Table) -> str:
    if not len(refused):
        return "## Left out\n\nNothing was rejected."
    examples: dict[str, str] = {}
    kinds = refused["kind"].to_pylist()
    for row, kind in enumerate(kinds):
        if kind not in examples:
            file = refused["file"][row].as_py()
            reason = refused["reason"][row].as_py().removeprefix(file).lstrip(":, ")
            examples[kind] = f"`{_text(file)}`: {_text(reason)}"
    order = sorted(Counter(kinds).items(), key=lambda item: (-item[1], item[0]))
    rows = [(kind or "other", count, _Ready(examples[kind])) for kind, count in order]
    table = _table(("why", "how many", "for example"), rows)
    return f"## Left out\n\n{table}\n\nAll of them, with file, place and reason, are in the `rejected-*.arrow` files."


def missing_skeletons(recordings: pa.Array, refused: pa.Table) -> str:
    """How many NTU recordings show nobody, beside the count that the data set's authors published.

    Args:
        recordings: their paths.
        refused: with `file` and `kind`.
    """
    here = _ntu_numbers(recordings)
    without, damaged = (
        _ntu_numbers(pc.unique(refused["file"].filter(pc.equal(refused["kind"], kind)))) for kind in (NO_BODY, DAMAGED)
    )
    rows, before = [], 0
    for name, setups, actions, published, missing in _NTU:
        count = _within(here, setups, actions)
        if count == before:  # nothing here that the smaller data set does not have
            continue
        before = count
        compared = "not compared: too few recordings are here"
        if count >= _COMPLETE * published:
            compared = f"{missing} have missing or incomplete skeletons"
        computed = [_within(numbers, setups, actions) for numbers in (without, damaged)]
        rows.append((name, f"{count:,} of {published:,}", *computed, compared))
    if not rows:
        return ""
    head = ("data set", "recordings here", "without any body", "damaged", "published")
    return f"## Missing skeletons of NTU RGB+D\n\nComputed from the files themselves.\n\n{_table(head, rows)}"


def _ntu_numbers(files: pa.Array) -> pa.StructArray:
    """Setup and action of each file that has a name of NTU RGB+D."""
    found = pc.extract_regex(files, _NTU_NAME)
    return found.filter(pc.is_valid(found))


def _within(numbers: pa.StructArray, setups: int, actions: int) -> int:
    setup, action = (pc.cast(pc.struct_field(numbers, name), pa.int32()) for name in ("setup", "action"))
    return pc.sum(pc.and_(pc.less_equal(setup, setups), pc.less_equal(action, actions))).as_py() or 0


def _recipe(manifest: Manifest) -> str:
    options = [f"--name {manifest.name}"] if manifest.name != "clips" else []
    for name, value in manifest.config.items():
        if name == "topology":
            options.append(f"--topology {value['name']}")
        elif name != "files_per_shard":
            options.append(f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}")
    rows = [
        ("pipeline", f"{manifest.pipeline}, version {manifest.version}"),
        ("code", f"skeletonllm {manifest.code_version}"),
        ("schema", f"{manifest.schema}, version {manifest.schema_version}"),
        ("recordings in a new shard", manifest.config.get("files_per_shard", "")),
        ("inputs", ", ".join(f"`{value[:12]}`" for value in manifest.inputs)),
    ]
    command = " ".join(["skeletonllm ingest FOLDER", *options])
    return f"## How it was made\n\n{_table(('', ''), rows)}\n\n```bash\n{command}\n```"


class _Ready(str):
    """Markdown already; not escaped again."""


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    align = ["---:" if rows and isinstance(rows[0][at], int) else "---" for at in range(len(head))]
    lines = [head, align, *rows[:_MOST_ROWS]]
    text = [f"| {' | '.join(_cell(value) for value in line)} |" for line in lines]
    if len(rows) > _MOST_ROWS:
        text.append(f"\n... and {len(rows) - _MOST_ROWS:,} more.")
    return "\n".join(text)


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return str(value) if isinstance(value, _Ready) or str(value).startswith("`") else _text(value)


def _text(value: object) -> str:
    """Text that stays text in Markdown: names and reasons are data of strangers."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", plain) if re.search(r"[`*\[\]<>|#\\]", plain) else plain


def _names(counts: Mapping[str, int]) -> str:
    names = sorted(name for name in counts if name)
    shown = ", ".join(_text(name) for name in names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES:,} more"


def _counts(counts: Mapping[str, int]) -> str:
    shown = [f"{_text(name)} ({count:,})" for name, count in list(counts.items())[:_MOST_NAMES]]
    more = len(counts) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "") or "none"


def bytes_text(size: float) -> str:
    """A number of bytes for people."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while size >= 1024 and step < len(units) - 1:
        size, step = size / 1024, step + 1
    return f"{size:.1f} {units[step]}" if step else f"{size:.0f} bytes"


def _time(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
