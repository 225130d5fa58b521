"""The model card: a README.md that says what a student is, what it learned from, how well it does, and how to use it.

It tells what is known and leaves out the rest. Names in it are data of strangers and stay text.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from skeletonllm.model.about import About, Score
from skeletonllm.model.config import TINY
from skeletonllm.model.hub import is_hub_name
from skeletonllm.model.stored import Stored

_SHOWN = 120
_TAGS = ("skeleton", "action-recognition", "human-motion", "differentiable-rendering")


def student_card(stored: Stored, num_weights: Mapping[str, int]) -> str:
    """The card of a student's folder.

    Args:
        stored: what the folder holds.
        num_weights: of each part that is in it.
    """
    about = stored.about
    parts = [
        _front_matter(stored),
        f"# {_title(stored)}",
        _what(stored),
        _made_of(stored, num_weights),
        _answers(about),
        _results(about.scores),
        _lineage(about),
        _use(),
        _limits(stored),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def export_card(stored: Stored) -> str:
    """The card of a plain transformers checkpoint that was exported from a student."""
    about, config = stored.about, stored.config
    frames = f"{config.render.num_frames} frames of {config.render.size_px} x {config.render.size_px} px"
    parts = [
        _front_matter(stored).replace("library_name: skeletonllm", "library_name: transformers"),
        f"# {_title(stored)}, for transformers",
        "The multimodal language model of a student of SkeletonLLM, as a stock transformers checkpoint with all it learned "
        "folded in. It sees human-skeleton recordings as frames that the renderer in `renderer/` draws.",
        f"""## Use

```python
from transformers import AutoModelForImageTextToText, AutoTokenizer

model = AutoModelForImageTextToText.from_pretrained("THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")
```

It was trained on {frames}. They come from the renderer, in [0, 1], and go to the model's own processor (with
`do_rescale=False`) or are normalised by `image_mean` and `image_std` of its JSON:

```python
import torch

from skeletonllm.model.export import load_renderer

renderer = load_renderer("THIS_FOLDER/renderer")
with torch.inference_mode():
    frames = renderer(renderer.collate([clip]))  # [clips frames 3 height width]
```""",
        _answers(about),
        _results(about.scores),
        _lineage(about),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def base_model(stored: Stored) -> str:
    """The backbone's name on the Hub; empty where it is not from there."""
    name = stored.config.backbone.name
    return name if name != TINY and is_hub_name(name) else ""


def _front_matter(stored: Stored) -> str:
    import yaml

    about, base = stored.about, base_model(stored)
    plain: dict[str, Any] = {"library_name": "skeletonllm"}
    if about.licence:
        plain["license"] = about.licence
    if base:
        plain["base_model"] = base
        plain["base_model_relation"] = "finetune" if stored.whole else "adapter"
    plain["tags"] = [*_TAGS, stored.family]
    if about.scores:
        plain["metrics"] = sorted({score.metric for score in about.scores})
        plain["model-index"] = [{"name": _title(stored), "results": [_indexed(about, one) for one in about.scores]}]
    return f"---\n{yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)}---"


def _indexed(about: About, score: Score) -> dict[str, Any]:
    """A score as the Hub lists it."""
    name = about.data[0].name if about.data else "clips"
    return {
        "task": {"type": "video-classification", "name": "skeleton action recognition"},
        "dataset": {"type": name, "name": f"{name}, {score.clips}"},
        "metrics": [{"type": score.metric, "value": round(score.value, 4)}],
    }


def _title(stored: Stored) -> str:
    base = base_model(stored) or ("tiny" if stored.config.backbone.name == TINY else stored.family)
    stage = f", {stored.about.stages[-1].name}" if stored.about.stages else ""
    return f"SkeletonLLM on {base}{stage}"


def _what(stored: Stored) -> str:
    backbone = base_model(stored)
    if stored.config.backbone.name == TINY:
        behind = "a tiny multimodal language model that was trained from scratch"
    elif backbone:
        behind = f"[{backbone}](https://huggingface.co/{backbone})"
    else:
        behind = f"a multimodal language model of the family `{stored.family}`"
    return (
        "A student of SkeletonLLM: a differentiable renderer turns human-skeleton recordings of any format into frames, "
        f"and {behind} answers questions about what it sees."
    )


