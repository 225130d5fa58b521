"""What the formats of the Kinect family share: bare numbers told apart, pixels with depth made metres, orientations."""

import numpy as np
from jaxtyping import Float, Float32, Float64

from skeletonllm.skeleton.formats.common import HEAD_BYTES
from skeletonllm.skeleton.topologies import TOPOLOGIES

_V2 = TOPOLOGIES["kinect_v2_25"].joint_names
# The joint at which a bone begins has the orientation that Kinect v2 gives at the joint at which it ends.
_LEAVING = {
    "spine_base": "spine_base",
    "spine_mid": "spine_shoulder",
    "spine_shoulder": "neck",
    **{
        f"{joint}_{side}": f"{end}_{side}"
        for side in ("left", "right")
        for joint, end in {
            "shoulder": "elbow",
            "elbow": "wrist",
            "wrist": "hand",
            "hip": "knee",
            "knee": "ankle",
        }.items()
    },
}
_TURNS_OF = [_V2.index(joint) for joint in _LEAVING]
_TURNS_IN = [_V2.index(end) for end in _LEAVING.values()]
_FARTHEST_PX = 1e5  # what overflowed when the file was written


def numbers_in_line(head: bytes, delimiter: str | None = None) -> list[float]:
    """The numbers of the first line that is not blank; empty where something else is in it, or its end is not seen.

    Args:
        head: the first bytes of a file.
        delimiter: what stands between two; blanks and tabs by default.
    """
    first, ended, _ = head.lstrip().partition(b"\n")
    if not ended and len(head) >= HEAD_BYTES:
        return []
    try:
        return [float(word) for word in first.decode("ascii").rstrip().removesuffix(delimiter or "").split(delimiter)]
    except ValueError:
        return []


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


def turns_leaving(
    orientations: Float[np.ndarray, "persons frames 25 4"],
) -> Float32[np.ndarray, "persons frames 25 4"]:
    """A clip's rotations, of the bones that leave a joint, from Kinect v2's orientations, of the bones that end in one.

    A joint that no bone of known orientation leaves has the quaternion 0.
    """
    turns = np.zeros(orientations.shape, np.float32)
    turns[:, :, _TURNS_OF] = orientations[:, :, _TURNS_IN]
    return turns
