"""The order of samples as a pure function of (seed, place): the same for any number of ranks and workers.

A place counts samples from the start of training; epochs follow one another without a gap. So (epoch, sample) is all that
resuming needs: no state of a loader, no generator's state.
"""

from collections.abc import Iterator

import numpy as np

from skeletonllm.errors import ConfigError


class Order:
    """An endless run over shuffled rows, each epoch with an order of its own.

    Args:
        num_rows: at least one.
        seed: together with the epoch's number it decides the epoch's order.
    """

    def __init__(self, num_rows: int, seed: int) -> None:
        self._num_rows = num_rows
        self._seed = seed
        self._latest: tuple[int, np.ndarray] = (-1, np.empty(0, np.int64))

    def epoch(self, epoch: int) -> np.ndarray:
        """All rows in the order of one epoch."""
        latest, rows = self._latest
        if latest != epoch:
            rows = np.random.default_rng((self._seed, epoch)).permutation(self._num_rows)
            self._latest = (epoch, rows)  # one assignment: threads may share an order
        return rows

    def rows(self, place: int, count: int) -> np.ndarray:
        """The `count` rows from a place on."""
        parts = [np.empty(0, np.int64)]
        while count > 0:
            epoch, sample = divmod(place, self._num_rows)
            parts.append(self.epoch(epoch)[sample : sample + count])
            place, count = place + len(parts[-1]), count - len(parts[-1])
        return np.concatenate(parts)

    def batches(
        self,
        batch_size: int,
        epoch: int = 0,
        sample: int = 0,
        rank: int = 0,
        world_size: int = 1,
        worker: int = 0,
        num_workers: int = 1,
    ) -> Iterator[np.ndarray]:
        """One worker's batches of one rank, without end.

        A batch of `batch_size` rows is dealt out to the ranks row by row. Worker w of W makes every W-th batch from
        the w-th on, which a loader that asks its workers in turn (torch's does) puts together in order.

        Args:
            batch_size: rows of a batch over all ranks.
            epoch: where to go on.
            sample: where to go on: samples that were seen in this epoch, over all ranks.

        Raises:
            ConfigError: the batch cannot be divided so.
        """
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(f"batch_size {batch_size} cannot be divided by {world_size} ranks; choose a multiple")
        start = epoch * self._num_rows + sample
        return self._dealt(batch_size, start + worker * batch_size, num_workers * batch_size, rank, world_size)

    def _dealt(self, batch_size: int, place: int, step: int, rank: int, world_size: int) -> Iterator[np.ndarray]:
        while True:
            yield self.rows(place, batch_size)[rank::world_size]
            place += step
