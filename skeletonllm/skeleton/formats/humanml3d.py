"""HumanML3D `new_joints/ID.npy`: 22 SMPL joints, metres, 20 fps, floor at y = 0, facing +z at the start.

Captions are in `texts/ID.txt` beside the folder: `caption#tok/POS tok/POS#from#to` in each line, seconds, 0.0#0.0 for
the whole clip. Source: Guo et al. (2022).
"""

from pathlib import Path

import numpy as np

from skeletonllm.skeleton.clip import Clip, Source, mask_unseen
from skeletonllm.skeleton.formats.common import MAX_NUMBERS, Declared, Format, brief, problem
from skeletonllm.skeleton.topologies import TOPOLOGIES

FPS = 20.0
_TOPOLOGY = TOPOLOGIES["smpl_22"]
_MAGIC = b"\x93NUMPY"
_FULL_JOINTS = 52  # `joints/` has SMPL-H with fingers; its first 22 are the same


def sniff(path: Path, head: bytes) -> bool:
    """A numpy file of frames x 22 (or 52) joints x 3 floats; other arrays beside it (features, means) are not."""
    return head.startswith(_MAGIC) and any(f", {joints}, 3)".encode() in head[:256] for joints in (22, _FULL_JOINTS))


def read(path: Path, declared: Declared) -> list[Clip]:
    """The clip of one file with its captions. Never unpickles.

    Raises:
        FormatError: not a numpy file of floats `[frames, 22, 3]`, or shorter than its header says.
    """
    positions = _load(path)
    # The pelvis starts at x = z = 0, but never at y = 0: only joints at exactly zero are not seen.
    positions, confidence = mask_unseen(positions[None, :, :22].astype(np.float32))
    if not confidence.any():
        raise problem(path, "", "zeros only", "positions in metres", "leave the recording out")
    mirrored = path.stem.startswith("M")
    return [
        Clip(
            path.stem,
            _TOPOLOGY,
            np.ascontiguousarray(positions),
            confidence,
            FPS,
            captions=read_captions(path),
            source=Source(
                format="humanml3d", setup="mirrored" if mirrored else "", fps_from="format", space="m, +y up"
            ),
        )
    ]


def _load(path: Path) -> np.ndarray:
    """The array, after its header has been checked: shape, type and that the file is long enough."""
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = header(file)
        except (ValueError, EOFError, OSError) as error:
            raise problem(path, "header", brief(str(error)), "the header of a numpy file") from error
        if len(shape) != 3 or shape[1] not in (22, _FULL_JOINTS) or shape[2] != 3 or shape[0] < 1:
            raise problem(path, "header", f"shape {shape}", "(frames, 22, 3)")
        if kind.kind != "f" or kind.hasobject:
            raise problem(path, "header", f"type {kind}", "floats")
        numbers = shape[0] * shape[1] * shape[2]
        if numbers > MAX_NUMBERS or numbers * kind.itemsize != size - file.tell():
            raise problem(
                path, f"offset {file.tell()}", f"{size - file.tell()} bytes of data", f"{numbers * kind.itemsize}"
            )
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def read_captions(path: Path) -> tuple[str, ...]:
    """The captions of the whole clip from `texts/`, beside the folder of the file or in it; empty where there are none.

    Raises:
        FormatError: a line is not `caption#tokens#from#to`.
    """
    beside = [folder / "texts" / f"{path.stem}.txt" for folder in (path.parent.parent, path.parent)]
    file = next((file for file in beside if file.is_file()), None)
    if file is None:
        return ()
    captions = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        fields = line.rsplit("#", 3)
        try:
            caption, _, start, end = fields
            whole = not (float(start) or float(end))
        except ValueError:
            raise problem(file, f"line {number}", brief(line), "caption#tokens#from#to") from None
        # A caption of a part of the clip would be untrue of the whole.
        if (whole or start == "nan") and caption.strip():
            captions.append(caption.strip())
    return tuple(dict.fromkeys(captions))


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


FORMAT = Format("humanml3d", (".npy",), "HumanML3D joints (SMPL, 22 joints) with captions", sniff, read)
