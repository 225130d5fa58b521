"""The verb `convert`: a clip in another format or with the joints of another topology, and what is lost."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from rich.table import Table

    from skeletonllm.skeleton.clip import Clip
    from skeletonllm.skeleton.convert import Losses

_READING = Reading()
_PX_PER_M = 300.0  # a person fills half of the image that pyskl's files are about


def convert(
    recording: Annotated[Path, tyro.conf.Positional],
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    to: str | None = None,
    index: int = 0,
    overwrite: bool = False,
    reading: ReadingArgument = _READING,
) -> None:
    """Write a clip in another format, with the joints of another topology, and print what is lost.

    Args:
        recording: a recording in any known format.
        output: .bvh, .csv, .npy, .npz, .parquet, .skeleton (NTU), .json (NW-UCLA) or .pkl (pyskl).
        to: topology of the output, a name or a .toml file with joints and parents; by default that of the recording,
            or the one that the format has.
        index: which clip of a recording that holds several.
        overwrite: replace the output if it is there.
        reading: what the recording does not say itself.
    """
    from rich.console import Console

    from skeletonllm.errors import ConfigError
    from skeletonllm.skeleton.convert import convert as to_topology
    from skeletonllm.skeleton.formats import read
    from skeletonllm.skeleton.formats.declared import topology_named

    write, must_be = _writer(output)
    if output.exists() and not overwrite:
        raise ConfigError(f"{output}: is there already; give another name, or --overwrite")
    if to is not None and must_be is not None and to != must_be:
        raise ConfigError(f"{output}: files of this format have topology {must_be}, not {to}; leave --to out")
    named = to or must_be
    target = None if named is None else topology_named(named)
    clips = read(recording, reading.format, reading.declared())
    if not 0 <= index < len(clips):
        raise ConfigError(f"--index is {index}, but {recording} holds clips 0 to {len(clips) - 1}")
    clip, losses = clips[index], None
    if target is not None:
        clip, losses = to_topology(clip, target)
    _write_whole(write, clip, output)
    console = Console()
    console.print(
        f"{output}: {clip.clip_id}, {clip.topology.name}, {clip.num_persons} person(s), {clip.num_frames} frames at "
        f"{clip.fps:g} fps",
        highlight=False,
        soft_wrap=True,
    )
    if losses is not None and not losses.is_lossless:
        kept = sum(made.how == "kept" for made in losses.joints)
        said = f"{clips[index].topology.name} to {clip.topology.name}: {kept} of {len(losses.joints)} joints kept"
        console.print(said, highlight=False, soft_wrap=True)
        console.print(_table(losses))
    for loss in _lost_by_format(clip, output.suffix.lower()):
        console.print(f"not in the file: {loss}", highlight=False, soft_wrap=True)


def _writer(output: Path) -> tuple[Callable[["Clip", Path], None], str | None]:
    """What writes the format, and the topology that its files must have."""
    from skeletonllm.errors import ConfigError
    from skeletonllm.skeleton.formats import bvh, ntu, nwucla, plain_csv, plain_numpy, plain_parquet

    writers: dict[str, tuple[Callable[[Clip, Path], None], str | None]] = {
        ".bvh": (bvh.write, None),
        ".csv": (plain_csv.write, None),
        ".npy": (plain_numpy.write_npy, None),
        ".npz": (plain_numpy.write, None),
        ".parquet": (plain_parquet.write, None),
        ".skeleton": (ntu.write, "kinect_v2_25"),
        ".json": (nwucla.write, "kinect_v1_20"),
        ".pkl": (_write_pyskl, "coco_17"),
    }
    if output.suffix.lower() not in writers:
        raise ConfigError(f"{output}: cannot write {output.suffix!r}; use {', '.join(writers)}")
    return writers[output.suffix.lower()]


def _write_pyskl(clip: "Clip", path: Path) -> None:
    """One clip as seen along the z axis."""
    from dataclasses import replace

    from skeletonllm.skeleton.formats import pyskl
    from skeletonllm.skeleton.topologies import TOPOLOGIES

    flat = replace(
        clip, topology=TOPOLOGIES["coco_17"], positions=clip.positions * clip.positions.dtype.type([1, 1, 0])
    )
    pyskl.write([flat], path, [0], px_per_m=_PX_PER_M)


def _write_whole(write: Callable[["Clip", Path], None], clip: "Clip", output: Path) -> None:
    """The file appears whole or not at all."""
    import tempfile

    from skeletonllm.plain import write_whole

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / output.name
        write(clip, draft)
        write_whole(output, draft.read_bytes())


def _table(losses: "Losses") -> "Table":
    """The joints that are not kept as they are, and those of the source that are gone."""
    from rich.table import Table

    table = Table()
    table.add_column("joint")
    table.add_column("in the output")
    table.add_column("made of")
    for made in losses.joints:
        if made.how != "kept":
            table.add_row(made.joint, made.how, ", ".join(made.source))
    for name in losses.blurred:
        table.add_row(name, "only in others", "")
    for name in losses.lost:
        table.add_row(name, "lost", "")
    if losses.rotations:
        table.add_row("all", "rotations lost", "")
    return table


def _lost_by_format(clip: "Clip", suffix: str) -> list[str]:
    """What the clip has and the format has no place for."""
    holds_all = (".csv", ".npz", ".parquet")
    if suffix in holds_all:
        return []
    lost = []
    if suffix in (".bvh", ".json") and clip.num_persons > 1:
        lost.append(f"{clip.num_persons - 1} of {clip.num_persons} persons; only the first is written")
    if suffix in (".bvh", ".json") and (clip.confidence < 1).any():
        unseen = (clip.confidence <= 0).mean()
        filled = f"; {unseen:.0%} of the joints were not seen" + (" and are filled in" * (suffix == ".bvh"))
        lost.append("confidence" + filled * bool(unseen))
    if suffix == ".skeleton" and not set(clip.confidence.ravel().tolist()) <= {0.0, 0.5, 1.0}:
        lost.append("confidence between 0, 0.5 and 1")
    if suffix == ".npy":
        lost.append(
            f"joint names and frame rate; read it with --topology {clip.topology.name} --fps {clip.fps:g} --unit m"
        )
    usual = {".skeleton": 30.0, ".json": 30.0, ".pkl": 30.0}.get(suffix)
    if usual is not None and clip.fps != usual:
        lost.append(f"the frame rate of {clip.fps:g}; read it with --fps {clip.fps:g}")
    if suffix == ".pkl" and clip.positions[..., 2].any():
        lost.append("depth (z); joints are as seen along the z axis")
    if suffix != ".bvh" and clip.rotations is not None:
        lost.append("rotations")
    if clip.action is not None:
        lost.append(f"the action ({clip.action}); write it into labels.csv")
    return lost
