"""How sensors see a performance of the simulated figure: their joints, their frame, their noise and what they miss."""

from dataclasses import dataclass, replace

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.figure import FIGURE, JOINT
from skeletonllm.skeleton.kinematics import rotate_y
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

IMAGE_PX = (1080, 1920)  # height, width
_FOCAL_PX = 1050.0

# A joint of a sensor that the figure has under another name, or between two of its own.
_ALIASES = {
    "spine_base": ("pelvis",),
    "spine_mid": ("spine2",),
    "spine_shoulder": ("spine3", "neck"),
    "hip_center": ("pelvis",),
    "spine": ("spine1", "spine2"),
    "shoulder_center": ("spine3", "neck"),
}
_MOCAP_NAMES = {
    "pelvis": "Hips",
    "spine1": "Spine",
    "spine2": "Spine1",
    "spine3": "Spine2",
    "neck": "Neck",
    "head": "Head",
    **{
        f"{joint}_{side}": f"{side.capitalize()}{name}"
        for side in ("left", "right")
        for joint, name in {
            "collar": "Shoulder",
            "shoulder": "Arm",
            "elbow": "ForeArm",
            "wrist": "Hand",
            "hip": "UpLeg",
            "knee": "Leg",
            "ankle": "Foot",
            "foot": "ToeBase",
        }.items()
    },
}


@dataclass(frozen=True)
class View:
    """Where a camera stands: the first person faces `yaw` radians away from it (positive: to their left)."""

    yaw: float = 0.0
    distance_m: float = 3.2
    height_m: float = 1.2
    shift_m: float = 0.0


def _figure_joints(name: str) -> tuple[int, ...]:
    """The joints of the figure whose middle is a sensor's joint: `left_wrist` and `wrist_left` are one."""
    if name in _ALIASES:
        return tuple(JOINT[alias] for alias in _ALIASES[name])
    for side in ("left", "right"):
        if name.startswith(f"{side}_"):
            return (JOINT[f"{name.removeprefix(side + '_')}_{side}"],)
    return (JOINT[name],)


def convert(clip: Clip, topology: Topology) -> Clip:
    """The figure's clip with the joints of another topology (from the registry), in the same space."""
    positions = np.stack(
        [clip.positions[:, :, list(_figure_joints(name))].mean(2) for name in topology.joint_names], axis=2
    )
    confidence = np.ones(positions.shape[:3], np.float32)
    return replace(
        clip, topology=topology, positions=positions.astype(np.float32), confidence=confidence, rotations=None
    )


def as_mocap(clip: Clip) -> Clip:
    """The first person with the names and rotations of a motion capture skeleton (22 joints)."""
    kept = [JOINT[name] for name in _MOCAP_NAMES]
    parents = tuple(kept.index(FIGURE.parents[joint]) if FIGURE.parents[joint] != -1 else -1 for joint in kept)
    topology = Topology.from_names("mocap_22", tuple(_MOCAP_NAMES.values()), parents)
    assert clip.rotations is not None
    return replace(
        clip,
        topology=topology,
        positions=clip.positions[:1, :, kept],
        confidence=clip.confidence[:1, :, kept],
        rotations=clip.rotations[:1, :, kept],
    )


def before_camera(clip: Clip, view: View) -> Clip:
    """The clip in the frame of a Kinect: right-handed, +x to the camera's left, +y up, +z away from it."""
    middle = clip.positions[:, 0, 0].mean(0) * (1, 0, 1)
    turned = rotate_y(clip.positions - middle.astype(np.float32), view.yaw + np.pi)
    moved = turned + np.array((view.shift_m, -view.height_m, view.distance_m), np.float32)
    return replace(clip, positions=moved.astype(np.float32))


