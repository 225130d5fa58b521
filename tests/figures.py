"""Pictures for people: `python -m tests.figures --data FOLDER --student CHECKPOINT --out FOLDER`.

Writes a contact sheet with one row per format of real recordings (where there are any), a body with fewer and fewer joints,
and a kick, a wave and a push by every renderer, before training and as a student learned it.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from skeletonllm.errors import SkeletonLLMError
from skeletonllm.model.student import SkeletonLLM, with_renderer
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.render.picture import to_bytes
from skeletonllm.render.prepare import prepare
from skeletonllm.render.renderer import Renderer
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.convert import convert
from skeletonllm.skeleton.formats import Declared, find_recordings
from skeletonllm.skeleton.kinematics import rotate_y
from skeletonllm.skeleton.performers import perform
from skeletonllm.skeleton.topologies import TOPOLOGIES
from skeletonllm.survey.sheet import pick
from tests.skeletonllm.render.thinning import LEVELS, thinned

DATA = Path(__file__).parents[2] / "shared" / "data"
_FRAMES = 8
_FRAME_PX = 176
_LABEL_PX = 330
_PAPER, _INK, _SOFT, _LINE = (255, 255, 255), (27, 31, 36), (100, 109, 118), (70, 70, 76)
_ASIDES = {"jtm": ("paths: front, side, above",), "paper": ("mirrored, as a Kinect sees",)}
# What some formats leave to the user.
_RATES = Declared(fps=30.0)


@dataclass(frozen=True)
class Row:
    """A strip of frames and what stands beside it: a title and lines below it."""

    title: str
    lines: tuple[str, ...]
    frames: torch.Tensor


def main() -> None:
    """Draw everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures"), help="folder for the pictures")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with a folder per data set")
    parser.add_argument("--paper-weights", default="", help="safetensors of the paper's renderer, to draw it too")
    parser.add_argument("--student", type=Path, help="a checkpoint, to draw with what it learned too")
    parser.add_argument("--backend", default="cpu")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    config = RenderConfig(num_frames=_FRAMES, size_px=_FRAME_PX, backend=arguments.backend)
    if arguments.data.is_dir():
        save(formats(arguments.data, _built(config)), arguments.out / "formats.png")
    else:
        print(f"{arguments.data}: no recordings, so no contact sheet of formats")
    save(thinning(_built(config)), arguments.out / "thinning.png")
    renderers = _renderers(config, arguments.paper_weights, arguments.student)
    for action in ("kick", "wave", "push"):
        save(side_by_side(action, renderers), arguments.out / f"{action}.png")


def formats(data: Path, renderer: Renderer) -> list[Row]:
    """One row for each format and topology below a folder."""
    rows: dict[tuple[str, str, str], Clip] = {}
    for folder in sorted(path for path in data.iterdir() if path.is_dir() and find_recordings(path)):
        try:
            clips, _ = pick(folder, per_folder=6, declared=_RATES)
        except SkeletonLLMError as error:
            print(f"left out: {error}")
            continue
        # Of each format and topology the clip in which somebody is seen for the longest share of the time.
        for clip in sorted(clips, key=lambda clip: -float((clip.confidence > 0).any((0, 2)).mean())):
            rows.setdefault((folder.name, clip.source.format, clip.topology.name), clip)
    labels = _manifest_labels(data)
    return [_row_of(folder, clip, labels, renderer) for (folder, _, _), clip in rows.items()]


def _manifest_labels(data: Path) -> dict[tuple[str, str], str]:
    """What the folder's own list says of recordings whose formats have no labels, by data set and file name."""
    manifest = data / "MANIFEST.json"
    entries = json.loads(manifest.read_text()) if manifest.is_file() else []
    return {(entry["dataset"], Path(entry["file"]).stem): entry["label"] for entry in entries if entry.get("label")}


