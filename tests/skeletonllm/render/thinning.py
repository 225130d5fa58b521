"""The same body with fewer and fewer joints: 25, 20, 17 and 13, for tests and figures of what a sparse format loses."""

from dataclasses import replace

import numpy as np

from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

FULL = TOPOLOGIES["kinect_v2_25"]
LEVELS = (25, 20, 17, 13)
_TIPS = tuple(f"{tip}_{side}" for tip in ("hand_tip", "thumb") for side in ("left", "right"))
# Which joints are left out at each step; the bones close up over them.
_LEFT_OUT = {25: (), 20: ("spine_shoulder", *_TIPS), 17: ("spine_mid", "foot_left", "foot_right")}
# The last step draws joints together: joint<parent, and what it is the middle of.
_COARSE = {
    "spine_base<-": ("spine_base", "hip_left", "hip_right"),
    "spine_mid<spine_base": ("spine_mid", "spine_shoulder", "neck"),
    "head<spine_mid": ("head",),
    **{
        bone: joints
        for side in ("left", "right")
        for bone, joints in {
            f"shoulder_{side}<spine_mid": (f"shoulder_{side}",),
            f"elbow_{side}<shoulder_{side}": (f"elbow_{side}",),
            f"hand_{side}<elbow_{side}": tuple(f"{joint}_{side}" for joint in ("wrist", "hand", "hand_tip", "thumb")),
            f"knee_{side}<spine_base": (f"knee_{side}",),
            f"foot_{side}<knee_{side}": (f"ankle_{side}", f"foot_{side}"),
        }.items()
    },
}


def thinned(clip: Clip, num_joints: int) -> Clip:
    """A Kinect v2 clip with `num_joints` of `LEVELS`."""
    tree = _coarse() if num_joints == 13 else _without(num_joints)
    names = tuple(tree)
    parents = tuple(names.index(parent) if parent else -1 for parent, _ in tree.values())
    topology = Topology.from_names(f"thinned_{num_joints}", names, parents)
    positions = np.stack([clip.positions[:, :, joints].mean(2) for _, joints in tree.values()], 2)
    confidence = np.stack([clip.confidence[:, :, joints].min(2) for _, joints in tree.values()], 2)
    return replace(clip, topology=topology, positions=positions, confidence=confidence, rotations=None)


def _coarse() -> dict[str, tuple[str, list[int]]]:
    return {
        bone.split("<")[0]: (bone.split("<")[1].strip("-"), [FULL.joint_names.index(joint) for joint in joints])
        for bone, joints in _COARSE.items()
    }


def _without(num_joints: int) -> dict[str, tuple[str, list[int]]]:
    gone = {joint for level, joints in _LEFT_OUT.items() if level >= num_joints for joint in joints}
    tree = {}
    for joint, name in enumerate(FULL.joint_names):
        if name not in gone:
            parent = FULL.parents[joint]
            while parent != -1 and FULL.joint_names[parent] in gone:
                parent = FULL.parents[parent]
            tree[name] = ("" if parent == -1 else FULL.joint_names[parent], [joint])
    return tree
