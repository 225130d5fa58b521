"""The fast rasteriser for the CPU: `splat.cpp`, as a function that torch can differentiate."""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from skeletonllm.errors import BackendError
from skeletonllm.render.rasterize.build import load_kernel

_MAX_CHANNELS = 8


def composite(
    means2d: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, order_key: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor]:
    """See `skeletonllm.render.rasterize.rasterize`; here the images stand on one axis.

    Uses `torch.get_num_threads()` threads; the result does not depend on how many, to the bit.

    Raises:
        BackendError: the tensors are not float32 on the CPU, have too many channels, or the kernel cannot be built.
    """
    for tensor in (means2d, conics, colors, opacities):
        if tensor.dtype != torch.float32 or tensor.device.type != "cpu":
            raise BackendError(
                f"rasteriser 'cpu' takes float32 on the CPU, not {tensor.dtype} on {tensor.device.type}; set "
                "render.backend to 'reference' for other types, to 'gsplat' for a GPU"
            )
    if not 1 <= colors.shape[-1] <= _MAX_CHANNELS:
        raise BackendError(
            f"rasteriser 'cpu' takes 1 to {_MAX_CHANNELS} channels, not {colors.shape[-1]}; use 'reference'"
        )
    image, alpha = _Composite.apply(means2d, conics, colors, opacities, order_key, height, width)  # pyright: ignore[reportGeneralTypeIssues]  apply has no types
    return image, alpha


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, Tensor]:
        """Front to back."""
        *tensors, height, width = inputs
        tensors = [tensor.contiguous() for tensor in tensors]
        images, _, channels = tensors[2].shape
        image = tensors[0].new_empty(images, channels, height, width)
        alpha = tensors[0].new_empty(images, height, width)
        load_kernel().splat_forward(*_arguments(tensors, image), _pointer(image), _pointer(alpha))
        ctx.save_for_backward(*tensors, image, alpha)
        return image, alpha

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  the decorator's type forgets the argument's name
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor | None, ...]:
        """The analytic gradient; the forward pass is done again tile by tile."""
        *tensors, image, alpha = ctx.saved_tensors
        found = [torch.zeros_like(tensor) for tensor in tensors[:4]]
        given = [gradient.contiguous() for gradient in gradients]
        load_kernel().splat_backward(*_arguments(tensors, image), *map(_pointer, (image, alpha, *given, *found)))
        return (*found, None, None, None)


def _arguments(tensors: list[Tensor], image: Tensor) -> list[Any]:
    """What both functions of the kernel begin with."""
    images, gaussians, _ = tensors[2].shape
    sizes = [ctypes.c_int(size) for size in (*image.shape[1:], torch.get_num_threads())]
    return [*map(_pointer, tensors), ctypes.c_int64(images), ctypes.c_int64(gaussians), *sizes]


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
