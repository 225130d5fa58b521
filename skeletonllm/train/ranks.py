"""The processes of one run: which one this is, and what they tell one another."""

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
        return self.told(value)[0]
