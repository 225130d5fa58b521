from typing import Any

from skeletonllm.train.config import EngineConfig
from skeletonllm.train.worker import leave_hangs_to_launcher
from tests.ranks import run_ranks


def test_a_process_waits_longer_for_another_than_the_launcher_for_a_step_also_in_groups_that_deepspeed_makes():
    (waits,) = run_ranks(1, _waits)
    assert waits == [14400.0, 14400.0]


def _waits() -> list[float]:
    import torch
    import torch.distributed as dist

    leave_hangs_to_launcher(EngineConfig(hang_after_s=7200.0))
    dist.init_process_group("gloo")
    groups: list[Any] = [dist.group.WORLD, dist.new_group([0])]
    return [group._get_backend(torch.device("cpu")).options._timeout.total_seconds() for group in groups]
