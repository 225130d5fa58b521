"""Visual tokens whose patch shows nothing are left out of what the language model reads. The others keep their positions.

The vision tower sees whole frames, so that the tokens that are kept are the same as without it.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from skeletonllm.model.families.bridge import Bridge

# Of 8-bit colours: fainter edges of Gaussians are not seen.
_FAINT = 2 / 255
_PER_TOKEN = ("input_ids", "attention_mask", "position_ids", "token_type_ids", "mm_token_type_ids")


def shown_tokens(
    frames: Float[Tensor, "batch frames 3 height width"], bridge: Bridge, least: float = 0.0
) -> Bool[Tensor, "batch tokens"]:
    """Which visual tokens of a clip show something; of a frame that shows nothing, the first.

    Args:
        frames: in [0, 1], on black.
        bridge: of the family, which cuts them into tokens.
        least: a token is shown where more than this share of its patch is lit.
    """
    steps, rows, columns = bridge.token_grid(*frames.shape[1:2], *frames.shape[3:])
    lit = (frames.detach().amax(2) > _FAINT).to(frames.dtype)
    shares = functional.adaptive_avg_pool2d(lit, (rows, columns)).flatten(2)
    each = -(-frames.shape[1] // steps)
    of_steps = torch.stack([some.amax(1) for some in shares.split(each, 1)], 1)
    shown = of_steps > least
    shown[..., 0] |= ~shown.any(-1)
    return shown.flatten(1)


def foreground_only(
    mllm: Any, inputs: Mapping[str, Any], shown: Bool[Tensor, "batch tokens"], pad_id: int
) -> dict[str, Any]:
    """The same inputs without the visual tokens that are not shown, left-padded, their pixels encoded.

    Args:
        mllm: the model.
        inputs: what its forward is given.
        shown: of each clip's visual tokens, in the order of the text; those that a family adds at the end are kept.
        pad_id: what fills shorter rows.
    """
    config, ids, mask = mllm.config, inputs["input_ids"], inputs["attention_mask"].bool()
    kind = "video" if "pixel_values_videos" in inputs else "image"
    visual = (ids == (config.video_token_id if kind == "video" else config.image_token_id)) & mask
    added = visual.sum(1)[0] - shown.shape[1]
    shown = functional.pad(shown, (0, int(added)), value=True)
    kept = mask.masked_scatter(visual, shown)
    width = int(kept.sum(1).max())
    # False before True, otherwise as before: what is left out becomes the padding on the left.
    order = kept.to(torch.uint8).argsort(dim=1, stable=True)[:, -width:]
    left = {name: _gathered(value, order) for name, value in inputs.items() if name in _PER_TOKEN}
    here = kept.gather(1, order)
    left["input_ids"] = left["input_ids"].masked_fill(~here, pad_id)
    for name in left.keys() - {"input_ids", "position_ids"}:
        left[name] = left[name] * here
    encode = mllm.model.get_video_features if kind == "video" else mllm.model.get_image_features
    pixels = {name: value for name, value in inputs.items() if name not in _PER_TOKEN}
    return {**left, "mm_encoder_outputs": {kind: _only(encode(**pixels, return_dict=True), shown.flatten())}}


def _gathered(values: Tensor, order: Tensor) -> Tensor:
    return values.gather(-1, order.expand(*values.shape[:-1], -1))


def _only(output: Any, shown: Tensor) -> Any:
    """Features of the tokens that are shown, in the form in which the family's forward takes them."""
    some = copy.copy(output)
    some.pooler_output = _rows(output.pooler_output, shown)
    if "deepstack_features" in output:
        some.deepstack_features = [_rows(features, shown) for features in output.deepstack_features]
    return some


def _rows(features: Any, shown: Tensor) -> Any:
    if isinstance(features, Tensor):
        return features.flatten(0, -2)[shown][None]
    return (torch.cat(tuple(features)).flatten(0, -2)[shown],)
