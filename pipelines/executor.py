"""Build a data set shard by shard, in this process or on Ray: bounded in flight, each shard whole, the manifest last.

Knows nothing of what a shard means. A shard that exists is done, so a killed build goes on where it was, and nothing
depends on the number of workers.
"""

import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from pipelines.cluster import check_cluster
from pipelines.locks import only_one
from pipelines.settings import read_settings
from skeletonllm.errors import DataError, ShardError
from skeletonllm.log import progress
from skeletonllm.plain import to_plain
from skeletonllm.shards.manifest import (
    DatasetRef,
    Manifest,
    dataset_folder,
    find_dataset,
    fingerprint_of,
    touch_dataset,
    write_manifest,
)
from skeletonllm.shards.reader import open_shard
from skeletonllm.shards.schema import REJECTED, SCHEMA_VERSION
from skeletonllm.shards.storage import Location, RemotePath, locate, write
from skeletonllm.shards.writer import describe_shard, rejected_name, shard_name, write_shard

logger = logging.getLogger(__name__)

ExecutorName = Literal["inline", "ray"]
CARD = "README.md"

# A worker that dies this often on the same shard is not unlucky: the shard kills it. Machines are lost for other reasons
# too, spot machines often; but not this often under the same shard.
_MAX_DEATHS, _MAX_LOST = 3, 10
_GRACE_S = 2.0  # for the others, when a shard fails
_LOOK_EVERY_S = 30.0  # whether machines have come or gone, while no shard ends
_LOCK = ".lock"


@dataclass(frozen=True)
class Rejected:
    """One input that a pipeline refused: where, why, and of which kind that reason is, where kinds are counted."""

    file: str
    place: str
    reason: str
    kind: str = ""


@dataclass(frozen=True)
class ShardOutput:
    """What `process_shard` makes of one input."""

    table: pa.Table
    rejected: tuple[Rejected, ...] = ()
    statistics: dict[str, Any] = field(default_factory=dict)


def _not_given(_: Any) -> ShardOutput:
    raise NotImplementedError("this data set is made by write_table")


@dataclass(frozen=True)
class Build:
    """A data set to be built: what names it, and how one shard of it is made.

    Args:
        name: of the data set.
        pipeline: the module that builds it.
        version: raised when the pipeline's meaning changes.
        config: whatever else the content depends on.
        inputs: fingerprints of what goes in.
        schema: name of the Arrow schema.
        process_shard: one element of `shards` in, one shard out; a module-level function, since Ray pickles it. Not
            given where `write_table` makes the one shard.
        shards: one element per shard.
        on_gpu: whether a shard wants a GPU, where Ray has any.
        max_rejected: the run fails when more than this share of the inputs is rejected.
        left_over: what only all shards together show to be wrong, such as a label whose clip is in none of them; given
            the files of all shards and of what they rejected. It is recorded, but does not count for `max_rejected`.
        prepare: called with the data set's folder before the first shard is made; may put shards there that are known
            from elsewhere.
        card: text of the data set's `README.md`, from its manifest and the files of what was rejected.
        lets_finish: whether shards that are under way when another fails are let finish, since stopping them is costly.
        is_pure: whether a shard depends on nothing but what the fingerprint names, so that it is kept where the run is
            refused for `max_rejected`.
    """

    name: str
    pipeline: str
    version: int
    config: Any
    inputs: Sequence[str]
    schema: str
    process_shard: Callable[[Any], ShardOutput] = _not_given
    shards: Sequence[Any] = ()
    on_gpu: bool = False
    max_rejected: float = 1.0
    left_over: Callable[[Sequence[Location], Sequence[Location]], Sequence[Rejected]] | None = None
    prepare: Callable[[Location], None] | None = None
    card: Callable[[Manifest, Sequence[Location]], str] | None = None
    is_pure: bool = False
    lets_finish: bool = False

    @property
    def fingerprint(self) -> str:
        """Same pipeline, version, config and inputs: same fingerprint."""
        return fingerprint_of(self.pipeline, self.version, self.config, list(self.inputs))


def map_shards(
    build: Build, root: Location | str, executor: ExecutorName = "inline", quiet: bool = False
) -> DatasetRef:
    """Build the data set, or find that it is there; where another process is building it, wait and find it done.

    Args:
        build: what is built.
        root: where data sets are kept, a folder or a place in an object store.
        executor: in this process or on Ray.
        quiet: show no progress, since the pipeline shows its own.

    Raises:
        DataError: too much of the input was rejected; nothing is published.
        ShardError: a shard cannot be written, a worker died on it several times, or a machine does not see the folder.
    """
    root = locate(root)
    done = _find_done(build, root)
    if done is not None:
        return done
    folder = dataset_folder(root, build.name, build.fingerprint)
    started = time.monotonic()
    with _only_builder(folder):
        done = _find_done(build, root)  # whoever had the lock may have made it
        if done is not None:
            return done
        if build.prepare is not None:
            build.prepare(folder)
        count = len(build.shards)
        missing = [index for index in range(count) if not (folder / shard_name(index, count)).exists()]
        done, num_rejected = count - len(missing), 0
        with nullcontext(_no_tick) if quiet else progress(build.name, count, "shards") as tick:
            tick(done)
            for refused in (_on_ray if executor == "ray" else _inline)(build, folder, missing):
                done, num_rejected = done + 1, num_rejected + refused
                tick(done, f"({num_rejected} rejected)" if num_rejected else "")
        return _publish(build, folder, started)


