"""The gradient that reaches the renderer under each kind of ZeRO."""

import pytest
import torch

from skeletonllm.model.student import PARTS
from skeletonllm.train.config import EngineConfig, StageConfig
from skeletonllm.train.engine import make_engine, parameter_groups
from tests.makers import make_clip
from tests.students import folder_student

STAGE = StageConfig("s", PARTS, ("mqa",))
ASKED = (["which?"], ["wave"])


def new_student(folder, **backbone):
    student = folder_student(folder, **backbone).train()
    student.set_trainable(PARTS)
    return student, student.renderer.collate([make_clip()])


def gradients(folder, kind, zero_stage=0, **backbone):
    """Of the renderer's weights."""
    from deepspeed.utils import safe_get_full_grad

    student, batch = new_student(folder, **backbone)
    config = EngineConfig(kind=kind, zero_stage=zero_stage)
    engine = make_engine(student, parameter_groups(student.named_parts(), STAGE), config, 1)
    engine.backward(engine.loss(batch, *ASKED))
    asked = safe_get_full_grad if kind == "deepspeed" else lambda weight: weight.grad
    found = {name: asked(weight) for name, weight in student.renderer.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


# torch has new names for what DeepSpeed calls.
@pytest.mark.filterwarnings("ignore:`torch.distributed:FutureWarning")
@pytest.mark.parametrize(("zero_stage", "dtype"), [(1, "float32"), (2, "float32"), (3, "float32"), (3, "bfloat16")])
@pytest.mark.slow
def test_the_renderer_gets_the_plain_gradient_under_each_zero_stage(family_folder, zero_stage, dtype):
    folder = family_folder("qwen3_vl")
    plain = gradients(folder, "plain", dtype=dtype)
    shared = gradients(folder, "deepspeed", zero_stage, dtype=dtype, gradient_checkpointing=True)
    assert any(float(gradient.abs().max()) > 0 for gradient in plain.values())
    for name, gradient in plain.items():
        assert gradient.dtype == torch.float32
        torch.testing.assert_close(shared[name], gradient, rtol=1e-4, atol=1e-7)