def with_noise(clip: Clip, rng: np.random.Generator, size_m: float = 0.006) -> Clip:
    """Jitter of each joint: half of it from frame to frame, half slow; more at hands and feet."""
    slow = rng.normal(size=(clip.num_persons, clip.num_frames // 8 + 2, clip.topology.num_joints, 3))
    at = np.arange(clip.num_frames) / 8
    low = at.astype(int)
    blend = (at - low)[None, :, None, None]
    drift = slow[:, low] * (1 - blend) + slow[:, low + 1] * blend
    fast = rng.normal(size=clip.positions.shape)
    far = np.array([1.8 if part in ("hand", "wrist", "foot", "ankle") else 1.0 for part in clip.topology.parts])
    noise = size_m * far[:, None] * (0.7 * drift + 0.7 * fast)
    return replace(clip, positions=(clip.positions + noise).astype(np.float32))


def with_losses(
    clip: Clip, rng: np.random.Generator, unsure: float = 0.4, unseen: float = 0.15, lost: float = 0.06
) -> Clip:
    """What a sensor does not see: an arm or leg that it guesses, a joint that is gone, a body that is lost for a while.

    Args:
        clip: positions in the sensor's frame.
        rng: of what is missed.
        unsure: share of clips with a limb of confidence 0.5 and large noise for a part of the time.
        unseen: share of clips with a joint that is not seen for a part of the time.
        lost: share of clips in which one body is not seen at all for a few frames.
    """
    positions, confidence = clip.positions.copy(), clip.confidence.copy()
    person = int(rng.integers(clip.num_persons))
    if rng.random() < unsure:
        limb = [j for j in _limb(clip.topology, rng) if j >= 0]
        start, end = _span(clip.num_frames, rng, 0.15, 0.5)
        guess = rng.normal(scale=0.025, size=(1, len(limb), 3)) + rng.normal(
            scale=0.01, size=(end - start, len(limb), 3)
        )
        positions[person, start:end, limb] += guess.transpose(1, 0, 2)
        confidence[person, start:end, limb] = 0.5
    if rng.random() < unseen:
        joint = int(rng.choice([j for j, part in enumerate(clip.topology.parts) if part in ("hand", "wrist", "foot")]))
        start, end = _span(clip.num_frames, rng, 0.1, 0.4)
        confidence[person, start:end, joint] = 0
    if rng.random() < lost:
        start, end = _span(clip.num_frames, rng, 0.08, 0.2)
        confidence[person, start:end] = 0
    positions[confidence <= 0] = 0
    return replace(clip, positions=positions, confidence=confidence)


def _limb(topology: Topology, rng: np.random.Generator) -> list[int]:
    side = str(rng.choice(["left", "right"]))
    parts = ("wrist", "hand") if rng.random() < 0.6 else ("ankle", "foot")
    return [j for j in range(topology.num_joints) if topology.sides[j] == side and topology.parts[j] in parts]


def _span(num_frames: int, rng: np.random.Generator, low: float, high: float) -> tuple[int, int]:
    length = max(1, int(num_frames * rng.uniform(low, high)))
    start = int(rng.integers(1, max(2, num_frames - length)))
    return start, min(start + length, num_frames)


def photograph(clip: Clip, view: View) -> Clip:
    """The figure's clip as a camera's image: COCO joints in pixels, x right from the middle, y up from the bottom."""
    seen = before_camera(convert(clip, TOPOLOGIES["coco_17"]), view)
    x, y, z = np.moveaxis(seen.positions.astype(np.float64), -1, 0)
    height, _ = IMAGE_PX
    # The frame's +x is the camera's left, the image's is its right.
    pixels = np.stack((-_FOCAL_PX * x / z, height / 2 + _FOCAL_PX * y / z, np.zeros_like(x)), axis=-1)
    return replace(seen, positions=pixels.astype(np.float32))


def with_scores(clip: Clip, rng: np.random.Generator) -> Clip:
    """Confidences as a pose estimator gives them: high with some scatter, never quite 1, low where they were low."""
    scatter = rng.beta(12, 2, clip.confidence.shape).astype(np.float32)
    return replace(clip, confidence=(clip.confidence * scatter).astype(np.float32))
