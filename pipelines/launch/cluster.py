"""The training processes of several machines: one Ray actor on each holds its share, and dies with whoever launched it."""

import logging
import math
import os
import secrets
import time
from pathlib import Path
from typing import Any

from pipelines.executor import start_ray
from pipelines.launch.workers import Workers, free_address, num_cores
from pipelines.settings import read_settings
from skeletonllm.errors import BackendError, CheckpointError
from skeletonllm.train.config import EngineConfig

logger = logging.getLogger(__name__)

# How long machines are waited for: an autoscaler needs minutes.
_WAIT_S = 1800.0
_SAY_EVERY_S = 30.0
# How long the name of a run outlives whoever launched it.
_NAME_LEFT_S = 10.0
_ASK_AGAIN_S = 0.5
# A machine that takes longer is lost, whether or not Ray has noticed.
_STARTS_WITHIN_S = 300.0
_ANSWERS_WITHIN_S = 60.0
_ENDED_WITHIN_S = 10.0


class NodeLost(Exception):
    """A machine left the cluster while it trained."""


class _Share:
    """What runs on each machine; it answers at once, whoever launched it watches."""

    def address(self) -> str:
        import ray

        return free_address(ray.util.get_node_ip_address())

    def reads(self, file: str) -> str:
        path = Path(file)
        return path.read_text() if path.exists() else ""

    def start(self, folder: str, num: int, first: int, world_size: int, address: str, threads: str | None) -> None:
        # Ray has set OMP_NUM_THREADS here, to the cores that it counts for all the workers of this machine.
        self._workers = Workers(Path(folder), num, first, world_size, address, threads)

    def codes(self) -> list[int | None]:
        return self._workers.codes()

    def ask_to_stop(self) -> None:
        self._workers.ask_to_stop()

    def show_stacks(self) -> None:
        self._workers.show_stacks()

    def kill(self) -> None:
        self._workers.kill()


