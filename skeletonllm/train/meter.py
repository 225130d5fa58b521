"""Where a step's time goes, and how high the loss of each kind of examples is."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Meter:
    """Adds up the seconds of the parts of a step, and the losses of its examples.

    A GPU works on while Python goes on, so there the parts are told apart only in steps that are looked at.

    Args:
        student: has a `renderer`, whose share of the forward pass is told apart, and `example_losses`.
    """

    def __init__(self, student: nn.Module | None = None) -> None:
        self._student = student
        self._seconds: dict[str, float] = {}
        self._losses: dict[str, list[Tensor]] = {}
        self._on_gpu = torch.cuda.is_available()
        self._exact, self._part = not self._on_gpu, ""
        renderer = getattr(student, "renderer", None)
        if isinstance(renderer, nn.Module):
            renderer.register_forward_pre_hook(lambda *_: self._begin_render())
            renderer.register_forward_hook(lambda *_: self._end_render())

    def begin(self, looked_at: bool) -> None:
        """A step begins."""
        self._exact = looked_at or not self._on_gpu
        self._started = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is done within it is a part of the step."""
        started, self._part = self._now(), name
        yield
        self._part = ""
        self._seconds[name] = self._seconds.get(name, 0.0) + self._now() - started

    def hear(self, kinds: Sequence[str]) -> None:
        """Note the losses of the examples that the student has just seen, by their kinds."""
        losses = getattr(self._student, "example_losses", None)
        if losses is not None and len(losses) == len(kinds):
            for place, kind in enumerate(kinds):
                self._losses.setdefault(kind, []).append(losses[place])

    def numbers(self, num_examples: int) -> dict[str, float]:
        """Of the step that ends now, with the save that came before it; loss by kind where there are several kinds."""
        passed = time.perf_counter() - self._started
        seconds, losses = self._seconds, self._losses
        self._seconds, self._losses = {}, {}
        found = {"data/wait_s": seconds.pop("data", 0.0)}
        if self._exact:
            if "render" in seconds:
                seconds["forward"] -= seconds["render"]
            found |= {f"time/{name}_s": spent for name, spent in seconds.items()}
        if len(losses) > 1:
            found |= {f"train/loss/{kind}": float(torch.stack(some).mean()) for kind, some in losses.items()}
        if self._on_gpu:
            found["gpu/memory_gb"] = torch.cuda.max_memory_allocated() / 2**30
        return {**found, "train/examples_per_s": num_examples / passed, "train/step_s": passed}

    def _begin_render(self) -> None:
        self._rendering = self._now()

    def _end_render(self) -> None:
        if self._part == "forward":  # else somebody draws a picture
            self._seconds["render"] = self._seconds.get("render", 0.0) + self._now() - self._rendering

    def _now(self) -> float:
        if self._exact and self._on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter()