def _find_done(build: Build, root: Location) -> DatasetRef | None:
    done = find_dataset(root, build.name, build.fingerprint)
    if done is not None:
        touch_dataset(done)  # asked for last
        logger.info("%s: %s is there already, nothing to do", build.name, build.fingerprint[:12])
    return done


def _no_tick(*_: object) -> None:
    pass


def write_table(build: Build, root: Location | str, make: Callable[[], ShardOutput]) -> DatasetRef:
    """Build a data set of one shard, all or nothing: what pipelines use that reduce."""
    return map_shards(replace(build, shards=[make], process_shard=_call), root)


def _call(make: Callable[[], ShardOutput]) -> ShardOutput:
    return make()


def _make_shard(process_shard: Callable[[Any], ShardOutput], item: Any, folder: str, index: int, count: int) -> int:
    """How many inputs were rejected."""
    place = locate(folder)
    if isinstance(place, Path) and not (place / _LOCK).exists():
        raise ShardError(
            f"{place}: machine {socket.gethostname()} of the Ray cluster does not see it; put the work folder (--workdir) "
            "on a disk that all machines share under the same path"
        )
    shard = place / shard_name(index, count)
    # Where a machine seemed lost, its shard is made again: whoever comes first makes it, and it stays.
    if shard.exists():
        return 0
    output = process_shard(item)
    if not shard.exists():
        _write_rejected(place / rejected_name(index), output.rejected)
        write_shard(shard, output.table, output.statistics)
    return len(output.rejected)


def _write_rejected(path: Location, rejected: Sequence[Rejected]) -> None:
    # Replaced, never removed first: a worker that outlives its killed driver by a moment may be at the same shard.
    if rejected:
        write_shard(path, pa.Table.from_pylist([vars(one) for one in rejected], schema=REJECTED))
    else:
        path.unlink(missing_ok=True)


def _inline(build: Build, folder: Location, missing: Sequence[int]) -> Iterator[int]:
    """Makes the missing shards; of each, how many inputs were rejected."""
    for index in missing:
        yield _make_shard(build.process_shard, build.shards[index], str(folder), index, len(build.shards))


def _on_ray(build: Build, folder: Location, missing: Sequence[int]) -> Iterator[int]:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError

    if not missing:
        return
    start_ray()
    machines = _machines()
    kind = "GPU" if build.on_gpu and _count("GPU", machines) else "CPU"
    # Ray's own retries are off: it would hide that a shard kills its workers.
    task = ray.remote(max_retries=0, num_gpus=int(kind == "GPU"))(_make_shard)
    waiting, deaths, losses, running, doubted = deque(missing), Counter(), Counter(), {}, set()
    while waiting or running:
        # Looked at each time, for machines come and go; what waits in Ray is what an autoscaler starts machines for.
        before, machines = machines, _machines()
        if before.keys() - machines.keys():
            doubted.update(running)
        while waiting and len(running) < 2 * max(1, _count(kind, machines)):
            index = waiting.popleft()
            ref = task.remote(build.process_shard, build.shards[index], str(folder), index, len(build.shards))
            running[ref] = index
        ready, _ = ray.wait(list(running), num_returns=1, timeout=_LOOK_EVERY_S)
        if not ready:
            if not _count(kind, machines):
                logger.warning("%s: the Ray cluster has no machine with a %s; waiting for one", build.name, kind)
            # Of a task on a machine that fell silent, Ray may say nothing for many minutes after it gave that machine up.
            for ref in doubted & running.keys():
                index = running.pop(ref)
                logger.warning("%s: shard %d may be on the machine that was lost, trying again", build.name, index)
                waiting.append(index)
            doubted.clear()
        for ref in ready:
            index = running.pop(ref)
            try:
                yield ray.get(ref)
            except NodeDiedError as error:
                losses[index] += 1
                _check_often(build, index, losses[index], _MAX_LOST, "lost the machine that made it", error)
                waiting.append(index)
            except (WorkerCrashedError, OutOfMemoryError) as error:
                deaths[index] += 1
                _check_often(build, index, deaths[index], _MAX_DEATHS, "killed its worker", error)
                waiting.append(index)
            except RayTaskError as error:
                _end_others(list(running), None if build.lets_finish else _GRACE_S)
                raise error.cause from None


def _machines() -> dict[str, dict[str, float]]:
    """The resources of each machine that Ray believes alive."""
    import ray

    return {node["NodeID"]: node["Resources"] for node in ray.nodes() if node["Alive"]}


def _count(kind: str, machines: dict[str, dict[str, float]]) -> int:
    return int(sum(resources.get(kind, 0.0) for resources in machines.values()))