def thinning(renderer: Renderer) -> list[Row]:
    """A kick with 25, 20, 17 and 13 joints."""
    clip, _ = convert(perform("kick", 0, 0, 0), TOPOLOGIES["kinect_v2_25"])
    return [
        Row(f"{level} joints", ("kick, same movement", "same weights"), draw(thinned(clip, level), renderer))
        for level in LEVELS
    ]


def side_by_side(action: str, renderers: dict[str, Renderer]) -> list[Row]:
    """One movement by every renderer."""
    clip = replace(perform(action, 0, 0, 0), rotations=None)
    return [
        Row(
            action,
            (f"by {name}", *_ASIDES.get(name, ())),
            draw(_before_a_sensor(clip) if name == "paper" else clip, renderer),
        )
        for name, renderer in renderers.items()
    ]


def _before_a_sensor(clip: Clip) -> Clip:
    """NTU's joints, 3 m from a Kinect: what the paper's renderer needs."""
    body, _ = convert(clip, TOPOLOGIES["kinect_v2_25"])
    positions = rotate_y(prepare(body).positions, np.pi) + np.array((0, 0, 3), np.float32)
    return replace(body, positions=positions.astype(np.float32))


def draw(clip: Clip, renderer: Renderer) -> torch.Tensor:
    """Frames of a clip."""
    with torch.no_grad():
        return renderer(renderer.collate([clip]))[0]


def save(rows: Sequence[Row], path: Path) -> None:
    """Write rows of labelled frames as one PNG."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = rows[0].frames.shape[-2:]
    columns = max(len(row.frames) for row in rows)
    image = Image.new("RGB", (_LABEL_PX + columns * (width + 2), len(rows) * (height + 2)), _PAPER)
    pen = ImageDraw.Draw(image)
    large, small = ImageFont.load_default(20), ImageFont.load_default(15)
    for number, row in enumerate(rows):
        top = number * (height + 2)
        pen.rectangle([_LABEL_PX, top, image.width, top + height + 2], fill=_LINE)
        pen.text((12, top + 16), row.title[:30], font=large, fill=_INK)
        for place, line in enumerate(row.lines):
            pen.text((12, top + 48 + 22 * place), line[:44], font=small, fill=_SOFT)
        for place, pixels in enumerate(to_bytes(row.frames)):
            image.paste(Image.fromarray(np.ascontiguousarray(pixels)), (_LABEL_PX + place * (width + 2), top + 1))
    image.save(path, optimize=True)
    print(f"{path}: {len(rows)} rows")


def _row_of(folder: str, clip: Clip, labels: dict[tuple[str, str], str], renderer: Renderer) -> Row:
    known = labels.get((folder, Path(clip.source.file).stem), "")
    said = clip.action or (clip.captions[0] if clip.captions else known or "no label")
    persons = "" if clip.num_persons == 1 else f", {clip.num_persons} persons"
    lines = (
        f"{clip.source.format} in {folder}",
        f"{clip.topology.name}, {clip.topology.num_joints} joints, {clip.topology.dims}D{persons}",
        f"{clip.num_frames} frames, {clip.duration_s:.1f} s",
    )
    return Row(said, lines, draw(clip, renderer))


def _renderers(config: RenderConfig, paper_weights: str, student: Path | None) -> dict[str, Renderer]:
    """Every renderer that this version has, by name, and the student's."""
    names = ["draction", "skeleton_2d", "skeleton_3d_velocity", "jtm", *(["paper"] if paper_weights else [])]
    made: dict[str, Renderer] = {}
    if student is not None:
        learned = SkeletonLLM.from_pretrained(student)
        made["draction, learned"] = with_renderer(learned, size_px=config.size_px, num_frames=config.num_frames).eval()
    for name in names:
        weights = paper_weights if name == "paper" else ""
        made[name] = _built(replace(config, renderer=name, paper_weights=weights))  # pyright: ignore
    return made


def _built(config: RenderConfig) -> Renderer:
    torch.manual_seed(0)
    return build_renderer(config).eval()


if __name__ == "__main__":
    main()
