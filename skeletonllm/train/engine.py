"""What moves the weights: DeepSpeed, or a bare loop. The only place that imports DeepSpeed."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from skeletonllm.errors import BackendError, ConfigError
from skeletonllm.train.config import EngineConfig, StageConfig
from skeletonllm.train.optimizer_state import load_stretches, save_stretches, size_of, stretches

# ZeRO 3 shares weights with more values than this among the ranks; smaller ones are kept whole on each.
_KEPT_WHOLE = 100_000


@runtime_checkable
class Engine(Protocol):
    """Moves the weights of one student."""

    world_size: int

    def loss(self, *inputs: Any) -> Tensor:
        """The student's loss."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients."""
        ...

    def part_norms(self) -> dict[str, float]:
        """The gradient's norm in each trained part, before clipping; every rank asks, once enough gradients are in."""
        ...

    def step(self, learning_rates: Mapping[str, float]) -> float:
        """Move the weights once enough gradients are in; returns the gradient's norm before clipping.

        Where that is not finite, nothing is moved, on any rank, and the gradients are forgotten.
        """
        ...

    def save_state(self, file: Path) -> None:
        """Write what this rank holds of all that an exact resume needs; every rank calls it."""
        ...

    def load_state(self, files: Sequence[Path]) -> None:
        """Take up what all ranks wrote, with whatever number of ranks, kind of engine and of ZeRO.

        Raises:
            CheckpointError: it cannot be read, or is of another student or stage.
        """
        ...

    def whole(self, weights: Sequence[nn.Parameter]) -> AbstractContextManager[None]:
        """Within it the weights are whole on every rank, to be read; every rank enters it."""
        ...


def learning_rate_factor(step: int, num_steps: int, warmup: float) -> float:
    """Linear rise, then a cosine from 1 to 0.1: the share of the peak learning rate at a step."""
    rise = max(1, round(num_steps * warmup))
    if step < rise:
        return (step + 1) / rise
    return 0.55 + 0.45 * math.cos(math.pi * (step - rise) / max(1, num_steps - rise))


def parameter_groups(named_parts: Mapping[str, Mapping[str, nn.Parameter]], stage: StageConfig) -> list[dict[str, Any]]:
    """One optimiser group for each part that the stage trains; vectors and scalars are not decayed."""
    groups = []
    for part in stage.trains:
        parameters = [p for p in named_parts[part].values() if p.requires_grad]
        for decay, some in (
            (stage.weight_decay, [p for p in parameters if p.ndim > 1]),
            (0.0, [p for p in parameters if p.ndim <= 1]),
        ):
            if some:
                groups.append({"params": some, "name": part, "weight_decay": decay, "lr": 0.0})
    if not groups:
        raise ConfigError(
            f"stage {stage.name}: nothing to train in {list(stage.trains)} (a fixed renderer has no weights); "
            "name another part"
        )
    return groups


def make_engine(student: nn.Module, groups: list[dict[str, Any]], config: EngineConfig, micro_batch: int) -> Engine:
    """The engine that the configuration names; never another one in silence."""
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    if config.kind == "plain":
        return PlainEngine(student, optimizer, config)
    return DeepSpeedEngine(student, optimizer, config, micro_batch)


def init_distributed() -> tuple[int, int]:
    """Join the process group that the launcher describes, or make one of this process alone; (rank, world size)."""
    import torch.distributed as dist

    deepspeed = _import_deepspeed()
    cuda = torch.cuda.is_available()
    if not dist.is_initialized():
        if cuda:
            local_rank = int(os.environ.get("LOCAL_RANK", "0"))
            if local_rank >= torch.cuda.device_count():
                raise BackendError(
                    f"engine.num_workers asks for a GPU number {local_rank}, this machine has {torch.cuda.device_count()}; "
                    "use at most as many workers as GPUs"
                )
            torch.cuda.set_device(local_rank)
        backend = "nccl" if cuda else "gloo"
        if "RANK" in os.environ:
            dist.init_process_group(backend)
        else:
            os.environ.setdefault("LOCAL_RANK", "0")
            store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
            dist.init_process_group(backend, store=store, rank=0, world_size=1)
        deepspeed.init_distributed(backend, dist_init_required=False, auto_mpi_discovery=False)
    return dist.get_rank(), dist.get_world_size()


