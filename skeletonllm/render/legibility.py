"""A penalty on frames that nobody could read: nearly nothing drawn, nearly everything drawn, or no contrast."""

import torch
from jaxtyping import Float
from torch import Tensor

# Shares of the picture: a body that fills the view covers about a tenth to a third of it.
_LEAST_COVER, _MOST_COVER = 0.04, 0.5
# The standard deviation of light over a picture of white limbs on black is about 0.3.
_LEAST_CONTRAST = 0.1


def illegibility(frames: Float[Tensor, "batch frames 3 height width"]) -> Float[Tensor, ""]:
    """0 for frames whose cover and contrast are in their bands; 1 for black ones, and growing outside in between.

    Cover is the mean of the brightest channel, contrast the standard deviation of the mean channel over a frame: both have
    gradients everywhere. It says nothing about what is drawn; it only keeps a renderer from fading away.
    """
    cover = frames.amax(2).mean((-2, -1))
    light = frames.mean(2).flatten(-2)
    contrast = (light.var(-1) + 1e-6).sqrt()
    faint = torch.relu(1 - cover / _LEAST_COVER)
    full = torch.relu(cover - _MOST_COVER) / (1 - _MOST_COVER)
    flat = torch.relu(1 - contrast / _LEAST_CONTRAST)
    return (0.5 * (faint + flat) + full).mean()
