"""The fast rasteriser on a CPU: `splat.cpp` behind autograd. Its definition is `reference`."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize.build import load_kernel

MAX_CHANNELS = 8


def composite(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, order_key: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """See `skeletonllm.render.rasterize.rasterize`; here the images stand on one axis.

    Uses `torch.get_num_threads()` threads; the result is the same to the last bit for any number.

    Raises:
        BackendError: not float32 on a CPU, more than 8 channels, or no compiler.
    """
    if means2d.dtype != torch.float32 or means2d.device.type != "cpu":
        raise BackendError(
            f"rasteriser 'cpu': the Gaussians are {means2d.dtype} on {means2d.device}, must be torch.float32 on cpu; "
            "for others set render.backend to 'reference'"
        )
    if not 1 <= colors.shape[-1] <= MAX_CHANNELS:
        raise BackendError(
            f"rasteriser 'cpu': colours have {colors.shape[-1]} channels, must be 1 to {MAX_CHANNELS}; "
            "draw the rest in a second call"
        )
    composited: Any = _Composite.apply(means2d, conics, colors, opacities, order_key, height, width)
    return composited


class _Composite(torch.autograd.Function):
    """Means, conics, colours, opacities, keys to the image [images, C, H, W] and its coverage [images, H, W]."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        """Every pixel is written."""
        *tensors, height, width = arguments
        gaussians = [tensor.detach().contiguous() for tensor in tensors]
        images, _, channels = gaussians[2].shape
        image = gaussians[0].new_empty(images, channels, height, width)
        cover = gaussians[0].new_empty(images, height, width)
        _call("splat_forward", gaussians, (height, width), (image, cover))
        ctx.save_for_backward(*gaussians, image, cover)
        ctx.set_materialize_grads(False)
        return image, cover

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  the decorator's type forgets the argument's name
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Lists and alphas are made anew: they would need more memory than time."""
        *gaussians, image, cover = ctx.saved_tensors
        if all(gradient is None for gradient in gradients):
            return (None,) * 7
        pulls = [gradient if gradient is None else gradient.contiguous() for gradient in gradients]
        results = [torch.zeros_like(tensor) for tensor in gaussians[:4]]
        _call("splat_backward", gaussians, image.shape[-2:], (image, cover, *pulls, *results))
        return *results, None, None, None


def _call(name: str, gaussians: list[Tensor], size: tuple[int, ...], others: tuple[Tensor | None, ...]) -> None:
    images, count, channels = gaussians[2].shape
    height, width = size
    if not images * height * width:
        return
    shape = [ctypes.c_int64(images), ctypes.c_int64(count), channels, height, width, torch.get_num_threads()]
    if getattr(load_kernel(), name)(*map(_pointer, gaussians), *shape, *map(_pointer, others)):
        raise MemoryError(f"rasteriser 'cpu': no memory for {images} images of {count} Gaussians")


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())
