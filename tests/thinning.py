"""The same body with fewer joints: what is left out is bridged."""

from dataclasses import replace

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topology import Topology

# Left out of NTU's 25: tips of hands and thumbs and the spine between the shoulders; then also the middle of the spine,
# and the feet; then also the hips and the hands.
_LEFT_OUT = {
    25: (),
    20: ("hand_tip_left", "thumb_left", "hand_tip_right", "thumb_right", "spine_shoulder"),
    17: ("spine_mid", "foot_left", "foot_right"),
    13: ("hip_left", "hip_right", "hand_left", "hand_right"),
}


def thinned(clip: Clip, num_joints: int) -> Clip:
    """A clip of kinect_v2_25 with 25, 20, 17 or 13 joints; children of a joint that is left out hang on its parent."""
    old = clip.topology
    gone = {name for count, names in _LEFT_OUT.items() if count >= num_joints for name in names}
    kept = [joint for joint, name in enumerate(old.joint_names) if name not in gone]

    def parent(joint: int) -> int:
        above = old.parents[joint]
        while above != -1 and above not in kept:
            above = old.parents[above]
        return above

    number = {joint: place for place, joint in enumerate(kept)} | {-1: -1}
    mirror = tuple((number[a], number[b]) for a, b in old.mirror if a in number and b in number)
    topology = replace(
        old,
        name=f"{old.name}_thinned_{num_joints}",
        joint_names=tuple(old.joint_names[joint] for joint in kept),
        parents=tuple(number[parent(joint)] for joint in kept),
        parts=tuple(old.parts[joint] for joint in kept),
        mirror=mirror,
    )
    assert isinstance(topology, Topology)
    return replace(
        clip,
        topology=topology,
        positions=np.ascontiguousarray(clip.positions[:, :, kept]),
        confidence=np.ascontiguousarray(clip.confidence[:, :, kept]),
        rotations=None,
    )