def _import_deepspeed() -> Any:
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        import deepspeed
        import deepspeed.ops
    except ImportError as error:
        raise BackendError(
            f"engine 'deepspeed' is not on this machine ({error}); install it or set engine.kind=plain"
        ) from error
    if not torch.cuda.is_available():
        # Else the first start compiles a shared-memory extension for minutes, and dies without a compiler.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def deepspeed_config(config: EngineConfig, micro_batch: int) -> dict[str, Any]:
    """The DeepSpeed dictionary. No bf16 block, which would cast the renderer too: parts keep the type of their file."""
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.offload != "nothing":
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.offload == "optimizer_and_weights":
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": config.gradient_accumulation,
        "gradient_clipping": config.gradient_clipping,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }


def _sharing(student: nn.Module) -> dict[str, Any]:
    """DeepSpeed's settings for which weights ZeRO 3 shares."""
    renderer = getattr(student, "renderer", None)
    drawing = renderer.parameters() if renderer is not None else ()
    kept = max([_KEPT_WHOLE, *(weight.numel() for weight in drawing)])
    shares = any(weight.numel() > kept for weight in student.parameters())
    return {
        "stage3_param_persistence_threshold": kept,
        # It forgets a layer's weights between the passes, and is slower: of no use where none are shared.
        "memory_efficient_linear": shares,
    }


class DeepSpeedEngine:
    """DeepSpeed's ZeRO 0 to 3 over any number of processes."""

    def __init__(
        self, student: nn.Module, optimizer: torch.optim.Optimizer, config: EngineConfig, micro_batch: int
    ) -> None:
        deepspeed = _import_deepspeed()
        self._rank, self.world_size = init_distributed()
        # DeepSpeed puts its own flat tensors in their place.
        self._parts = _by_part(optimizer)
        self._weights = _trained(student)
        settings = deepspeed_config(config, micro_batch)
        self._own_clipping = config.gradient_clipping if config.zero_stage == 0 else None
        if self._own_clipping is not None:
            settings["gradient_clipping"] = 0.0  # DeepSpeed's cannot clip what was forgotten
        if config.zero_stage == 3:
            settings["zero_optimization"] |= _sharing(student)
        self._engine, *_ = deepspeed.initialize(model=student, optimizer=optimizer, config=settings)
        self._shares_weights = config.zero_stage == 3
        if self._shares_weights:
            self._gather_small()
            self._unhook(student)
        # DeepSpeed looks for gradients that are not finite where it is told to, but not under ZeRO 0.
        if hasattr(self._engine.optimizer, "check_grad_overflow"):
            self._engine.optimizer.check_grad_overflow = True
        # Of ZeRO 1 to 3 this one is wrapped in DeepSpeed's own.
        self._optimizer = getattr(self._engine.optimizer, "optimizer", self._engine.optimizer)

    def _unhook(self, student: nn.Module) -> None:
        """Take DeepSpeed's hooks from the modules whose own weights are all whole on every rank: nothing is to be gathered.

        They cost more than many such modules do. Those of the renderer pass dataclasses, in which hooks find no tensors;
        and rank 0 alone draws pictures, where they would make it wait for the other ranks. Gradients have hooks of their
        own.
        """
        kept = {id(weight) for weight in self._engine.optimizer.persistent_parameters}
        idle = [
            module
            for module in student.modules()
            if module is not student and all(id(weight) in kept for weight in module.parameters(recurse=False))
        ]
        hooks = {id(hooks) for module in idle for hooks in (module._forward_pre_hooks, module._forward_hooks)}
        offload = self._engine.optimizer.parameter_offload
        for handle in (*offload.forward_hooks, *offload.backward_hooks):
            if id(handle.hooks_dict_ref()) in hooks:
                handle.remove()

    def _gather_small(self) -> None:
        kept = self._engine.optimizer.persistent_parameters
        if kept:
            kept[0].all_gather(kept)

    def loss(self, *inputs: Any) -> Tensor:
        """The student's loss, through DeepSpeed's hooks."""
        return self._engine(*inputs)

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients, divided by the accumulation steps."""
        self._engine.backward(loss)

    def part_norms(self) -> dict[str, float]:
        """Over all ranks; DeepSpeed gathers the shares of each weight's gradient."""
        from deepspeed.utils import safe_get_full_grad

        return _norms(self._parts, safe_get_full_grad)

    def step(self, learning_rates: Mapping[str, float]) -> float:
        """Move the weights at the end of an accumulation; the norm is over all ranks."""
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rates[group["name"]]
        norm = None
        if self._own_clipping is not None and self._engine.is_gradient_accumulation_boundary():
            norm = _clip_or_drop(self._weights.values(), self._own_clipping)
        self._engine.step()
        if self._shares_weights and self._engine.optimizer.overflow:
            self._gather_small()  # DeepSpeed does it only after steps that it takes
        norm = self._engine.get_global_grad_norm() if norm is None else norm
        return float(norm) if norm is not None else math.nan

    def save_state(self, file: Path) -> None:
        """What this rank holds of the trained weights and their moments."""
        held = stretches(self._weights, self._engine.optimizer)
        save_stretches(held, self._optimizer, file, self._rank, self.world_size)

    def load_state(self, files: Sequence[Path]) -> None:
        """Take up a state, whoever saved it."""
        load_stretches(stretches(self._weights, self._engine.optimizer), self._optimizer, files)

    @contextmanager
    def whole(self, weights: Sequence[nn.Parameter]) -> Iterator[None]:
        """Gathers those that ZeRO 3 shares among the ranks."""
        shared = [weight for weight in weights if weight.numel() < size_of(weight)]
        with _import_deepspeed().zero.GatheredParameters(shared, enabled=bool(shared)):
            yield


