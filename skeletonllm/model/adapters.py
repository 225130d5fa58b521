"""Which weights of a backbone belong to which part, and LoRA on its language part alone."""

from functools import partial

import torch
from torch import Tensor, nn

from skeletonllm.model.config import AdapterConfig

# The language model's linear layers in every family of transformers 5. The usual bare list of names would also match the
# vision tower's.
_LANGUAGE_LINEAR = r".*\.(language_model|text_model)\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
_LANGUAGE = (".language_model.", ".text_model.", "lm_head")


def add_adapter(mllm: nn.Module, config: AdapterConfig) -> None:
    """Put the adapter into the model, in place."""
    if config.kind == "full":
        return
    from peft import LoraConfig, inject_adapter_in_model

    # No dropout: it would cost half as much memory again, and make a resumed run differ.
    lora = LoraConfig(r=config.rank, lora_alpha=config.alpha, lora_dropout=0.0, target_modules=_LANGUAGE_LINEAR)
    inject_adapter_in_model(lora, mllm)


def learn_in_float32(mllm: nn.Module, projector: str) -> None:
    """Keep what learns in float32 in a model of 16 bits, in place: small steps would be rounded away.

    Args:
        mllm: the model, with its adapter in it.
        projector: part of the names of the weights between vision and language.
    """
    hooked: list[str] = []
    for name, module in mllm.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in hooked)
        if projector in name and not inside and not isinstance(module, nn.ModuleList):
            module.register_forward_pre_hook(_widen)
            module.register_forward_hook(partial(_narrow, next(mllm.parameters()).dtype))
            hooked.append(name)
    for name, weight in mllm.named_parameters():
        if projector in name or "lora_" in name:
            weight.data = weight.data.float()


def _widen(_module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(values.float() for values in inputs)


def _narrow(dtype: torch.dtype, _module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    return output.to(dtype)


def split_parameters(mllm: nn.Module, projector: str, config: AdapterConfig) -> dict[str, dict[str, nn.Parameter]]:
    """The backbone's weights by part: `projector`, `language_adapter`, and `frozen` for all others."""
    parts: dict[str, dict[str, nn.Parameter]] = {"projector": {}, "language_adapter": {}, "frozen": {}}
    for name, weight in mllm.named_parameters():
        parts[_part(name, projector, config)][name] = weight
    return parts


def _part(name: str, projector: str, config: AdapterConfig) -> str:
    if projector in name:
        return "projector"
    adapts = "lora_" in name if config.kind == "lora" else any(word in f".{name}" for word in _LANGUAGE)
    return "language_adapter" if adapts else "frozen"
