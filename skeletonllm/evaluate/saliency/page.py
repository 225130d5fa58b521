"""An explanation as one self-contained HTML file, as JSON, and as a few lines on the terminal."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skeletonllm.evaluate.report.charts import nice_ticks
from skeletonllm.evaluate.saliency.drawing import (
    CELL_HEIGHT,
    MAP_LEFT,
    STRIP_HEIGHT,
    STRIP_WIDTH,
    map_of,
    name_of,
    strip_of,
)
from skeletonllm.evaluate.saliency.explain import Explanation
from skeletonllm.evaluate.saliency.picture import GROUND, RIM, STICK
from skeletonllm.plain import write_whole
from skeletonllm.render.player import Scene, player_html

# The deletion chart, SVG units.
_CHART = {"width": 460.0, "height": 240.0, "left": 44.0, "right": 448.0, "top": 12.0, "bottom": 204.0}


def write_page(explanation: Explanation, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, page_of(explanation))


def page_of(explanation: Explanation) -> str:
    """The page as text; all names are escaped."""
    from jinja2 import Environment

    template = (files("skeletonllm.evaluate.saliency") / "template.html").read_text()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    scene = Scene(
        explanation.clip.clip_id,
        explanation.clip,
        torch.from_numpy(explanation.frames),
        explanation.times_s,
        explanation.of_times(),
    )
    return environment.from_string(template).render(
        explanation=explanation,
        shares=list(explanation.shares.items())[:12],
        hidden_candidates=max(0, len(explanation.shares) - 12),
        map=map_of(explanation),
        map_left=MAP_LEFT,
        cell_height=CELL_HEIGHT,
        strip=strip_of(explanation),
        strip_height=STRIP_HEIGHT,
        width=STRIP_WIDTH,
        ground=GROUND,
        stick=STICK,
        rim=RIM,
        chart=_CHART,
        curves=_curves(explanation),
        player=player_html([scene]),
        found=_top_joints(explanation, 5),
        random_area=_mean_and_range(explanation.deletion.random_areas),
        gain=_gain(explanation),
        randomised=[
            (part.replace("_", " "), float(np.mean(each)), min(each), max(each))
            for part, each in explanation.randomised.items()
        ],
    )


def numbers_of(explanation: Explanation) -> str:
    """All numbers as JSON."""
    clip, deletion = explanation.clip, explanation.deletion
    plain: dict[str, Any] = {
        "clip_id": clip.clip_id,
        "action": clip.action,
        "answer": explanation.answer,
        "against": explanation.against,
        "shares": explanation.shares,
        "joints": list(clip.topology.joint_names),
        "times_s": list(explanation.times_s),
        "saliency": explanation.saliency.round(6).tolist(),
        "gradient": explanation.gradient.round(5).tolist(),
        "deletion": {
            "hidden": list(deletion.hidden),
            "ordered": list(deletion.ordered),
            "random": [list(one) for one in deletion.random],
            "area": deletion.area,
            "random_areas": list(deletion.random_areas),
            "gain": deletion.gain,
        },
        "seen": explanation.seen.tolist(),
        "randomised": explanation.randomised,
    }
    return json.dumps(plain) + "\n"


def summary_of(explanation: Explanation) -> str:
    """A few lines for the terminal."""
    clip, deletion = explanation.clip, explanation.deletion
    likely = ", ".join(f"{name} {100 * share:.0f} %" for name, share in list(explanation.shares.items())[:3])
    lines = [
        f"{clip.clip_id} ({clip.action or 'no action'}): {likely}",
        f"why {explanation.answer!r} and not {explanation.against!r}: one centimetre changes log p by",
        *(f"  {value:.4f}  {name}, most at {time:.2f} s" for name, value, time in _top_joints(explanation, 5)),
        f"hiding joints, most important first, leaves {100 * deletion.area:.1f} % of the answer's share on average; "
        f"in random order {_mean_and_range(deletion.random_areas)}; difference {_gain(explanation)}",
        "rank correlation with the map of shuffled weights (near 1: the map does not depend on them): "
        + ", ".join(f"{part} {np.mean(each):+.2f}" for part, each in explanation.randomised.items()),
    ]
    return "\n".join(lines)


def _mean_and_range(values: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in (np.mean(values), min(values), max(values)))
    return f"{mean:.1f} % ({low:.1f} to {high:.1f})"


def _gain(explanation: Explanation) -> str:
    """Of saliency over random orders, in points, with its interval."""
    gain, low, high = (100 * value for value in explanation.deletion.gain)
    return f"{gain:+.1f} points ({low:+.1f} to {high:+.1f})"


def _top_joints(explanation: Explanation, count: int) -> list[tuple[str, float, float]]:
    """Name, saliency over the clip, and the time of its largest, of the joints that matter most."""
    found = explanation.of_joints()
    rows = []
    for place in np.argsort(-found, axis=None, kind="stable")[:count]:
        person, joint = divmod(int(place), found.shape[1])
        when = explanation.times_s[int(explanation.saliency[person, :, joint].argmax())]
        rows.append((name_of(explanation, person, joint), float(found[person, joint]), when))
    return rows


def _curves(explanation: Explanation) -> dict[str, Any]:
    """Points of SVG polylines, and ticks."""
    deletion, box = explanation.deletion, _CHART
    most = max(deletion.hidden[-1], 1)
    top = nice_ticks(max(0.01, *deletion.ordered, *(share for one in deletion.random for share in one)))[-1]

    def points(values: Sequence[float]) -> str:
        return " ".join(
            f"{box['left'] + hidden / most * (box['right'] - box['left']):.1f},"
            f"{box['bottom'] - value / top * (box['bottom'] - box['top']):.1f}"
            for hidden, value in zip(deletion.hidden, values, strict=True)
        )

    return {
        "ordered": points(deletion.ordered),
        "random": [points(one) for one in deletion.random],
        "mean": points(np.mean(deletion.random, axis=0).tolist()) if deletion.random else "",
        "x_ticks": [
            (box["left"] + share * (box["right"] - box["left"]), str(round(share * most))) for share in (0, 0.5, 1)
        ],
        "y_ticks": [
            (box["bottom"] - share * (box["bottom"] - box["top"]), f"{100 * share * top:.3g} %")
            for share in (0, 0.5, 1)
        ],
    }