def _check_often(build: Build, index: int, times: int, most: int, what: str, error: Exception) -> None:
    """Give a shard up that cost a worker or a machine too often.

    Raises:
        ShardError: it did.
    """
    if times >= most:
        raise ShardError(
            f"{build.name}: shard {index} {what} {times} times (out of memory?); use smaller shards or more memory, then "
            "run again: finished shards are kept"
        ) from error
    logger.warning("%s: shard %d %s, trying again", build.name, index, what)


def _end_others(running: list[Any], timeout_s: float | None) -> None:
    """Cancel what does not end in time."""
    import ray

    # Others often fail for the same reason just now. Ray aborts this process where one that ends is cancelled.
    _, unfinished = ray.wait(running, num_returns=len(running), timeout=timeout_s) if running else ([], [])
    for ref in unfinished:
        ray.cancel(ref, force=True)


def start_ray() -> None:
    """Connect to the Ray cluster of the settings, or start a local one; once per process.

    Raises:
        ConfigError: the cluster is not on this machine, and its access is not authenticated.
    """
    import ray

    if ray.is_initialized():
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # The first error ends the build; those of the shards that were under way with it need not be told.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    settings = read_settings()
    address = settings.ray_address
    check_cluster(settings)
    logger.info("starting Ray (%s)", address or "local")
    if address:
        # All in one namespace, so that a name is taken once on a cluster.
        ray.init(address=address, namespace="skeletonllm", log_to_driver=False, logging_level=logging.ERROR)
    else:
        # Said outright: a bare init() would join whatever cluster it finds a trace of.
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)


def _publish(build: Build, folder: Location, started: float) -> DatasetRef:
    count = len(build.shards)
    _sweep(folder)
    described = [describe_shard(folder / shard_name(index, count)) for index in range(count)]
    refused = [path for path in (folder / rejected_name(index) for index in range(count)) if path.exists()]
    refused_entries = [describe_shard(path)[0] for path in refused]
    num_refused = sum(entry.rows for entry in refused_entries)
    _check_rejected(build, folder, sum(entry.rows for entry, _ in described), num_refused, refused)
    if build.left_over is not None:
        late = folder / rejected_name(count)
        _write_rejected(late, build.left_over([folder / shard_name(index, count) for index in range(count)], refused))
        if late.exists():
            refused.append(late)
            refused_entries.append(describe_shard(late)[0])
    manifest = Manifest(
        name=build.name,
        schema=build.schema,
        schema_version=SCHEMA_VERSION,
        pipeline=build.pipeline,
        version=build.version,
        config=to_plain(build.config),
        inputs=list(build.inputs),
        fingerprint=build.fingerprint,
        shards=[entry for entry, _ in described],
        rejected=refused_entries,
        statistics=_total([statistics for _, statistics in described]),
        code_version=package_version("skeletonllm"),
        built_s=round(time.monotonic() - started, 3),
    )
    if build.card is not None:
        write(folder / CARD, build.card(manifest, refused).encode())
    return write_manifest(folder, manifest)


def _check_rejected(
    build: Build, folder: Location, num_rows: int, num_refused: int, refused: Sequence[Location]
) -> None:
    num_inputs = num_refused + num_rows
    if num_refused <= build.max_rejected * num_inputs and (num_rows or not num_refused):
        return
    rows = [row for path in refused[:3] for row in open_shard(path).to_pylist()]
    some = sorted(f"{row['file']}: {row['reason'].removeprefix(row['file']).lstrip(':, ')}" for row in rows)
    if not build.is_pure:
        # The reasons stay on disk; the shards go, so that the next run judges mended input anew.
        for index in range(len(build.shards)):
            (folder / shard_name(index, len(build.shards))).unlink()
    raise DataError(
        f"{build.name}: {num_refused} of {num_inputs} inputs were rejected, at most {build.max_rejected:.0%} may be; "
        f"for example: {'; '.join(dict.fromkeys(some[:3]))}; all reasons: {folder}/rejected-*.arrow; mend the input "
        "or raise max_rejected"
    )


def _total(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Numbers are added, tables of numbers added by key, anything else must be the same everywhere."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key not in total:
                total[key] = value
            elif isinstance(value, dict):
                total[key] = _total([total[key], value])
            elif isinstance(value, (int, float)) and not isinstance(value, bool):
                total[key] = total[key] + value
    return dict(sorted(total.items()))


@contextmanager
def _only_builder(folder: Location) -> Iterator[None]:
    """One process builds a data set at a time; another one waits for it.

    Object stores have no locks: there, two builders do the work twice, and write the same bytes.
    """
    if isinstance(folder, RemotePath):
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _LOCK).touch()
    except OSError as error:
        raise ShardError(f"{folder}: cannot be written ({error}); choose another folder with --workdir") from error
    with only_one(folder / _LOCK, "is building this data set"):
        _sweep(folder)
        yield


def _sweep(folder: Location) -> None:
    """Remove what killed processes and lost machines were writing; in an object store it may be another builder's."""
    if isinstance(folder, Path):
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink(missing_ok=True)
