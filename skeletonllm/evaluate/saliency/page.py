"""An explanation as one self-contained HTML file, as JSON, and as a few lines on the terminal."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

from skeletonllm.evaluate.report.charts import nice_ticks
from skeletonllm.evaluate.saliency.explain import Explanation
from skeletonllm.plain import write_whole
from skeletonllm.render.player import Scene, player_html
from skeletonllm.skeleton.topology import BODY_PARTS, SIDES

# The deletion chart and the map, SVG units.
_CHART = {"width": 460.0, "height": 240.0, "left": 44.0, "right": 448.0, "top": 12.0, "bottom": 204.0}
_CELL_HEIGHT, _MAP_LEFT, _MAP_WIDTH = 15.0, 130.0, 620.0
_RAMP = ((20, 24, 40), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


@dataclass(frozen=True)
class Cell:
    """A place of the map: where, how wide, its colour, and what it says."""

    x: float
    width: float
    color: str
    text: str


@dataclass(frozen=True)
class Line:
    """A row of the map: a joint of a person, and its cells."""

    name: str
    y: float
    cells: tuple[Cell, ...]


def write_page(explanation: Explanation, path: Path) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, page_of(explanation))


def page_of(explanation: Explanation) -> str:
    """The page as text; all names are escaped."""
    from jinja2 import Environment

    template = (files("skeletonllm.evaluate.saliency") / "template.html").read_text()
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    lines = _map(explanation)
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
        lines=lines,
        map={"width": _MAP_LEFT + _MAP_WIDTH + 8, "height": _CELL_HEIGHT * len(lines) + 26, "left": _MAP_LEFT},
        cell_height=_CELL_HEIGHT,
        times=_time_ticks(explanation),
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
        rows.append((_name(explanation, person, joint), float(found[person, joint]), when))
    return rows


def _name(explanation: Explanation, person: int, joint: int) -> str:
    name = explanation.clip.topology.joint_names[joint]
    return f"{name}, person {person + 1}" if len(explanation.saliency) > 1 else name


def _map(explanation: Explanation) -> list[Line]:
    """Joints by body part, the trunk first and the feet last; the left side before the right."""
    topology, saliency = explanation.clip.topology, explanation.saliency
    top = float(saliency.max()) or 1.0
    order = sorted(
        range(topology.num_joints),
        key=lambda j: (BODY_PARTS.index(topology.parts[j]), SIDES.index(topology.sides[j]), j),
    )
    width = _MAP_WIDTH / len(explanation.times_s)
    lines = []
    for person in range(len(saliency)):
        for joint in order:
            cells = tuple(
                Cell(
                    _MAP_LEFT + frame * width,
                    width,
                    _color(value / top),
                    f"{topology.joint_names[joint]} at {time:.2f} s: {value:.4f} per cm",
                )
                for frame, (time, value) in enumerate(
                    zip(explanation.times_s, saliency[person, :, joint].tolist(), strict=True)
                )
            )
            lines.append(Line(_name(explanation, person, joint), len(lines) * _CELL_HEIGHT, cells))
    return lines


def _time_ticks(explanation: Explanation) -> list[tuple[float, str]]:
    width = _MAP_WIDTH / len(explanation.times_s)
    step = max(1, round(len(explanation.times_s) / 8))
    return [
        (_MAP_LEFT + (frame + 0.5) * width, f"{time:.1f} s")
        for frame, time in enumerate(explanation.times_s)
        if frame % step == 0
    ]


def _color(share: float) -> str:
    at = min(max(share, 0.0), 1.0) ** 0.7 * (len(_RAMP) - 1)
    low = min(int(at), len(_RAMP) - 2)
    mixed = [round(a + (b - a) * (at - low)) for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True)]
    return f"rgb({mixed[0]},{mixed[1]},{mixed[2]})"


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
