"""The training processes of several machines: one Ray actor on each holds its share, and dies with whoever launched it."""

import logging
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipelines.executor import start_ray
from pipelines.launch.workers import Workers, free_address
from pipelines.settings import read_settings
from skeletonllm.errors import BackendError, CheckpointError
from skeletonllm.train.config import EngineConfig

logger = logging.getLogger(__name__)

_NAMESPACE = "skeletonllm"
# How long machines are waited for: an autoscaler needs minutes.
_WAIT_S = 1800.0
_SAY_EVERY_S = 30.0


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

    def start(self, folder: str, num: int, first: int, world_size: int, address: str) -> None:
        self._workers = Workers(Path(folder), num, first, world_size, address)

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
        name: of the run; two of one name are refused by Ray itself.

    Raises:
        BackendError: the cluster has not the machines.
        CheckpointError: a machine does not see the folder, or the run is launched already.
        NodeLost: a machine died.
    """

    def __init__(self, folder: Path, engine: EngineConfig, name: str) -> None:
        import ray
        from ray.exceptions import RayError

        start_ray(_NAMESPACE)
        gpus = float(ray.cluster_resources().get("GPU", 0))
        self._bundle: dict[str, float] = {"CPU": engine.num_workers}
        if gpus:
            self._bundle["GPU"] = engine.num_workers
        self._shares: list[Any] = []
        self._group = self._wait_for_machines(engine, name)
        try:
            self._start(folder, engine, name)
        except RayError as error:
            self.kill()
            raise NodeLost(str(error).splitlines()[0]) from error
        except BaseException:
            self.kill()
            raise

    def _wait_for_machines(self, engine: EngineConfig, name: str) -> Any:
        import ray
        from ray.util.placement_group import placement_group, remove_placement_group

        group = placement_group([self._bundle] * engine.num_nodes, "STRICT_SPREAD", name=name)
        waited = 0.0
        try:
            while not group.wait(_SAY_EVERY_S):
                waited += _SAY_EVERY_S
                logger.info(
                    "waiting for %d machines with %s each; %.0f s so far", engine.num_nodes, self._bundle, waited
                )
                if waited >= _WAIT_S:
                    raise BackendError(
                        f"the Ray cluster has {ray.available_resources()} free; engine.num_nodes={engine.num_nodes} and "
                        f"num_workers={engine.num_workers} ask for {engine.num_nodes} machines with {self._bundle} each"
                    )
        except BaseException:
            remove_placement_group(group)
            raise
        return group

    def _start(self, folder: Path, engine: EngineConfig, name: str) -> None:
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        share = ray.remote(max_restarts=0)(_Share)
        try:
            for node in range(engine.num_nodes):
                place = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=node)
                options = {"num_cpus": self._bundle["CPU"], "num_gpus": self._bundle.get("GPU", 0)}
                named = share.options(name=f"{name}-{node}", scheduling_strategy=place, **options)
                self._shares.append(named.remote())
        except ValueError as error:
            raise CheckpointError(
                f"{name}: another process of the cluster is training this stage ({error}); wait for it, then run again"
            ) from None
        self._check_folder(folder)
        address = ray.get(self._shares[0].address.remote())
        num, size = engine.num_workers, engine.num_workers * engine.num_nodes
        ray.get(
            [one.start.remote(str(folder), num, node * num, size, address) for node, one in enumerate(self._shares)]
        )

    def _check_folder(self, folder: Path) -> None:
        import ray

        seen = folder / f".seen-{secrets.token_hex(4)}"
        seen.write_text(seen.name)
        try:
            found = ray.get([one.reads.remote(str(seen)) for one in self._shares])
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
        """Each writes into the log where it is."""
        self._ask("show_stacks")

    def kill(self) -> None:
        """End them, and give the machines back."""
        import ray
        from ray.exceptions import RayError
        from ray.util.placement_group import remove_placement_group

        for share in self._shares:
            with suppress(RayError, AttributeError):  # it is dead, or has started nothing
                ray.get(share.kill.remote(), timeout=10)
            ray.kill(share)
        remove_placement_group(self._group)

    def _ask(self, what: str) -> list[Any]:
        import ray
        from ray.exceptions import RayError

        try:
            return ray.get([getattr(share, what).remote() for share in self._shares])
        except RayError as error:
            raise NodeLost(str(error).splitlines()[0]) from error


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
    has = torch.cuda.device_count() if torch.cuda.is_available() else os.cpu_count() or 1
    return bool(address) and (engine.num_nodes > 1 or engine.num_workers > has)
