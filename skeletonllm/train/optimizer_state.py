"""What an exact resume needs of the weights and the optimiser: weight by weight, whoever holds which stretch of it.

Each rank writes the stretches that it holds, under the weight's own name, and reads the stretches that it needs. So a
state fits any number of ranks and any kind of ZeRO, and no pickle is read or written.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from skeletonllm.errors import CheckpointError

_WEIGHT, _STEP = "weight", "step"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Stretch:
    """A part of one weight, flattened, where the optimiser moves it.

    Args:
        name: of the weight.
        weight: as the model sees it.
        start: of the stretch in the weight.
        length: 0 where this rank holds nothing of the weight.
        flat: the tensor that the optimiser moves; it may hold many weights, and be of higher precision.
        place: of the stretch in it.
        shared: whether every rank holds the same; then one of them writes it.
    """

    name: str
    weight: nn.Parameter
    start: int
    length: int
    flat: Tensor
    place: int
    shared: bool


def stretches(weights: Mapping[str, nn.Parameter], optimizer: Any) -> list[Stretch]:
    """Where the optimiser of a plain loop, or of DeepSpeed's ZeRO 0 to 3, keeps the weights on this rank."""
    return [_stretch(name, weight, optimizer) for name, weight in weights.items()]


def _stretch(name: str, weight: Any, optimizer: Any) -> Stretch:
    if hasattr(weight, "ds_tensor"):  # ZeRO 3: equal shares of each weight, the last one padded
        group, place, share = optimizer.grad_position[optimizer.get_param_id(weight)]
        start = share * torch.distributed.get_rank()
        length = max(0, min(share, size_of(weight) - start))
        return Stretch(name, weight, start, length, optimizer.fp32_partitioned_groups_flat[group], place, False)
    if hasattr(weight, "_hp_mapping"):  # ZeRO 1 and 2: equal shares of a group, whose borders cut weights anywhere
        mapping = weight._hp_mapping
        if mapping is None:
            return Stretch(name, weight, 0, 0, weight, 0, False)
        flat = optimizer.single_partition_of_fp32_groups[mapping.param_group_index]
        inside, outside = mapping.lp_fragment_address, mapping.hp_fragment_address
        return Stretch(name, weight, inside.start, inside.numel, flat, outside.start, False)
    return Stretch(name, weight, 0, weight.numel(), weight, 0, True)


def size_of(weight: nn.Parameter) -> int:
    """The number of a weight's values, wherever they are now."""
    return getattr(weight, "ds_numel", weight.numel())


def save_stretches(
    held: Sequence[Stretch], optimizer: torch.optim.Optimizer, file: Path, rank: int, num_ranks: int
) -> None:
    """Write the stretches that this rank holds; of what all hold, each writes its share.

    Args:
        held: by this rank.
        optimizer: that moves their flat tensors.
        file: of this rank alone.
        rank: of this process.
        num_ranks: how many write.
    """
    tensors = {}
    for number, one in enumerate(held):
        if not one.length or (one.shared and number % num_ranks != rank):
            continue
        key = f"{one.name}:{one.start}"
        tensors[f"{_WEIGHT}:{key}"] = _cut(one.flat, one)
        state = optimizer.state.get(one.flat, {})
        for kind in _MOMENTS:
            if kind in state:
                tensors[f"{kind}:{key}"] = _cut(state[kind], one)
        if _STEP in state:
            tensors[f"{_STEP}:{key}"] = torch.tensor([float(state[_STEP])])
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, metadata={"format": "pt"})


def _cut(flat: Tensor, one: Stretch) -> Tensor:
    return flat.detach().flatten()[one.place : one.place + one.length].cpu().clone()


def load_stretches(held: Sequence[Stretch], optimizer: torch.optim.Optimizer, files: Sequence[Path]) -> None:
    """Fill the stretches of this rank, the weights and the optimiser's state from what all ranks wrote.

    Args:
        held: by this rank.
        optimizer: that moves their flat tensors; whatever it remembers is forgotten.
        files: of all ranks.

    Raises:
        CheckpointError: a file cannot be read, or other weights were trained.
    """
    try:
        with ExitStack() as opened, torch.no_grad():
            stored = _Stored([opened.enter_context(safe_open(file, "pt")) for file in files])
            optimizer.state.clear()
            for one in held:
                _fill(one, optimizer, stored)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{files[0].parent if files else 'the checkpoint'}: its state cannot be read ({error}); delete this step's "
            "folder to resume from an older one"
        ) from error


def _fill(one: Stretch, optimizer: torch.optim.Optimizer, stored: "_Stored") -> None:
    whole = stored.whole(_WEIGHT, one.name, size_of(one.weight))
    _tell_model(one.weight, whole, one)
    if not one.length:
        return
    _paste(one.flat, one, whole)
    if not stored.has(_STEP, one.name):
        return  # saved before the optimiser's first step
    state = optimizer.state[one.flat]
    if not state:
        state[_STEP] = stored.first(_STEP, one.name).reshape(())
        for kind in _MOMENTS:
            state[kind] = torch.zeros_like(one.flat)
    for kind in _MOMENTS:
        _paste(state[kind], one, stored.whole(kind, one.name, size_of(one.weight)))


def _paste(flat: Tensor, one: Stretch, whole: Tensor) -> None:
    flat.detach().view(-1)[one.place : one.place + one.length].copy_(whole[one.start : one.start + one.length])


def _tell_model(weight: Any, whole: Tensor, one: Stretch) -> None:
    """Every rank sees the whole weight, or its share of it, in a tensor that may be another than the optimiser's."""
    if not hasattr(weight, "ds_tensor"):
        weight.data.copy_(whole.view_as(weight))
        return
    weight.ds_tensor.data.view(-1)[: one.length].copy_(whole[one.start : one.start + one.length])
    if weight.data.numel() == weight.ds_numel:  # this one is kept on every rank
        weight.data.copy_(whole.view(weight.ds_shape))


class _Stored:
    """What is in the files of all ranks, by kind and weight."""

    def __init__(self, files: Sequence[Any]) -> None:
        self._places: dict[tuple[str, str], list[tuple[int, str, Any]]] = {}
        for file in files:
            for key in file.keys():  # noqa: SIM118  not a dictionary
                kind, name, start = key.split(":")
                self._places.setdefault((kind, name), []).append((int(start), key, file))

    def has(self, kind: str, name: str) -> bool:
        """Whether it was saved."""
        return (kind, name) in self._places

    def first(self, kind: str, name: str) -> Tensor:
        """What the first rank says that has it."""
        _, key, file = min(self._places[kind, name], key=lambda place: place[0])
        return file.get_tensor(key)

    def whole(self, kind: str, name: str, size: int) -> Tensor:
        """All stretches of a weight, put together."""
        places = sorted(self._places.get((kind, name), ()), key=lambda place: place[0])
        parts = [file.get_tensor(key) for _, key, file in places]
        whole = torch.cat(parts) if parts else torch.empty(0)
        if whole.numel() != size:
            raise CheckpointError(
                f"{name}: the checkpoint has {whole.numel()} of its {size} values ({kind}); it is of another student or "
                "stage, so delete the run's folder to begin anew"
            )
        return whole
