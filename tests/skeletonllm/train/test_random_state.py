import random

import numpy as np
import torch

from skeletonllm.train.random_state import load_random_state, save_random_state, seed_all


def drawn():
    """Of every generator, those that keep half of a pair too."""
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_every_generator_goes_on_where_it_was(tmp_path):
    seed_all(1, 2)
    drawn()
    random.gauss(0, 1)  # now it keeps the second half of a pair
    np.random.randn()
    save_random_state(tmp_path / "random")
    expected = [drawn() for _ in range(3)]
    seed_all(5)
    load_random_state(tmp_path / "random")
    assert [drawn() for _ in range(3)] == expected


def test_seeds_of_ranks_and_steps_are_unrelated_and_repeat():
    found = {}
    for numbers in ((0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)):
        for _ in range(2):
            seed_all(*numbers)
            found.setdefault(numbers, set()).add(str(drawn()))
    assert [len(each) for each in found.values()] == [1] * 4
    assert len(set.union(*found.values())) == 4
