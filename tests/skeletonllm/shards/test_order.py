from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skeletonllm.errors import ConfigError
from skeletonllm.shards.order import Order
from skeletonllm.shards.reader import ShardReader
from tests.makers import make_clip, write_clips

_BATCH = 12


def oracle(num_rows: int, seed: int, count: int) -> list[int]:
    """The first `count` rows, in the plainest way."""
    rows: list[int] = []
    epoch = 0
    while len(rows) < count:
        rows += np.random.default_rng((seed, epoch)).permutation(num_rows).tolist()
        epoch += 1
    return rows[:count]


def trained_on(order: Order, num_rows: int, seen: int, world_size: int, num_workers: int, steps: int) -> list[int]:
    """What all ranks see in some steps, put together as they would see it, from a place given by two integers."""
    epoch, sample = divmod(seen, num_rows)
    streams = [
        [order.batches(_BATCH, epoch, sample, rank, world_size, worker, num_workers) for worker in range(num_workers)]
        for rank in range(world_size)
    ]
    rows: list[int] = []
    for step in range(steps):
        shares = [next(workers[step % num_workers]).tolist() for workers in streams]
        rows += [share[place] for place in range(_BATCH // world_size) for share in shares]
    return rows


_LIVES = st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 4), st.integers(0, 9)), max_size=6)


@settings(max_examples=150, deadline=None)
@given(num_rows=st.integers(1, 60), seed=st.integers(0, 5), lives=_LIVES)
def test_samples_and_their_order_are_the_same_whatever_is_killed_or_changed(num_rows, seed, lives):
    rows: list[int] = []
    for world_size, num_workers, steps in lives:
        restarted = Order(num_rows, seed)  # nothing is left of the life before but how many samples were seen
        rows += trained_on(restarted, num_rows, len(rows), world_size, num_workers, steps)
    assert rows == oracle(num_rows, seed, len(rows))


@given(num_rows=st.integers(1, 50), place=st.integers(0, 300), count=st.integers(0, 120))
def test_any_stretch_is_a_stretch_of_the_whole(num_rows, place, count):
    assert Order(num_rows, 3).rows(place, count).tolist() == oracle(num_rows, 3, place + count)[place:]


def test_a_batch_that_the_ranks_cannot_share_is_refused():
    with pytest.raises(ConfigError, match="batch_size 8 cannot be divided by 3 ranks"):
        Order(10, 0).batches(8, world_size=3)


def test_a_reader_gives_the_clips_of_the_order(tmp_path):
    reader = ShardReader(write_clips(tmp_path, [make_clip(f"c{row}", num_frames=2) for row in range(7)]))
    batches = list(islice(reader.batches(4, seed=1), 5))
    assert [clip.clip_id for batch in batches for clip in batch] == [f"c{row}" for row in oracle(7, 1, 20)]
    # 12 clips were seen: epoch 1, sample 5; the second of two ranks goes on.
    second = next(reader.batches(4, seed=1, epoch=1, sample=5, rank=1, world_size=2))
    assert [clip.clip_id for clip in second] == [clip.clip_id for clip in batches[3][1::2]]


def test_a_torch_loader_with_workers_keeps_the_order(tmp_path):
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    reader = ShardReader(write_clips(tmp_path, [make_clip(f"c{row}", num_frames=2) for row in range(7)]))

    class Shuffled(IterableDataset):
        def __iter__(self):
            worker = get_worker_info()
            return reader.batches(4, seed=1, worker=worker.id, num_workers=worker.num_workers)

    loader = DataLoader(Shuffled(), batch_size=None, num_workers=2, collate_fn=lambda clips: [c.clip_id for c in clips])
    ids = [clip_id for batch in islice(loader, 6) for clip_id in batch]
    assert ids == [f"c{row}" for row in oracle(7, 1, 24)]
