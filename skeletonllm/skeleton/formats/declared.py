"""`recordings.toml`: what a user says of the recordings beside and below it. The nearest wins, the command line over it.

topology = "coco_17"        # a registered one, or the user's own: joints, parents and, where names say nothing, parts
fps = 30                    # what the files do not say
unit = "cm"
up = "+z"
dataset = "gait-lab"        # for the data set's card: licence and origin too
"""

import difflib
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skeletonllm.errors import ConfigError, DataError, FormatError
from skeletonllm.skeleton.formats.common import Declared, brief, problem
from skeletonllm.skeleton.spaces import UNITS_M, metres_per, upright
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology, part_of

FILE_NAME = "recordings.toml"
MAX_FPS = 10_000
_MAX_BYTES = 1 << 20
_OWN_TOPOLOGY = ("name", "parents", "parts", "mirror")
_KINDS: dict[str, type | tuple[type, ...]] = {
    "topology": str,
    "joints": list,
    "parents": list,
    "parts": list,
    "mirror": list,
    "name": str,
    "dims": int,
    "fps": (int, float),
    "unit": str,
    "up": str,
    "dataset": str,
    "licence": str,
    "origin": str,
}
_KIND_WORDS: dict[Any, str] = {str: "a text", list: "a list", int: "a whole number"}


@dataclass(frozen=True)
class Recordings:
    """What one `recordings.toml` says.

    Args:
        path: the file.
        declared: for the readers of the recordings.
        dataset: name of the data set.
        licence: under which terms it may be used.
        origin: who made it, or where it is published.
    """

    path: Path
    declared: Declared
    dataset: str = ""
    licence: str = ""
    origin: str = ""


def find_declaration(recording: Path, root: Path | None = None) -> Path | None:
    """The `recordings.toml` that speaks of a recording: in its folder, or the nearest one above.

    Args:
        recording: a file, or a folder that is one recording.
        root: the last folder that is looked at; by default the file system's.
    """
    start = recording.absolute()
    last = root.absolute() if root is not None else None
    for folder in (start, *start.parents) if recording.is_dir() else start.parents:
        if (folder / FILE_NAME).is_file():
            return folder / FILE_NAME
        if folder == last:
            return None
    return None


def declaration_of(recording: Path, root: Path | None = None) -> Recordings | None:
    """What the `recordings.toml` of a recording says; None where there is none.

    Raises:
        FormatError: it is damaged.
    """
    path = find_declaration(recording, root)
    return None if path is None else read_declaration(path)


def declared_topology(recording: Path) -> Topology | None:
    """The topology that a recording's `recordings.toml` says, for `sniff`: never raises over content."""
    try:
        beside = declaration_of(recording)
    except FormatError:
        return None
    return None if beside is None else beside.declared.topology


def read_declaration(path: Path) -> Recordings:
    """What a `recordings.toml` says; every key is known and every value can be.

    Raises:
        FormatError: it is no TOML, or a key or value is wrong; says which.
    """
    said = _parse(path)
    for key, value in said.items():
        _check(path, key, value)
    fps = said.get("fps")
    declared = Declared(_topology(path, said), None if fps is None else float(fps), said.get("unit"), said.get("up"))
    return Recordings(path, declared, *(said.get(key, "") for key in ("dataset", "licence", "origin")))


def topology_named(text: str) -> Topology:
    """The topology that `--topology` names: one of the registry, or a TOML file with `joints` and `parents`.

    Raises:
        ConfigError: it is neither.
        FormatError: the file is damaged.
    """
    if text in TOPOLOGIES:
        return TOPOLOGIES[text]
    if text.endswith(".toml"):
        topology = read_declaration(Path(text)).declared.topology
        if topology is None:
            raise ConfigError(f"{text}: names no topology; add `topology`, or `joints` and `parents`")
        return topology
    raise ConfigError(
        f"topology {text!r} is unknown; known are {', '.join(TOPOLOGIES)}, or a .toml file with joints and parents; "
        f"{_nearest(text, TOPOLOGIES) or 'give one of them'}"
    )


def declared_by(
    topology: str | None = None, fps: float | None = None, unit: str | None = None, up: str | None = None
) -> Declared:
    """What the options `--topology`, `--fps`, `--unit` and `--up` say.

    Raises:
        ConfigError: there is no such topology, unit or axis.
        FormatError: the topology's file is damaged.
    """
    if unit is not None:
        metres_per(unit)
    if up is not None:
        upright(up)
    return Declared(None if topology is None else topology_named(topology), fps, unit, up)


def merged(user: Declared, said: Declared, takes: Collection[str]) -> Declared:
    """What the user says, and for the rest what the file says of what the format takes."""
    fields = [name for name in ("topology", "unit", "up") if name in takes]
    rest = {name: getattr(said, name) for name in (*fields, "fps") if getattr(user, name) is None}
    return replace(user, **rest)


