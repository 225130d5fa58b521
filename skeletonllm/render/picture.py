"""Frames to files that people look at: gif, mp4, a strip of frames as png."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from skeletonllm.errors import ConfigError, DataError
from skeletonllm.plain import write_whole

_SUFFIXES = (".gif", ".mp4", ".png")


def to_bytes(frames: Float[Tensor, "frames 3 height width"]) -> UInt8[np.ndarray, "frames height width 3"]:
    """Frames in [0, 1] as 8-bit pixels."""
    return (frames.detach().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def save_picture(frames: Float[Tensor, "frames 3 height width"], path: Path, fps: float = 8.0, rows: int = 1) -> None:
    """Write frames as the suffix says: `.gif`, `.mp4`, or `.png`, which holds them side by side.

    Args:
        frames: in [0, 1].
        path: its folder is made.
        fps: of a film, frames per second; a GIF counts in hundredths of a second.
        rows: of a `.png`, with as many frames in each.

    Raises:
        ConfigError: another suffix.
        DataError: the file cannot be written.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'!r}; use {', '.join(_SUFFIXES)}"
        )
    pixels = to_bytes(frames)
    if path.suffix == ".png":
        strips = [np.concatenate(row, 1) for row in pixels.reshape(rows, -1, *pixels.shape[1:])]
        data = _png_bytes(np.concatenate(strips, 0))
    else:
        data = gif_bytes(pixels, fps) if path.suffix == ".gif" else _mp4_bytes(pixels, fps)
    try:
        write_whole(path, data)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}); choose another place") from error


def side_by_side(
    frames: Float[Tensor, "frames 3 height width"], num_views: int
) -> Float[Tensor, "moments 3 height wide"]:
    """Frames of several cameras, one camera's after the other's, as one wide frame for each moment."""
    return torch.cat(tuple(frames.unflatten(0, (num_views, -1))), -1)


def webp_frames(frames: Float[Tensor, "frames 3 height width"]) -> list[bytes]:
    """Each frame as a WebP file, exact to the pixel: two thirds of the size of a PNG."""
    return [_encoded(pixels, "WEBP", lossless=True) for pixels in to_bytes(frames)]


def strip_webp(frames: Float[Tensor, "frames 3 height width"]) -> bytes:
    """All frames side by side as one WebP file, exact to the pixel."""
    return _encoded(np.concatenate(list(to_bytes(frames)), 1), "WEBP", lossless=True)


def png_frames(frames: Float[Tensor, "frames 3 height width"]) -> list[bytes]:
    """Each frame as a PNG file."""
    return [_png_bytes(pixels) for pixels in to_bytes(frames)]


def gif_bytes(pixels: UInt8[np.ndarray, "frames height width 3"], fps: float) -> bytes:
    """An endless GIF. It counts in hundredths of a second: frames take turns at rounding, so that the whole is in time."""
    images = _images(pixels)
    durations_ms = 10 * np.diff(np.round(100 * np.arange(len(images) + 1) / fps).astype(int)).clip(2)
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=durations_ms.tolist(), loop=0)
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
    rate = round(max(float(fps), 1.0), 2)
    options = {"codec": "libx264", "out_pixel_format": "yuv420p"}  # what every player plays
    return iio.imwrite("<bytes>", even, extension=".mp4", plugin="pyav", fps=rate, **options)
