"""Why something must be made again: what differs from what the last one of its kind was made from."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipelines.executor import Build
from pipelines.launch import read_run
from pipelines.workdir import Workdir
from skeletonllm.errors import CheckpointError, ShardError
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import MANIFEST, CheckpointRef, Manifest, read_manifest
from skeletonllm.train.config import RunConfig

_LONGEST = 40  # letters of a value that a reason shows
_GONE = "something that is gone"


@dataclass(frozen=True)
class Made:
    """A data set or the weights of a stage: what names it, whether it is there or not.

    Args:
        name: of the data set, or `weights of STAGE`.
        version: of what makes it.
        config: with what settings.
        inputs: fingerprints of what goes in.
        fingerprint: its own.
    """

    name: str
    version: int
    config: dict[str, Any]
    inputs: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of_build(cls, build: Build) -> "Made":
        """A data set that is to be built."""
        return cls(build.name, build.version, to_plain(build.config), tuple(build.inputs), build.fingerprint)

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> "Made":
        """A data set that is there."""
        inputs = tuple(manifest.inputs)
        return cls(manifest.name, manifest.version, manifest.config, inputs, manifest.fingerprint)

    @classmethod
    def of_run(cls, run: RunConfig) -> "Made":
        """The weights that a run ends with."""
        from skeletonllm.train.stage import fingerprint_of

        plain = to_plain(run)
        config = {**plain["stage"], **{name: plain[name] for name in ("student", "engine", "seed")}}
        inputs = tuple(one.fingerprint for one in (run.clips, run.examples, run.init_from) if one is not None)
        return cls(f"weights of {run.stage.name}", 0, config, inputs, fingerprint_of(run))


class Changes:
    """Tells what changed.

    Args:
        work: where what was made lies.
        made: what need not be there yet.
    """

    def __init__(self, work: Workdir, made: Iterable[Made] = ()) -> None:
        self._work = work
        self._made = {one.fingerprint: one for one in made}

    def of_run(self, run: RunConfig, before: CheckpointRef) -> tuple[str, ...]:
        """Why a stage must be trained again, against a run of it that is finished; nothing where it is that very run."""
        from skeletonllm.train.stage import fingerprint_of

        if fingerprint_of(run) == before.fingerprint:
            return ()

        try:
            old = read_run(before)
        except CheckpointError as error:
            return (f"its last run cannot be compared: {error}",)
        # How many workers share the work, or how often they save, may be no reason.
        if fingerprint_of(replace(old, engine=run.engine)) == fingerprint_of(old):
            old = replace(old, engine=run.engine)
        reasons = tuple(self._why(Made.of_run(run), Made.of_run(old), frozenset()))
        return reasons or ("stages are now trained in another way than when its last run was made",)

    def _why(self, new: Made, old: Made, told: frozenset[str]) -> Iterator[str]:
        if new.version != old.version:
            yield f"how they are made (version {old.version} -> {new.version})"
        yield from _differences(new.config, old.config)
        inputs, former = self._named(new.inputs), self._named(old.inputs)
        changed = [name for name in inputs if inputs[name] != former.get(name) and name not in told]
        for name in changed:
            yield from self._input(name, inputs[name], former, told | {*changed})
        for name in former:
            if name not in inputs and name != _GONE:
                yield f"no {name} any more"

    def _input(self, name: str, new: str, former: Mapping[str, str], told: frozenset[str]) -> Iterator[str]:
        if name not in former:
            yield f"{name} changed (the former are gone)" if _GONE in former else f"{name} new"
            return
        one, other = self._find(new), self._find(former[name])
        if name.startswith("weights of ") or one is None or other is None:
            yield f"{name} changed"
            return
        inner = "; ".join(self._why(one, other, told))
        # Nothing more to say: what changed in them was told already.
        if inner or not {*self._named(one.inputs)} & told:
            yield f"{name} changed ({inner})" if inner else f"{name} changed"

    def _named(self, inputs: Iterable[str]) -> dict[str, str]:
        found = ((self._find(fingerprint), fingerprint) for fingerprint in inputs)
        return {made.name if made is not None else _GONE: fingerprint for made, fingerprint in found}

    def _find(self, fingerprint: str) -> Made | None:
        if fingerprint not in self._made:
            for made in self._on_disk(fingerprint):
                self._made[made.fingerprint] = made
        return self._made.get(fingerprint)

    def _on_disk(self, fingerprint: str) -> Iterator[Made]:
        short = fingerprint[:12]
        for path in self._work.data.glob(f"*/{short}/{MANIFEST}"):
            try:
                yield Made.of_manifest(read_manifest(path.parent))
            except ShardError:  # of another version
                continue
        for folder in self._work.runs.glob(f"*/{short}"):
            name = folder.parent.name
            yield Made(f"weights of {name}", 0, {}, (), fingerprint)


def _differences(new: Mapping[str, Any], old: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Settings that differ, with both values."""
    for name in dict.fromkeys([*old, *new]):
        one, other, place = new.get(name), old.get(name), f"{where}{name}"
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, f"{place}.")
        elif one != other:
            yield f"{place} {_short(other)} -> {_short(one)}"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if len(text) <= _LONGEST:
        return text or "nothing"
    return f"{len(value)} values" if isinstance(value, list) else f"{json.dumps(text[: _LONGEST - 4])}..."
