"""Backbones of each family for the tests of folders: a new family is one more writer."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig
from skeletonllm.model.student import SkeletonLLM
from tests.families import FAMILIES, write_family
from tests.students import SMALL, tiny_student, write_internvl

LORA, FULL = AdapterConfig(kind="lora", rank=2), AdapterConfig(kind="full")


def _internvl(folder: Path, seed: int = 0) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return write_internvl(folder)


BACKBONES: dict[str, Callable[..., Path]] = {
    "internvl": _internvl,
    **{name: partial(write_family, name) for name in FAMILIES if name != "internvl3"},
}
# Every kind of student: the tiny one, and each family with LoRA or with its language part trained whole.
KINDS = ["tiny", *(f"{family}-{adapter}" for family in BACKBONES for adapter in ("lora", "full"))]


def family_student(backbone: str, adapter: AdapterConfig = LORA) -> SkeletonLLM:
    """A student whose every trained weight has moved, so that nothing is 0 by chance."""
    student = SkeletonLLM.build(StudentConfig(BackboneConfig(name=backbone), adapter, SMALL))
    return moved(student)


def student_of(kind: str, folder: Path) -> SkeletonLLM:
    """A student of one of `KINDS`; its backbone is written into a folder."""
    if kind == "tiny":
        return moved(tiny_student())
    family, adapter = kind.rsplit("-", 1)
    return family_student(str(BACKBONES[family](folder)), LORA if adapter == "lora" else FULL)


def moved(student: SkeletonLLM, by: float = 0.02) -> SkeletonLLM:
    """The student with weights as if it had been trained, and in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in student.named_parts().values():
            for weight in weights.values():
                weight.add_(by * torch.randn(weight.shape, generator=generator))
    return student.eval()