def _parse(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise problem(path, "", f"{size} bytes", f"at most {_MAX_BYTES}", "keep only the keys that are known")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or a number of thousands of digits
        raise problem(path, "", brief(str(error), 120), "TOML (key = value)", "correct the line") from error


def _check(path: Path, key: str, value: Any) -> None:
    if key not in _KINDS:
        remedy = _nearest(key, _KINDS) or "rename or remove it"
        raise problem(path, f"key {brief(key)}", "an unknown key", f"one of {', '.join(_KINDS)}", remedy)
    kinds = _KINDS[key]
    if not isinstance(value, kinds) or isinstance(value, bool):
        wanted = _KIND_WORDS.get(kinds, "a number")
        raise problem(path, f"key {key}", brief(value), wanted, "correct the value")
    if key == "fps" and not 0 < value <= MAX_FPS:
        raise problem(path, "key fps", brief(value), f"frames per second, 0 to {MAX_FPS}", "correct the value")
    if key == "dims" and value not in (2, 3):
        raise problem(path, "key dims", brief(value), "2 or 3", "correct the value")
    if key == "unit" and value not in UNITS_M:
        raise problem(path, "key unit", brief(value), f"one of {', '.join(UNITS_M)}", "correct the value")
    if key == "up":
        try:
            upright(str(value))
        except ConfigError as error:
            raise problem(path, "key up", brief(value), "an axis such as +y or -z", "correct the value") from error


def _topology(path: Path, said: dict[str, Any]) -> Topology | None:
    """The topology, registered or the user's own; None where the file speaks of none."""
    named, joints, dims = said.get("topology"), said.get("joints"), said.get("dims")
    if joints is None:
        alone = [key for key in _OWN_TOPOLOGY if key in said]
        if alone:
            raise problem(path, f"key {alone[0]}", "no joints", "joints beside it", "add `joints`, or remove the key")
        if named is None:
            if dims is not None:
                raise problem(path, "key dims", "no topology", "topology or joints beside it", "add one of them")
            return None
        if named not in TOPOLOGIES:
            remedy = _nearest(named, TOPOLOGIES) or "correct it, or give joints and parents"
            raise problem(path, "key topology", brief(named), f"one of {', '.join(TOPOLOGIES)}", remedy)
        found = TOPOLOGIES[str(named)]
        return found if dims in (None, found.dims) else replace(found, dims=dims)
    if named is not None:
        raise problem(path, "keys topology and joints", "both", "one of them", "remove one")
    return own_topology(path, said)


def own_topology(path: Path, said: dict[str, Any]) -> Topology:
    """A user's own topology from plain values: joints, parents and, where joint names say nothing, parts and mirror.

    Args:
        path: the file, for errors.
        said: `joints`, `parents`, and optionally `name`, `parts`, `mirror`, `dims`.

    Raises:
        FormatError: says which key is wrong, and how.
    """
    joints = _texts(path, "joints", said.get("joints"))
    if len(set(joints)) < len(joints) or not joints:
        twice = next((name for name in joints if joints.count(name) > 1), "no joint")
        raise problem(
            path, "key joints", f"{brief(twice)} twice" if joints else "none", "each joint once", "correct it"
        )
    parents = said.get("parents")
    if not isinstance(parents, list) or len(parents) != len(joints):
        found = f"{len(parents)} parents" if isinstance(parents, list) else brief(parents)
        raise problem(path, "key parents", found, f"one for each of the {len(joints)} joints", 'give the root ""')
    numbers = tuple(_number(path, joints, parent) for parent in parents)
    parts = _parts(path, joints, said.get("parts"))
    name, dims = str(said.get("name", f"own_{len(joints)}")), said.get("dims", 3)
    try:
        if "parts" in said:
            read = Topology(name, joints, numbers, parts, _pairs(path, joints, said.get("mirror", [])), dims)
        else:
            read = Topology.from_names(name, joints, numbers, dims)
    except (DataError, ValueError) as error:
        raise problem(path, "key parents", brief(str(error), 200), "a tree of joints", "correct it") from error
    return replace(read, mirror=_pairs(path, joints, said["mirror"])) if "mirror" in said else read


def _parts(path: Path, joints: tuple[str, ...], given: object) -> tuple[str, ...]:
    if given is not None:
        parts = _texts(path, "parts", given)
        if len(parts) != len(joints):
            raise problem(path, "key parts", f"{len(parts)} parts", f"{len(joints)}, one per joint", "correct it")
        return parts
    try:
        return tuple(part_of(joint) for joint in joints)
    except DataError as error:
        raise problem(
            path, "key joints", brief(str(error), 300), "names of body parts", "rename it or add `parts`"
        ) from error


def _texts(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
        raise problem(path, f"key {key}", brief(value), "a list of names", "correct it")
    return tuple(value)


def _number(path: Path, joints: tuple[str, ...], parent: object) -> int:
    if parent in ("", -1):
        return -1
    if isinstance(parent, str) and parent in joints:
        return joints.index(parent)
    if isinstance(parent, int) and not isinstance(parent, bool) and 0 <= parent < len(joints):
        return parent
    remedy = (_nearest(parent, joints) if isinstance(parent, str) else "") or "correct it"
    raise problem(path, "key parents", brief(parent), 'the name of a joint, or "" at the root', remedy)


def _pairs(path: Path, joints: tuple[str, ...], value: Any) -> tuple[tuple[int, int], ...]:
    pairs = value if isinstance(value, list) else [value]
    if not all(isinstance(pair, list) and len(pair) == 2 and all(name in joints for name in pair) for pair in pairs):
        raise problem(path, "key mirror", brief(value), "pairs of joints [left, right]", "correct it")
    return tuple((joints.index(left), joints.index(right)) for left, right in pairs)


def _nearest(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word, list(known), 1)
    return f"did you mean {close[0]!r}?" if close else ""
