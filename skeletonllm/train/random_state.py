"""The global random generators of one process: set at a run's start, kept in its checkpoints."""

import hashlib
import random
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from skeletonllm.plain import write_whole


def seed_all(*numbers: int) -> None:
    """Set every generator from some numbers; other numbers give unrelated states."""
    seed = int.from_bytes(hashlib.sha256(repr(numbers).encode()).digest()[:4], "little")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)  # those of GPUs too


def save_random_state(file: Path) -> None:
    """Write the states of Python's, numpy's and torch's generators, on CPU and GPU."""
    version, numbers, gauss = random.getstate()
    name, keys, place, has_gauss, cached = np.random.get_state(legacy=True)
    tensors: dict[str, Tensor] = {
        "python": torch.tensor(numbers, dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy_place": torch.tensor([place, has_gauss]),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    assert (version, name) == (3, "MT19937")
    write_whole(file, save(tensors))


def load_random_state(file: Path) -> None:
    """Take up what `save_random_state` wrote."""
    tensors = load(file.read_bytes())
    gauss = tensors["python_gauss"].tolist()
    random.setstate((3, tuple(tensors["python"].tolist()), gauss[0] if gauss else None))
    place, has_gauss = tensors["numpy_place"].tolist()
    keys = tensors["numpy"].numpy().astype(np.uint32)
    np.random.set_state(("MT19937", keys, place, has_gauss, float(tensors["numpy_gauss"])))
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
