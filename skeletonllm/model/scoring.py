"""Rank candidate answers by likelihood: the clip and question are read once, the candidates share what was read."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

# Copies of the shared prefix held at once.
_MAX_COPIES = 512


@torch.inference_mode()
def rank_shared(
    mllm: Any,
    inputs: dict[str, Tensor],
    candidates: Int64[Tensor, "candidates tokens"],
    lengths: Int64[Tensor, " candidates"],
) -> Float[Tensor, "batch candidates"]:
    """Mean log-likelihood per token of each candidate after each prompt.

    Args:
        mllm: the model.
        inputs: left-padded prompts with their pixels.
        candidates: token ids of the answers with their end token, right-padded.
        lengths: tokens of each.
    """
    mask = inputs["attention_mask"]
    prefix = mllm(**inputs, use_cache=True, logits_to_keep=1)
    first = prefix.logits[:, -1].float().log_softmax(-1)
    scores = first[:, candidates[:, 0]]
    if candidates.shape[1] > 1:
        step = max(1, _MAX_COPIES // len(mask))
        rest = [
            _rest_score(mllm, prefix.cache, mask, candidates[start : start + step], lengths[start : start + step])
            for start in range(0, len(candidates), step)
        ]
        scores = scores + torch.cat(rest, 1)
    return scores / lengths


def _rest_score(
    mllm: Any, cache: Any, mask: Tensor, candidates: Tensor, lengths: Tensor
) -> Float[Tensor, "batch candidates"]:
    """Log-likelihood of each candidate's tokens after its first."""
    import copy

    batch, count, width = len(mask), len(candidates), candidates.shape[1] - 1
    shared = copy.deepcopy(cache)
    shared.batch_repeat_interleave(count)
    shown, wanted = candidates[:, :-1].repeat(batch, 1), candidates[:, 1:].repeat(batch, 1)
    real = (torch.arange(width, device=mask.device) < lengths[:, None] - 1).repeat(batch, 1)
    places = mask.sum(-1).repeat_interleave(count)[:, None] + torch.arange(width, device=mask.device)
    output = mllm(
        input_ids=shown,
        attention_mask=torch.cat((mask.repeat_interleave(count, 0), real.to(mask.dtype)), 1),
        position_ids=places,
        cache=shared,
        use_cache=True,
    )
    likelihood = output.logits.float().log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
    return torch.where(real, likelihood, 0).sum(-1).view(batch, count)