class PlainEngine:
    """One process, one optimiser, no library."""

    world_size = 1

    def __init__(self, student: nn.Module, optimizer: torch.optim.Optimizer, config: EngineConfig) -> None:
        self._optimizer, self._config = optimizer, config
        self._student, self._weights = student, _trained(student)
        self._micro_steps = 0

    def loss(self, *inputs: Any) -> Tensor:
        """The student's loss."""
        return self._student(*inputs)

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients, divided by the accumulation steps."""
        (loss / self._config.gradient_accumulation).backward()

    def part_norms(self) -> dict[str, float]:
        """Of the gradients as they are."""
        return _norms(_by_part(self._optimizer), lambda weight: weight.grad)

    def step(self, learning_rates: Mapping[str, float]) -> float:
        """At the end of an accumulation: clip, move, forget the gradients."""
        self._micro_steps += 1
        if self._micro_steps % self._config.gradient_accumulation:
            return math.nan
        parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        norm = _clip_or_drop(parameters, self._config.gradient_clipping)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rates[group["name"]]
        self._optimizer.step()  # passes over weights without a gradient
        self._optimizer.zero_grad(set_to_none=True)
        return norm

    def save_state(self, file: Path) -> None:
        """The trained weights and their moments."""
        save_stretches(stretches(self._weights, self._optimizer), self._optimizer, file, 0, 1)

    def load_state(self, files: Sequence[Path]) -> None:
        """Take up a state, whoever saved it."""
        load_stretches(stretches(self._weights, self._optimizer), self._optimizer, files)

    def whole(self, weights: Sequence[nn.Parameter]) -> AbstractContextManager[None]:
        """They always are."""
        del weights
        return nullcontext()


def _trained(student: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in student.named_parameters() if weight.requires_grad}


def _clip_or_drop(weights: Iterable[nn.Parameter], longest: float) -> float:
    """The norm of all gradients, which are clipped; where it is not finite they are forgotten, so that nothing moves."""
    having = [weight for weight in weights if weight.grad is not None]
    norm = float(nn.utils.clip_grad_norm_(having, longest))
    if not math.isfinite(norm):
        for weight in having:
            weight.grad = None
    return norm


def _by_part(optimizer: torch.optim.Optimizer) -> dict[str, list[nn.Parameter]]:
    parts: dict[str, list[nn.Parameter]] = {}
    for group in optimizer.param_groups:
        parts.setdefault(group["name"], []).extend(group["params"])
    return parts


def _norms(
    parts: Mapping[str, Sequence[nn.Parameter]], gradient_of: Callable[[nn.Parameter], Tensor | None]
) -> dict[str, float]:
    norms = {}
    for part, weights in parts.items():
        gradients = [gradient for weight in weights if (gradient := gradient_of(weight)) is not None]
        norms[part] = math.sqrt(sum(float(gradient.detach().float().norm()) ** 2 for gradient in gradients))
    return norms
