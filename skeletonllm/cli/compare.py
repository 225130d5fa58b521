"""The verb that compares renderers."""

from pathlib import Path

from skeletonllm.cli.learn import quiet

_WORKDIR = Path("skeletonllm-work")
_WIDTH = 128


def compare(
    workdir: Path = _WORKDIR,
    data: Path | None = None,
    hold_out: str | None = None,
    cross_format: tuple[str, ...] | None = None,
    recipe: str | None = None,
    renderers: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0, 1, 2),
    epochs: float = 4.0,
) -> None:
    """Compare renderers: the same student behind each, trained alike with several seeds, and what each is worth.

    Prints accuracy with its interval, and how much 2.25 m/s change a Gaussian's colour at the end of training, also as a
    multiple of what the paper's released weights show; a chart lies beside the numbers. Kill it at any moment and run it
    again: what is trained is not trained again.

    Args:
        workdir: where everything is kept.
        data: a folder of recordings; by default the clips that the work folder has.
        hold_out: which clips test: `subject=25%`, `camera=3`, `subject=P001,P002`.
        cross_format: formats or data sets that are left out.
        recipe: a name of skeletonllm/recipes.py; its first stage is what is trained.
        renderers: `learned`, `frozen-start`, `frozen-random`, `learned-from-random`, `skeleton_2d`,
            `skeleton_3d_velocity`, `jtm`; all by default. The first is what the others are compared with.
        seeds: one training each.
        epochs: passes over the training clips, the same for all.
    """
    quiet()
    from rich.console import Console
    from rich.table import Table

    from flows.compare_renderers import compare_renderers
    from pipelines.compare import NOTE, cells, heads, read_results

    path = compare_renderers(
        workdir=str(workdir),
        source=None if data is None else str(data),
        recipe=recipe,
        hold_out=hold_out,
        cross_format=None if cross_format is None else list(cross_format),
        renderers=list(renderers),
        seeds=list(seeds),
        epochs=epochs,
    )
    told, results = read_results(Path(path))
    table = Table(
        title=f"held out: {told['hold_out']}, {told['clips']} clips; {told['epochs']:g} epochs; 95 % intervals",
        title_justify="left",
    )
    for number, head in enumerate(heads(results[0].name)):
        table.add_column(head, justify="left" if number == 0 else "right", no_wrap=True)
    for result in results:
        table.add_row(*cells(result))
    console = Console()
    console.width = max(console.width, _WIDTH)  # cut columns tell nobody anything
    console.print(table)
    console.print(NOTE, highlight=False)
    print(path)
    print(Path(path).with_suffix(".html"))
