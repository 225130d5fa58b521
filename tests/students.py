"""Small real students that the tests share: the tiny model, and one of each pretrained family, made on the spot."""

from pathlib import Path

from skeletonllm.model.config import AdapterConfig, BackboneConfig, StudentConfig, TinyConfig
from skeletonllm.model.student import SkeletonLLM
from skeletonllm.render.config import RenderConfig
from tests.families import write_family

ACTIONS = ("bow", "sit down", "wave")
SMALL = RenderConfig(size_px=32, num_frames=2, gaussians_per_bone=1)
LORA = AdapterConfig(kind="lora", rank=2)
_SIZES = TinyConfig(vision_width=32, vision_layers=1, text_width=32, text_layers=2, heads=2)


def tiny_student(seed: int = 0, **changes) -> SkeletonLLM:
    """The embedded model, smaller still."""
    values = {
        "backbone": BackboneConfig(name="tiny", tiny=_SIZES),
        "adapter": AdapterConfig(kind="full"),
        "render": SMALL,
    }
    return SkeletonLLM.build(StudentConfig(**{**values, **changes}), corpus=ACTIONS, seed=seed)


def folder_student(
    folder: Path, adapter: AdapterConfig = LORA, render: RenderConfig = SMALL, **backbone
) -> SkeletonLLM:
    """A student on the model of a folder."""
    return SkeletonLLM.build(StudentConfig(BackboneConfig(name=str(folder), **backbone), adapter, render))


def write_internvl(folder: Path) -> Path:
    """A folder as the Hub has it: an InternVL of random weights with tokenizer, chat template and image processor."""
    return write_family("internvl3", folder)
