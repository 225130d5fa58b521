"""The line of JSON by which our own plain files say what they hold: topology in full, rate, space, class, captions."""

import json
from pathlib import Path
from typing import Any

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.common import brief, problem
from skeletonllm.skeleton.formats.declared import MAX_FPS, own_topology
from skeletonllm.skeleton.spaces import UNITS_M
from skeletonllm.skeleton.topologies import TOPOLOGIES

KEY = "skeletonllm"
_SOURCE = ("dataset", "subject", "camera", "setup", "repetition")


def described(clip: Clip, path: Path) -> str:
    """What our own plain files say of themselves: one line of JSON.

    Raises:
        FormatError: two joints have one name.
    """
    topology = clip.topology
    if len(set(topology.joint_names)) < topology.num_joints:
        raise problem(path, "", "two joints with one name", "each joint once", "rename one of them")
    names = topology.joint_names
    content = {
        "topology": {
            "name": topology.name,
            "joints": list(names),
            "parents": [names[parent] if parent >= 0 else "" for parent in topology.parents],
            "parts": list(topology.parts),
            "mirror": [[names[left], names[right]] for left, right in topology.mirror],
            "dims": topology.dims,
        },
        "fps": clip.fps,
        "unit": "m",
        "up": "+y",
        "action": clip.action or "",
        "captions": list(clip.captions),
        **{key: getattr(clip.source, key) for key in _SOURCE},
    }
    return json.dumps({KEY: content}, ensure_ascii=True, allow_nan=False)


def describes_itself(text: str | bytes) -> bool:
    """Whether a text is the description of one of our own files."""
    start = (text if isinstance(text, str) else text.decode(errors="replace")).lstrip("# \ufeff")
    return start.startswith(f'{{"{KEY}"')


def told_by(path: Path, where: str, text: str) -> dict[str, Any]:
    """The fields of `Motion` that a description says.

    Raises:
        FormatError: it is none.
    """
    try:
        said = json.loads(text)[KEY]
        texts = {key: said.get(key, "") for key in ("action", "unit", "up", *_SOURCE)}
        captions, fps, tree = said["captions"], said["fps"], said["topology"]
        json.dumps(said, ensure_ascii=False).encode()  # half a character can be written in JSON, but is no text
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise problem(path, where, brief(str(error)), "the description of the clip as we write it") from error
    if not all(isinstance(word, str) for word in (*texts.values(), *(captions if isinstance(captions, list) else [0]))):
        raise problem(path, where, brief(said), "texts for action, captions and so on")
    if not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps <= MAX_FPS:
        raise problem(path, where, f"fps {brief(fps)}", "frames per second")
    if not isinstance(tree, dict) or not isinstance(tree.get("name"), str) or tree.get("dims") not in (2, 3):
        raise problem(path, where, brief(tree), "a topology with name, joints, parents, parts, dims")
    if texts["unit"] not in UNITS_M or texts["up"] != "+y":
        raise problem(path, where, f"unit {brief(texts['unit'])}, up {brief(texts['up'])}", f"{', '.join(UNITS_M)}; +y")
    topology = own_topology(path, tree)
    return {
        "topology": topology if TOPOLOGIES.get(topology.name) != topology else TOPOLOGIES[topology.name],
        "fps": float(fps),
        "unit": texts["unit"],
        "up": texts["up"],
        "action": texts["action"] or None,
        "captions": tuple(captions),
        "source": Source(**{key: texts[key] for key in _SOURCE}),
    }
