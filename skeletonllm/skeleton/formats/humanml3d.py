"""HumanML3D and KIT-ML arrays: joints (`new_joints`, `joints`) or feature vectors (`new_joint_vecs`), with captions.

HumanML3D: 22 SMPL joints, metres, 20 fps, or 263 features; KIT-ML: 21 joints, millimetres, 12.5 fps, or 251 features.
The floor is at y = 0, people start at x = z = 0 and face +z. Captions are in `texts/ID.txt` beside the folder:
`caption#tok/POS tok/POS#from#to` in each line, seconds, 0.0#0.0 for the whole clip. Source: Guo et al. (2022).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source
from skeletonllm.skeleton.formats.arrays import fits, header_of, load_array
from skeletonllm.skeleton.formats.common import Declared, Format, brief, build_clip, problem, read_text
from skeletonllm.skeleton.formats.humanml3d_vectors import recover_joints
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.skeleton.topology import Topology

FPS = 20.0
_TOPOLOGY = TOPOLOGIES["smpl_22"]
# `joints` has SMPL-H with fingers; its first 22 are the same.
_SHAPES = ((None, 22, 3), (None, 52, 3), (None, 263), (None, 251), (None, 21, 3))
# Folders of one data set that hold the same movement; the first that has it is read.
_FOLDERS = ("new_joints", "new_joint_vecs", "joints")
_WHOLE = (0.0, 0.0)


@dataclass(frozen=True)
class _Layout:
    topology: Topology
    fps: float
    unit_m: float
    space: str


_LAYOUTS = {
    22: _Layout(_TOPOLOGY, FPS, 1.0, "m, +y up"),
    # Not checked on data: none was at hand.
    21: _Layout(TOPOLOGIES["kit_21"], 12.5, 0.001, "mm, +y up"),
}


def sniff(path: Path, head: bytes) -> bool:
    """A numpy file of floats: frames x 22 or 52 joints x 3, frames x 263 or 251 features; means beside it are not.

    21 joints are also those of a hand: they must lie in a folder of the data set.
    """
    found = header_of(head)
    if found is None or found[1].kind != "f" or not fits(found[0], *_SHAPES):
        return False
    return found[0][1] != 21 or path.parent.name in _FOLDERS


def twins(path: Path) -> Sequence[Path]:
    """Files of the same movement that are read in place of this one, where they are there."""
    if path.parent.name not in _FOLDERS:
        return ()
    return [path.parent.parent / folder / path.name for folder in _FOLDERS[: _FOLDERS.index(path.parent.name)]]


def read(path: Path, declared: Declared) -> list[Clip]:
    """The whole clip with the captions of the whole, then one clip for each window that has captions of its own.

    The whole clip is there even if all captions are of windows: then it has none. A window's id is `ID@from-to`.

    Raises:
        FormatError: the array has no known shape, is shorter than its header says, or a caption's line is damaged.
    """
    array = load_array(path, *_SHAPES, kinds="f")
    with np.errstate(invalid="ignore"):  # a NaN of damaged bytes may be a signalling one
        positions = recover_joints(path, array) if array.ndim == 2 else array[:, :22]
        layout = _LAYOUTS[positions.shape[1]]
        positions = positions.astype(np.float64) * layout.unit_m
        if layout.topology is not _TOPOLOGY:
            positions = _named_sides(positions, layout.topology)
    captions = _captions(path)
    windows = {_WHOLE: captions.get(_WHOLE, ()), **captions}
    return [_clip(path, layout, positions, window, texts) for window, texts in windows.items()]


def _clip(
    path: Path, layout: _Layout, positions: np.ndarray, window: tuple[float, float], captions: Sequence[str]
) -> Clip:
    clip_id = path.stem
    if window != _WHOLE:
        clip_id += f"@{window[0]}-{window[1]}"
        # 1.15 s x 20 fps is 22.999...: still frame 23.
        first, end = (int(time_s * layout.fps + 1e-6) for time_s in window)
        positions = positions[first:end]
    if not len(positions):
        raise problem(path, f"window {clip_id}", "no frame", "a window in the clip", f"correct it in {_text_of(path)}")
    # The pelvis starts at x = z = 0, but never at y = 0: only joints at exactly zero are not seen.
    return build_clip(
        path,
        clip_id,
        layout.topology,
        positions[None],
        fps=layout.fps,
        captions=captions,
        source=Source(
            format="humanml3d",
            setup="mirrored" if path.stem.startswith("M") else "",
            fps_from="format",
            space=layout.space,
        ),
        where=f"window {clip_id}" if window != _WHOLE else "",
    )


def _named_sides(positions: np.ndarray, topology: Topology) -> np.ndarray:
    """KIT-ML's joints such that those named left are the left ones of people whose toes point ahead.

    The data set's own scripts turn people to the front by taking the joints that the MMM model names left for the
    right ones, as after a swap of y and z, which mirrors. Toes decide; a mirrored body is mirrored back.
    """
    joint = topology.joint_names.index
    finite = np.clip(np.nan_to_num(positions), -1e6, 1e6)
    across = finite[:, joint("left_hip")] - finite[:, joint("right_hip")]
    toes = sum(finite[:, joint(f"{side}_toe")] - finite[:, joint(f"{side}_ankle")] for side in ("left", "right"))
    ahead = (np.cross(across, (0.0, 1.0, 0.0)) * toes).sum()
    return positions * (-1, 1, 1) if ahead < 0 else positions


def _text_of(path: Path) -> Path | None:
    """The file of captions: in `texts/`, beside the folder of the recording or in it."""
    beside = (folder / "texts" / f"{path.stem}.txt" for folder in (path.parent.parent, path.parent))
    return next((file for file in beside if file.is_file()), None)


def _texts(path: Path) -> Sequence[Path]:
    file = _text_of(path)
    return () if file is None else (file,)


def read_captions(path: Path) -> tuple[str, ...]:
    """The captions of the whole clip; empty where there are none.

    Raises:
        FormatError: a line is not `caption#tokens#from#to`.
    """
    return _captions(path).get(_WHOLE, ())


def _captions(path: Path) -> dict[tuple[float, float], tuple[str, ...]]:
    """The captions by their window in seconds, (0, 0) for the whole clip."""
    file = _text_of(path)
    if file is None or not file.stat().st_size:
        return {}
    captions: dict[tuple[float, float], list[str]] = {}
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            caption, _, *window = line.rsplit("#", 3)
            start, end = (0.0 if math.isnan(time_s := float(word)) else time_s for word in window)
        except ValueError:
            raise problem(file, f"line {number}", brief(line), "caption#tokens#from#to") from None
        if (start, end) != _WHOLE and not 0 <= start < end < math.inf:
            raise problem(file, f"line {number}", f"from {start} to {end}", "0 <= from < to, seconds")
        if caption.strip():
            captions.setdefault((start, end), []).append(caption.strip())
    return {window: tuple(dict.fromkeys(texts)) for window, texts in captions.items()}


def write(clip: Clip, path: Path) -> None:
    """The first person of a clip as the data set has it: on the floor, from the origin, and captions in `texts/`.

    The heading is kept: a performance that faces +z at its start keeps facing +z. `path` lies in `new_joints`.

    Raises:
        FormatError: the topology is another one.
    """
    if clip.topology is not _TOPOLOGY:
        raise problem(path, "", f"topology {clip.topology.name}", _TOPOLOGY.name, "convert the clip first")
    positions = clip.positions[0].copy()
    positions[..., 1] -= positions[..., 1].min()
    positions[..., (0, 2)] -= positions[0, 0, (0, 2)]
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(positions, np.float32), version=(1, 0), allow_pickle=False)


def caption_lines(captions: tuple[str, ...], parts_of_speech: dict[str, str]) -> str:
    """The text of `texts/ID.txt`: each caption, its words with their part of speech (NOUN by default), 0.0#0.0."""
    lines = []
    for caption in captions:
        tokens = " ".join(f"{word}/{parts_of_speech.get(word, 'NOUN')}" for word in caption.replace(",", "").split())
        lines.append(f"{caption}#{tokens}#0.0#0.0\n")
    return "".join(lines)


FORMAT = Format(
    "humanml3d",
    (".npy",),
    "HumanML3D and KIT-ML joints or feature vectors, with captions",
    sniff,
    read,
    beside=_texts,
    twins=twins,
    origin="Guo et al. (2022), scripts MIT; from AMASS, whose licence holds: research only, no redistribution",
)
