"""How fast the parts are, on this machine, now: `python -m tests.benchmarks`.

`python -m tests.benchmarks rasteriser renderer` runs some parts only. Prints a table; nothing here passes or fails.
Machines differ and are shared, so quote ratios of rows of one run.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from pipelines.teacher.kinematic import write_chain
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.reasoning.facts import measure_facts
from skeletonllm.reasoning.prompts import mqa_prompt
from skeletonllm.reasoning.verify import verify_chain
from skeletonllm.recipes import quickstart
from skeletonllm.render import build_renderer
from skeletonllm.render.config import RenderConfig
from skeletonllm.skeleton.clip import Clip
from skeletonllm.skeleton.formats import find_recordings, read
from skeletonllm.skeleton.simulate import ACTIONS, write_sample_data
from tests.benchmarks.foreground import foreground
from tests.benchmarks.ingest import formats_ingested, ingests
from tests.benchmarks.measure import Row, rate, timed
from tests.benchmarks.ranking import ranking
from tests.benchmarks.rasterize import rasterisers
from tests.benchmarks.reading import readers
from tests.benchmarks.recognize import recognitions
from tests.benchmarks.renderer import whole_renderer
from tests.benchmarks.shards import shards
from tests.benchmarks.teaching import teaching
from tests.benchmarks.training import training
from tests.benchmarks.verification import verifications


def reasoning(clips: list[Clip], runs: int) -> Iterator[Row]:
    """Facts of a clip, and the offline teacher's chain with its verdicts."""
    some = clips[:16]

    def facts() -> None:
        for clip in some:
            measure_facts(clip)

    def chains() -> None:
        for clip in some:
            verify_chain(write_chain(clip, clip.action or "wave"), clip)

    yield rate("reasoning", "facts measured", "clips/s", len(some), timed(facts, runs))
    yield rate("reasoning", "chains written and checked", "clips/s", len(some), timed(chains, runs))


def rendering(clips: list[Clip], runs: int) -> Iterator[Row]:
    """One NTU clip as the paper draws it (12 frames of 224 x 224, 265 Gaussians), and the quickstart's batch."""
    alone = next(clip for clip in clips if clip.topology.name == "kinect_v2_25" and clip.num_persons == 1)
    small = quickstart().student.render
    cases = [
        ("1 clip, 12 x 224 x 224", RenderConfig(size_px=224, num_frames=12, gaussians_per_bone=10), [alone]),
        ("16 clips, 8 x 64 x 64", small, clips[:16]),
        ("16 clips, 8 x 64 x 64, skeleton_2d", replace(small, renderer="skeleton_2d"), clips[:16]),
    ]
    for what, config, some in cases:
        renderer = build_renderer(config)
        batch = renderer.collate(some)

        def forward(renderer=renderer, batch=batch):
            with torch.no_grad():
                renderer(batch)

        def both(renderer=renderer, batch=batch):
            renderer(batch).square().mean().backward()

        yield rate(
            "render", f"{what}, collate", "clips/s", len(some), timed(lambda r=renderer, s=some: r.collate(s), runs)
        )
        yield rate("render", f"{what}, forward", "clips/s", len(some), timed(forward, runs))
        if any(True for _ in renderer.parameters()):
            yield rate("render", f"{what}, forward + backward", "clips/s", len(some), timed(both, runs))


def recognition(clips: list[Clip], runs: int) -> Iterator[Row]:
    """All candidate actions of each clip, from the skeletons on."""
    prompt = mqa_prompt(ACTIONS)
    student = SkeletonLLM.build(quickstart().student, corpus=[prompt, *ACTIONS]).eval()
    batch = student.renderer.collate(clips[:32])
    prompts = [prompt] * len(batch)
    what = f"{len(ACTIONS)} candidates, shared prefix"
    yield rate("recognise", what, "clips/s", len(batch), timed(lambda: student.rank(batch, prompts, ACTIONS), runs))


# What each part needs of the sample data and the number of runs.
_PARTS: dict[str, Callable[[list[Clip], Path, int], Iterator[Row]]] = {
    "readers": lambda clips, root, runs: readers(runs),
    "shards": lambda clips, root, runs: shards(runs),
    "formats": lambda clips, root, runs: formats_ingested(root, runs),
    "ingest": lambda clips, root, runs: ingests(),
    "reasoning": lambda clips, root, runs: reasoning(clips, runs),
    "verification": lambda clips, root, runs: verifications(runs),
    "rasteriser": lambda clips, root, runs: rasterisers(clips, runs),
    "renderer": lambda clips, root, runs: whole_renderer(clips, runs),
    "rendering": lambda clips, root, runs: rendering(clips, runs),
    "training": lambda clips, root, runs: training(clips, root, runs),
    "recognition": lambda clips, root, runs: recognition(clips, runs),
    "ranking": lambda clips, root, runs: ranking(clips, runs),
    "foreground": lambda clips, root, runs: foreground(clips, runs),
    "recognize": lambda clips, root, runs: recognitions(clips, runs),
    "teaching": lambda clips, root, runs: teaching(runs),
}


def main() -> None:
    """Run them all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="counted runs of each measurement")
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(_PARTS)}; all by default")
    asked = parser.parse_args()
    runs, parts = asked.runs, asked.parts or list(_PARTS)
    if unknown := set(parts) - set(_PARTS):
        parser.error(f"no part {sorted(unknown)[0]!r}; there are {', '.join(_PARTS)}")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_sample_data(root, num_performers=2)
        clips = [
            clip for name in ("ntu", "nwucla") for path in find_recordings(root / name)[:20] for clip in read(path)
        ]
        for name in parts:
            for row in _PARTS[name](clips, root, runs):
                rows.append(row)
                Console(stderr=True).print(f"{row.group}: {row.what}", style="dim")
    table = Table(title=f"{runs} runs each, {torch.get_num_threads()} threads", title_justify="left")
    for name in ("", "what", "median", "unit", "min to max"):
        table.add_column(name, justify="right" if name in ("median", "min to max") else "left")
    for before, row in zip([None, *rows], rows, strict=False):
        new = before is None or before.group != row.group
        if new and before is not None:
            table.add_section()
        table.add_row(
            row.group if new else "", row.what, f"{row.value:.3g}", row.unit, f"{row.low:.3g} to {row.high:.3g}"
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
