"""The processes of one run: which one this is, and what they tell one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """One process among those that train together."""

    rank: int = 0
    num: int = 1

    def told(self, value: T) -> list[T]:
        """What each rank says, in their order; all wait for the last."""
        if self.num == 1:
            return [value]
        import torch.distributed as dist

        said: list[T | None] = [None] * self.num
        dist.all_gather_object(said, value)
        return said  # pyright: ignore[reportReturnType]  all have answered

    def first(self, value: T) -> T:
        """What rank 0 says."""
        if self.num == 1:
            return value
        import torch.distributed as dist

        said = [value]
        dist.broadcast_object_list(said)
        return said[0]

    def mean(self, values: Sequence[float]) -> list[float]:
        """The mean over the ranks of each of some numbers, the same to the last bit on all of them."""
        if self.num == 1:
            return list(values)
        import torch
        import torch.distributed as dist

        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        summed = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(summed)
        return (summed / self.num).tolist()