class ClusterWorkers:
    """Like `Workers`, on the machines of a Ray cluster.

    Args:
        folder: of the run, seen by all of them under this path.
        engine: how many machines, and how many processes on each.
        name: of the run; only one of a name is launched on a cluster at a time.
        wait: for another process that has launched it, instead of refusing.

    Raises:
        BackendError: the cluster has not the machines.
        CheckpointError: a machine does not see the folder, or the run is launched already.
        NodeLost: a machine died.
    """

    def __init__(self, folder: Path, engine: EngineConfig, name: str, wait: bool = False) -> None:
        import ray
        from ray.exceptions import RayError

        start_ray()
        # An autoscaler may have none yet, and brings some only if they are asked for.
        self._bundle: dict[str, float] = {"CPU": engine.num_workers}
        if engine.needs_gpu or ray.cluster_resources().get("GPU", 0):
            self._bundle["GPU"] = engine.num_workers
        self._shares: list[Any] = []
        self._group = self._take_name(engine, name, wait)
        try:
            self._wait_for_machines(engine)
            self._start(folder, engine)
        except RayError as error:
            self.kill()
            raise NodeLost(str(error).splitlines()[0]) from error
        except BaseException:
            self.kill()
            raise

    def _take_name(self, engine: EngineConfig, name: str, wait: bool) -> Any:
        """A placement group: Ray gives a name once, and takes it back when whoever has it dies."""
        from ray.exceptions import RaySystemError
        from ray.util.placement_group import placement_group

        began, whose = time.monotonic(), f"{name}: another process of the cluster is training this stage"
        while True:
            if not _is_taken(name):
                try:
                    return placement_group([self._bundle] * engine.num_nodes, "STRICT_SPREAD", name=name)
                except RaySystemError as error:
                    if "already exists" not in str(error):
                        raise
            if time.monotonic() - began > _NAME_LEFT_S:
                if not wait:
                    raise CheckpointError(f"{whose}; wait for it, then run again")
                logger.info("%s; waiting for it", whose)
                began = math.inf
            time.sleep(_ASK_AGAIN_S)

    def _wait_for_machines(self, engine: EngineConfig) -> None:
        import ray

        waited = 0.0
        while not self._group.wait(_SAY_EVERY_S):
            waited += _SAY_EVERY_S
            logger.info("waiting for %d machines with %s each; %.0f s so far", engine.num_nodes, self._bundle, waited)
            if waited >= _WAIT_S:
                raise BackendError(
                    f"the Ray cluster has {ray.available_resources()} free; engine.num_nodes={engine.num_nodes} and "
                    f"num_workers={engine.num_workers} ask for {engine.num_nodes} machines with {self._bundle} each"
                )

    def _start(self, folder: Path, engine: EngineConfig) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        share = ray.remote(max_restarts=0)(_Share)
        for node in range(engine.num_nodes):
            place = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=node)
            options = {"num_cpus": self._bundle["CPU"], "num_gpus": self._bundle.get("GPU", 0)}
            self._shares.append(share.options(scheduling_strategy=place, **options).remote())
        self._check_folder(folder)
        address = ray.get(self._shares[0].address.remote(), timeout=_STARTS_WITHIN_S)
        num, threads = engine.num_workers, os.environ.get("OMP_NUM_THREADS")
        ray.get(
            [
                one.start.remote(str(folder), num, node * num, engine.world_size, address, threads)
                for node, one in enumerate(self._shares)
            ],
            timeout=_STARTS_WITHIN_S,
        )

    def _check_folder(self, folder: Path) -> None:
        import ray

        seen = folder / f".seen-{secrets.token_hex(4)}"
        seen.write_text(seen.name)
        try:
            found = ray.get([one.reads.remote(str(seen)) for one in self._shares], timeout=_STARTS_WITHIN_S)
        finally:
            seen.unlink()
        blind = [node for node, text in enumerate(found) if text != seen.name]
        if blind:
            raise CheckpointError(
                f"{folder}: {len(blind)} of {len(found)} machines of the Ray cluster do not see it; put the work folder "
                "(--workdir) on a disk that all of them share under the same path"
            )

    def codes(self) -> list[int | None]:
        """The exit code of each; None while it runs."""
        return [code for codes in self._ask("codes") for code in codes]

    def ask_to_stop(self) -> None:
        """They save and end."""
        self._ask("ask_to_stop")

    def show_stacks(self) -> None:
        """Each in turn writes into the log where it is."""
        for share in self._shares:
            self._answers([share.show_stacks.remote()])

    def kill(self) -> None:
        """End them, and give the machines back."""
        import ray
        from ray.util.placement_group import remove_placement_group

        # Some are dead, or have started nothing.
        asked = [share.kill.remote() for share in self._shares]
        if asked:
            ray.wait(asked, num_returns=len(asked), timeout=_ENDED_WITHIN_S)
        for share in self._shares:
            ray.kill(share)
        remove_placement_group(self._group)

    def _ask(self, what: str) -> list[Any]:
        return self._answers([getattr(share, what).remote() for share in self._shares])

    def _answers(self, asked: list[Any]) -> list[Any]:
        import ray
        from ray.exceptions import GetTimeoutError, RayError

        try:
            return ray.get(asked, timeout=_ANSWERS_WITHIN_S)
        except GetTimeoutError as error:
            raise NodeLost(f"a machine has not answered for {_ANSWERS_WITHIN_S:.0f} s") from error
        except RayError as error:
            raise NodeLost(str(error).splitlines()[0]) from error


def _is_taken(name: str) -> bool:
    from ray.util import get_placement_group

    try:
        get_placement_group(name)
    except ValueError:
        return False
    return True


def wants_cluster(engine: EngineConfig) -> bool:
    """Whether a run asks for more than this machine has.

    Raises:
        BackendError: it does, and there is no cluster.
    """
    import torch

    address = read_settings().ray_address
    if engine.num_nodes > 1 and not address:
        raise BackendError(
            f"engine.num_nodes is {engine.num_nodes}, and there is no Ray cluster; name one by RAY_ADDRESS, or set it to 1"
        )
    has = torch.cuda.device_count() if torch.cuda.is_available() else 0 if engine.needs_gpu else num_cores()
    return bool(address) and (engine.num_nodes > 1 or engine.num_workers > has)
