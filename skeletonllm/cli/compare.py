"""The verb that compares renderers."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skeletonllm.cli.learn import quiet

if TYPE_CHECKING:
    from rich.table import Table

_WORKDIR = Path("skeletonllm-work")
_WIDTH = 100


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

    Prints accuracy with its interval, and how much 2.25 m/s change a Gaussian's colour at the end of training. Kill it at
    any moment and run it again: what is trained is not trained again.

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
    import json

    from rich.console import Console

    from flows.compare_renderers import compare_renderers

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
    console = Console()
    console.width = max(console.width, _WIDTH)  # cut columns tell nobody anything
    console.print(_table(json.loads(Path(path).read_text())))
    print(path)


def _table(plain: dict[str, Any]) -> "Table":
    from rich.table import Table

    results = plain["results"]
    seeds = len(results[0]["mean"]["each"])
    table = Table(
        title=f"held out: {plain['hold_out']}; {plain['epochs']:g} epochs; {seeds} seeds; 95 % intervals",
        title_justify="left",
    )
    first = results[0]["name"]
    for name in ("renderer", "accuracy, %", "each seed", f"less {first}", "2.25 m/s show"):
        table.add_column(name, justify="left" if name == "renderer" else "right", no_wrap=True)
    for row in results:
        against = row["against"]
        table.add_row(
            row["name"],
            _mean(row["mean"]),
            " ".join(f"{100 * value:.1f}" for value in row["mean"]["each"]),
            "" if against is None else _mean(against, "+.1f"),
            f"{row['speed_color']:.4f}",
        )
    return table


def _mean(mean: dict[str, Any], form: str = ".1f") -> str:
    """The mean, and its interval."""
    value, low, high = (f"{100 * mean[name]:{form}}" for name in ("mean", "low", "high"))
    return f"{value} ({low} to {high})"