def _made_of(stored: Stored, num_weights: Mapping[str, int]) -> str:
    config, about = stored.config, stored.about
    adapter = f"LoRA, rank {config.adapter.rank}, alpha {config.adapter.alpha}"
    backbone = base_model(stored) or ("made on the spot" if config.backbone.name == TINY else "from a local folder")
    rows = [
        ("backbone", f"{backbone}, family `{stored.family}`, {config.backbone.dtype}"),
        ("backbone's commit", f"`{about.revision}`" if about.revision else ""),
        ("backbone's weights", "in this folder" if stored.whole else "not in this folder; loaded from where they were"),
        ("language part", adapter if config.adapter.kind == "lora" else "plain weights, no LoRA"),
        ("renderer", f"{config.render.renderer}, camera {config.render.camera}"),
        ("frames", f"{config.render.num_frames} of {config.render.size_px} x {config.render.size_px} px"),
        *((f"weights of `{part}`", f"{count:,}") for part, count in num_weights.items()),
    ]
    changes = "\n".join(f"* {change}" for change in about.changes)
    table = _table(("", ""), [row for row in rows if row[1]])
    return f"## What it is made of\n\n{table}" + (f"\n\n{changes}" if changes else "")


def _answers(about: About) -> str:
    if not about.actions:
        return ""
    shown = ", ".join(_text(name) for name in about.actions[:_SHOWN])
    more = f" and {len(about.actions) - _SHOWN:,} more" if len(about.actions) > _SHOWN else ""
    return f"## Labels\n\nTrained to choose among {len(about.actions)} labels: {shown}{more}."


def _results(scores: Sequence[Score]) -> str:
    if not scores:
        return ""
    rows = [
        (
            *(score.metric, score.clips, f"{100 * score.value:.1f} %"),
            f"{100 * score.low:.1f} to {100 * score.high:.1f} %",
            f"{score.right:,} of {score.total:,}",
            f"{100 * score.chance:.1f} %",
        )
        for score in scores
    ]
    head = ("metric", "clips", "value", "95 % interval", "right", "guessing")
    return f"## Results\n\n{_table(head, rows)}"


def _lineage(about: About) -> str:
    data = [
        (one.name, "" if one.rows is None else f"{one.rows:,}", ", ".join(one.formats), f"`{one.fingerprint}`")
        for one in about.data
    ]
    stages = [
        (
            *(
                one.name,
                ", ".join(one.trains),
                ", ".join(one.examples),
                f"{one.step} of {one.num_steps}",
                str(one.seed),
            ),
            *(f"`{one.fingerprint[:12]}`", f"`{one.learned_from[:12]}`", one.code_version),
        )
        for one in about.stages
    ]
    stage_head = ("stage", "trains", "asks for", "steps", "seed", "run", "examples", "skeletonllm")
    parts = [
        f"Recipe: {_text(about.recipe)}." if about.recipe else "",
        f"Held out, never trained on: {_text(about.split)}." if about.split else "",
        _table(("data set", "rows", "formats", "fingerprint"), data) if data else "",
        _table(stage_head, stages) if stages else "",
    ]
    told = "\n\n".join(part for part in parts if part)
    return f"## Where it comes from\n\n{told}" if told else ""


def _use() -> str:
    return (
        "## Use\n\n```python\nfrom skeletonllm.model.student import SkeletonLLM\n\n"
        'model = SkeletonLLM.from_pretrained("THIS_FOLDER_OR_NAME").eval()\n```\n\n'
        "```bash\nskeletonllm recognize RECORDING --model THIS_FOLDER\n"
        "skeletonllm export THIS_FOLDER -o PLAIN_FOLDER   # a plain transformers checkpoint\n```\n\n"
        "No file is pickled, and no code comes with the weights; each file's SHA-256 is in `student.json`."
    )


def _limits(stored: Stored) -> str:
    lines = []
    if stored.about.actions:
        lines.append("Labels other than those above can be asked for, but were not trained.")
    if not stored.about.scores:
        lines.append("No measured result comes with this folder.")
    if stored.config.backbone.name == TINY:
        lines.append("The tiny model shows that the parts work together, not what a pre-trained model would reach.")
    if not stored.about.licence:
        lines.append("No licence was given for these weights: ask whoever published them.")
    if not stored.whole and not base_model(stored):
        lines.append(
            "The backbone is on the machine that trained it: `skeletonllm merge` writes a folder that has it inside."
        )
    lines.append("It sees skeletons only: no face, no object, no place.")
    return "## Limits\n\n" + "\n".join(f"* {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def _cell(value: str) -> str:
    return value if "`" in value or value == "---" else _text(value)


def _text(value: object) -> str:
    """Text that stays text in Markdown."""
    plain = "".join(letter if letter.isprintable() else " " for letter in str(value))
    return re.sub(r"([\\`*\[\]<>|#])", r"\\\1", plain)
