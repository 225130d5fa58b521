"""Frames to files that people look at: gif, mp4, a strip of frames as png."""

import contextlib
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from skeletonllm.errors import ConfigError, DataError

_SUFFIXES = (".gif", ".mp4", ".png")


def to_bytes(frames: Float[Tensor, "frames 3 height width"]) -> UInt8[np.ndarray, "frames height width 3"]:
    """Frames in [0, 1] as 8-bit pixels."""
    return (frames.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def save_picture(frames: Float[Tensor, "frames 3 height width"], path: Path, fps: float = 8.0) -> None:
    """Write frames as the suffix says: `.gif`, `.mp4`, or `.png`, which holds them side by side.

    Raises:
        ConfigError: another suffix.
        DataError: the file cannot be written.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'!r}; use {', '.join(_SUFFIXES)}"
        )
    pixels = to_bytes(frames)
    data = {".gif": gif_bytes, ".mp4": _mp4_bytes, ".png": lambda pixels, _: _png_bytes(np.concatenate(pixels, 1))}[
        path.suffix
    ](pixels, fps)
    _write(data, path)


def webp_frames(frames: Float[Tensor, "frames 3 height width"]) -> list[bytes]:
    """Each frame as a WebP file, exact to the pixel: two thirds of the size of a PNG."""
    return [_encoded(pixels, "WEBP", lossless=True) for pixels in to_bytes(frames)]


def png_frames(frames: Float[Tensor, "frames 3 height width"]) -> list[bytes]:
    """Each frame as a PNG file."""
    return [_png_bytes(pixels) for pixels in to_bytes(frames)]


def _write(data: bytes, path: Path) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise DataError(f"{path}: cannot be written ({error}); choose another place") from error


def gif_bytes(pixels: UInt8[np.ndarray, "frames height width 3"], fps: float) -> bytes:
    """An endless GIF."""
    images = _images(pixels)
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0)
    return file.getvalue()


def _png_bytes(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    return _encoded(pixels, "PNG")


def _encoded(pixels: UInt8[np.ndarray, "height width 3"], kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    _images(pixels[None])[0].save(file, kind, **options)
    return file.getvalue()


def _images(pixels: UInt8[np.ndarray, "frames height width 3"]) -> Sequence[Any]:
    from PIL import Image

    return [Image.fromarray(frame) for frame in pixels]


def _mp4_bytes(pixels: UInt8[np.ndarray, "frames height width 3"], fps: float) -> bytes:
    import imageio.v3 as iio

    # H.264 wants even sizes.
    height, width = (size + size % 2 for size in pixels.shape[1:3])
    even = np.pad(pixels, ((0, 0), (0, height - pixels.shape[1]), (0, width - pixels.shape[2]), (0, 0)))
    return iio.imwrite("<bytes>", even, extension=".mp4", plugin="pyav", codec="libx264", fps=max(1, round(fps)))
