"""What the text formats of the Kinect family share: bare numbers told apart, and pixels with depth made metres."""

import numpy as np
from jaxtyping import Float, Float64

from skeletonllm.skeleton.formats.common import HEAD_BYTES

_LOOKED_AT = 3
_FARTHEST_PX = 1e5  # what overflowed when the file was written


def numbers_in_line(head: bytes, delimiter: str | None = None) -> list[float]:
    """The numbers of the first line; empty unless the first lines hold nothing else and equally many.

    Args:
        head: the first bytes of a file.
        delimiter: what stands between two; blanks and tabs by default.
    """
    try:
        lines = head.decode("ascii").splitlines()
    except UnicodeDecodeError:
        return []
    whole = lines[:-1] if len(head) >= HEAD_BYTES else lines
    words = [line.rstrip().removesuffix(delimiter or "").split(delimiter) for line in whole[:_LOOKED_AT]]
    if len({len(row) for row in words}) != 1:
        return []
    try:
        rows = [[float(word) for word in row] for row in words]
    except ValueError:
        return []
    return rows[0]


def unproject(
    image: Float[np.ndarray, "frames joints 3"], focal_px: float, center_px: tuple[float, float], depth_m: float
) -> Float64[np.ndarray, "frames joints 3"]:
    """Pixels (right, down) and depth as metres in the camera's frame: x as in the image, +y up, z away.

    A pixel far outside of any image is not seen (NaN).

    Args:
        image: u, v, depth.
        focal_px: of a pinhole camera without distortion.
        center_px: where the axis meets the image.
        depth_m: metres of one unit of depth.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        ahead = image[..., 2] * depth_m
        right = (image[..., 0] - center_px[0]) * ahead / focal_px
        up = (center_px[1] - image[..., 1]) * ahead / focal_px
        places = np.stack((right, up, ahead), axis=-1)
        return np.where((np.abs(image[..., :2]) < _FARTHEST_PX).all(-1, keepdims=True), places, np.nan)
