"""A small report with everything in it."""

import io

import numpy as np
from PIL import Image

from skeletonllm.evaluate.metrics import accuracy, compare, confusion_matrix
from skeletonllm.evaluate.report import (
    CountTable,
    Curve,
    Example,
    ReportData,
    ShownChain,
    ShownStep,
    System,
)

ACTIONS = ("bow", "kick", "wave")


def make_gif(size_px=16, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 255, (2, size_px, size_px, 3), np.uint8)
    images = [Image.fromarray(frame) for frame in pixels]
    file = io.BytesIO()
    images[0].save(file, "GIF", save_all=True, append_images=images[1:], duration=100, loop=0)
    return file.getvalue()


def make_system(name="learned renderer", num_right=8, **changes):
    actions = [*ACTIONS * 4]
    predicted = [*actions[:num_right], *(ACTIONS[ACTIONS.index(a) - 1] for a in actions[num_right:])]
    found = accuracy(actions, predicted, len(ACTIONS))
    values = {
        "name": name,
        "held_out": found,
        "cross_format": accuracy(actions[:6], predicted[:6], len(ACTIONS)),
        "by_format": {"ntu": found, "bvh": found},
        "chain_label": accuracy(["bow"], ["bow"], len(ACTIONS)),
        "by_persons": {"1 person": found},
        "confusion": tuple(tuple(row) for row in confusion_matrix(actions, predicted, ACTIONS).tolist()),
    }
    return System(**{**values, **changes})


def make_example(**changes):
    values = {
        "title": "kinect_v2_25",
        "learned": make_gif(),
        "fixed": make_gif(seed=1),
        "truth": "wave",
        "predicted": "wave",
        "predicted_fixed": "bow",
        "captions": ("a person waves",),
        "written": "a person waves twice",
        "explained": "1. right hand rises.\nLabel: wave",
        "format": "ntu",
        "clip_id": "ntu/c0",
    }
    return Example(**{**values, **changes})


def make_chain(**changes):
    steps = (
        ShownStep("the right hand goes up", "supported", "it changes by +0.58 body sizes", (4, 19)),
        ShownStep("the left knee bends", "contradicted", "it changes by +0.02 degrees", (4, 30)),
        ShownStep("the left elbow bends", "not measurable", "it cannot be measured here"),
    )
    values = {"clip_id": "ntu/c0", "action": "wave", "summary": "A hand rises.", "steps": steps, "verdict": "rejected"}
    return ShownChain(**{**values, "reasons": ("step 1 (left knee flexes): it changes by +0.02",), **changes})


def make_report(**changes):
    learned, fixed = make_system(), make_system("fixed renderer", 6)
    right = [[True] * 8 + [False] * 4, [True] * 6 + [False] * 6]
    values = {
        "title": "SkeletonLLM: quickstart",
        "command": "skeletonllm quickstart",
        "systems": (learned, fixed),
        "candidates": ACTIONS,
        "gallery": (make_example(), make_example(format="bvh", clip_id="bvh/c1")),
        "chains": (make_chain(),),
        "chain_rate": (9, 10),
        "step_counts": {"supported": 20, "contradicted": 1, "not measurable": 3},
        "teacher": "kinematic",
        "curves": (Curve("render_warmup", (1, 2, 3, 4), (2.0, 1.5, 1.0, 0.5)),),
        "data": (("Clips", "12"),),
        "rejected": (("ntu/broken.skeleton", "line 7: 11 numbers expected, found 3"),),
        "times": (("ingest", 3.2), ("render_warmup", 99.0)),
        "versions": (("torch", "2.9.0"),),
        "comparison": compare(*right, num_samples=100),
        "unseen_formats": ("bvh",),
        "counts": (CountTable("subject", ("train", "test"), (("P001", (9, 0)), ("", (0, 3)))),),
        "fingerprints": (("clips", "22bd5bdeaf04"),),
        "num_rejected": 3,
        "seed": 7,
        "note": "A tiny model.",
    }
    return ReportData(**{**values, **changes})
