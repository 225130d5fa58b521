"""The verb that explains an answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from skeletonllm.cli.reading import Reading, ReadingArgument

if TYPE_CHECKING:
    from skeletonllm.skeleton.clip import Clip

_READING = Reading()
_WRITTEN = (".html", ".png")


def explain(
    checkpoint: Annotated[Path, tyro.conf.Positional],
    source: Annotated[Path, tyro.conf.Positional],
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("explanation.html"),
    clip: str | None = None,
    index: int = 0,
    answer: str | None = None,
    against: str | None = None,
    actions: tuple[str, ...] = (),
    json: Path | None = None,
    random_orders: int = 8,
    reading: ReadingArgument = _READING,
) -> None:
    """Show which joints, when, an answer hangs on: the exact gradient through the renderer, and two tests of it.

    Writes one HTML file: the answers, a map of joints over time, the skeleton coloured by it, what hiding joints does
    against random joints, and the same map with shuffled weights. Or a PNG: the skeleton and the map.

    Args:
        checkpoint: a trained student's folder, as `skeletonllm train` prints it.
        source: a recording, or a data set that ingest wrote.
        output: .html for the page, .png for the picture.
        clip: the clip's id, where the source holds several.
        index: or its number.
        answer: what is explained; by default the student's own answer.
        against: by default the likeliest other answer.
        actions: the candidates; by default those that the student was trained with.
        json: write all numbers to this file.
        random_orders: orders in which joints are hidden for comparison.
        reading: what the recording does not say itself.
    """
    from skeletonllm.errors import ConfigError
    from skeletonllm.evaluate.saliency import explain_answer
    from skeletonllm.evaluate.saliency.page import numbers_of, summary_of, write_page
    from skeletonllm.evaluate.saliency.picture import write_picture
    from skeletonllm.log import set_up_logging
    from skeletonllm.model.student import SkeletonLLM
    from skeletonllm.plain import write_whole

    set_up_logging()
    if output.suffix not in _WRITTEN:
        raise ConfigError(f"--output {output}: its name says no kind of file; end it in {' or '.join(_WRITTEN)}")
    student = SkeletonLLM.from_pretrained(checkpoint).eval()
    candidates = actions or student.actions
    if not candidates:
        raise ConfigError(f"{checkpoint}: does not say its candidates; name them: --actions wave kick")
    if len(candidates) < 2:
        raise ConfigError(f"--actions: {len(candidates)} candidates; give at least two: --actions wave kick")
    found = _clip(source, clip, index, reading)
    explanation = explain_answer(student, found, candidates, answer, against, random_orders)
    (write_picture if output.suffix == ".png" else write_page)(explanation, output)
    if json is not None:
        write_whole(json, numbers_of(explanation))
    print(summary_of(explanation))
    print(output)


def _clip(source: Path, clip_id: str | None, index: int, reading: Reading) -> "Clip":
    from skeletonllm.errors import ConfigError
    from skeletonllm.shards.reader import ShardReader
    from skeletonllm.skeleton.labels import read_labelled

    if (source / "manifest.json").is_file():
        reader = ShardReader(str(source))
        if clip_id is not None:
            return reader.by_id(clip_id)
        if 0 <= index < len(reader):
            return reader.clip(index)
        raise ConfigError(f"--index is {index}, but {source} holds clips 0 to {len(reader) - 1}")
    clips = read_labelled(source, reading.format, reading.declared())
    if clip_id is not None:
        named = [one for one in clips if one.clip_id == clip_id]
        if not named:
            raise ConfigError(f"--clip {clip_id!r}: {source} holds {', '.join(one.clip_id for one in clips[:10])}")
        return named[0]
    if not 0 <= index < len(clips):
        raise ConfigError(f"--index is {index}, but {source} holds clips 0 to {len(clips) - 1}")
    return clips[index]
